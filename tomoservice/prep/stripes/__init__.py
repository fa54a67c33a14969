"""Removal of stripes in sinograms, which would become rings in slices.

A method is an immutable object that holds its parameters; `METHODS` names them all as recipes do::

    corrected = remove_stripes(sinograms, METHODS["vo_all"](snr=3))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tomoservice.prep.stripes.base import StripeMethod, remove_stripes
from tomoservice.prep.stripes.fourier_wavelet import FourierWavelet
from tomoservice.prep.stripes.profile import GeneralizedTitarenko, Smoothing, Titarenko
from tomoservice.prep.stripes.scores import stripe_score
from tomoservice.prep.stripes.vo import BySorting, DeadStripes, EveryStripe, LargeStripes
from tomoservice.prep.stripes.vo_smooth import ByFiltering, ByFitting

METHODS: Mapping[str, Callable[..., StripeMethod]] = MappingProxyType(
    {
        "sorting": BySorting,
        "filtering": ByFiltering,
        "fitting": ByFitting,
        "large": LargeStripes,
        "dead": DeadStripes,
        "vo_all": EveryStripe,
        "fourier_wavelet": FourierWavelet,
        "titarenko": Titarenko,
        "smoothing": Smoothing,
    }
)
"""What recipes call the methods: name -> class, whose parameters are the recipe's fields."""


def memory_per_thread(method: StripeMethod, angles: int, columns: int) -> int:
    """Return the bytes of working space that each thread of `remove_stripes` takes at most."""
    sinograms = 17 if isinstance(method, ByFitting) else 6
    # And what does not grow with the sinogram: a block of columns in double precision, kept medians.
    return sinograms * 4 * angles * columns + (1 << 20)


__all__ = [
    "METHODS",
    "ByFiltering",
    "ByFitting",
    "BySorting",
    "DeadStripes",
    "EveryStripe",
    "FourierWavelet",
    "GeneralizedTitarenko",
    "LargeStripes",
    "Smoothing",
    "StripeMethod",
    "Titarenko",
    "memory_per_thread",
    "remove_stripes",
    "stripe_score",
]
