"""Removal of stripes in sinograms, which make rings in slices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tomoservice.recipe.stages.base import Integer, Number, StageModel, plain_number, unit

# The limits stand inside, where the schema of an optional number has them.
Window = Annotated[int, Field(ge=1, le=10001), BeforeValidator(plain_number)]
Level = Annotated[int, Field(ge=1, le=16), BeforeValidator(plain_number)]

Wavelet = Literal[
    "db1", "db2", "db3", "db4", "db5", "db6", "db7", "db8", "db9", "db10",
    "db11", "db12", "db13", "db14", "db15", "db16", "db17", "db18", "db19", "db20",
]  # fmt: skip


class NoStripes(StageModel):
    """No removal of stripes."""

    method: Literal["none"] = "none"


class _Detecting(StageModel):
    snr: Number = Field(3.0, gt=1, le=100, title="Signal-to-noise ratio")
    """How far a column must stand out of the spread of the others to count as a stripe. Greater finds fewer;
    raise it if parts of the sample are taken for stripes, as dense grains near the axis may be."""


class SortingStripes(StageModel):
    """Small and medium stripes, also ones that end part of the way: medians across sorted columns (Vo 2018,
    algorithm 3). The best first choice for narrow rings."""

    method: Literal["sorting"] = "sorting"
    size: Window | None = Field(None, title="Window", json_schema_extra=unit("pixel"))
    """Columns of the median's window; more than twice the widest stripe. Wider windows remove wider stripes
    and smooth the sample more. Null takes 1 % of the detector's width, at least 5."""


class FilteringStripes(StageModel):
    """Stripes that reach through most of the scan: as sorting, but on the slow part of each column only, so
    that noise and fine detail stay as they are (Vo 2018, algorithm 2)."""

    method: Literal["filtering"] = "filtering"
    sigma: Number = Field(
        3.0, gt=0, le=1000, title="Width of the low-pass", json_schema_extra=unit("cycles per scan")
    )
    """Oscillations along the scan that count as slow. Greater treats partial stripes too."""
    size: Window | None = Field(None, title="Window", json_schema_extra=unit("pixel"))
    """Columns of the median's window; more than twice the widest stripe. Null takes 1 % of the detector's
    width, at least 5."""


class FittingStripes(StageModel):
    """Stripes in samples that fill the field of view and vary little: fits a polynomial along each column and
    smooths the fits across (Vo 2018, algorithm 1). Not for scans that see air beside the sample."""

    method: Literal["fitting"] = "fitting"
    order: Integer = Field(2, ge=0, le=10, title="Order of the polynomial")
    """Order of the polynomial along the angle. More follows the sample more closely."""
    sigma: Number = Field(
        10.0, gt=0, le=10000, title="Width of the low-pass", json_schema_extra=unit("cycles per width")
    )
    """Oscillations across the detector that are kept of the fits. Smaller removes more, of the sample too."""


class LargeStripes(_Detecting):
    """Large stripes, from a damaged scintillator: columns whose mean stands out are replaced (Vo 2018,
    algorithm 5)."""

    method: Literal["large"] = "large"
    size: Window | None = Field(None, title="Window", json_schema_extra=unit("pixel"))
    """Columns of the median's window; more than twice the widest stripe. Null takes 2.5 % of the detector's
    width, at least 15."""
    drop_ratio: Number = Field(0.1, ge=0, le=0.8, title="Dropped fraction")
    """Fraction of each column's values, the largest and the smallest, that its mean leaves out."""
    normalise: bool = Field(True, strict=True, title="Normalise the other columns")
    """Also scale the columns that do not stand out to the mean of their surroundings. Removes faint stripes;
    flattens what the sample itself varies within half a window."""


class DeadStripes(_Detecting):
    """Stripes of pixels that do not respond, or fluctuate: found by how much they change from angle to angle,
    and interpolated from the columns beside (Vo 2018, algorithm 6)."""

    method: Literal["dead"] = "dead"
    size: Window | None = Field(None, title="Window", json_schema_extra=unit("pixel"))
    """Columns to compare with; more than twice the widest stripe. Null takes 2.5 % of the detector's width,
    at least 15."""
    residual: bool = Field(True, strict=True, title="Remove what remains")
    """Remove large stripes afterwards, as the method `large` does."""


class EveryStripe(_Detecting):
    """Stripes of every kind: dead, then large, then small and partial ones (Vo 2018, algorithms 6, 5 and 3).
    The choice for a detector with all sorts of defects. Look at a slice with and without: on narrow
    detectors, and around dense grains near the axis, it takes parts of the sample for stripes."""

    method: Literal["vo_all"] = "vo_all"
    large_size: Window | None = Field(None, title="Window for large stripes", json_schema_extra=unit("pixel"))
    """More than twice the widest large or dead stripe. Null takes 2.5 % of the detector's width, at least
    15."""
    small_size: Window | None = Field(None, title="Window for small stripes", json_schema_extra=unit("pixel"))
    """More than twice the widest of the other stripes. Null takes 1 % of the detector's width, at least 5."""
    drop_ratio: Number = Field(0.1, ge=0, le=0.8, title="Dropped fraction")
    """Fraction of each column's values, the largest and the smallest, that its mean leaves out when large
    stripes are looked for."""
    normalise: bool = Field(True, strict=True, title="Normalise the other columns")
    """Also scale the columns that do not stand out to the mean of their surroundings. Removes faint stripes;
    flattens what the sample itself varies within half a large window."""


class FourierWaveletStripes(StageModel):
    """Stripes that reach through the whole scan: damps what is constant along the angle in each band of a
    wavelet transform (Münch 2009). Fast, without detection, and known from other programs; leaves partial
    stripes, and makes new ones beside very strong ones."""

    method: Literal["fourier_wavelet"] = "fourier_wavelet"
    wavelet: Wavelet = Field("db5", title="Wavelet")
    """Daubechies' wavelet. Longer ones (greater numbers) separate widths better and spread strong stripes."""
    level: Level | None = Field(3, title="Levels")
    """Stripes up to about 2 to the power of this many columns wide are removed. More levels also take away
    slow variations of the sample. Null takes as many as the sinogram allows."""
    sigma: Number = Field(
        2.0, gt=0, le=1000, title="Damping width", json_schema_extra=unit("cycles per scan")
    )
    """What varies less often than this along the scan counts as a stripe. Greater removes more, of the sample
    too."""
    variant: Literal["munch", "algotom", "tomopy"] = Field("munch", title="Variant")
    """Whose padding and damping to use: as published, or as algotom or TomoPy have them, for comparison."""


class TitarenkoStripes(StageModel):
    """Full stripes of constant strength: adds one number to each column, found by regularisation (Titarenko
    2010). Changes neither noise nor contrast along the angle; leaves partial stripes."""

    method: Literal["titarenko"] = "titarenko"
    alpha: Number = Field(0.1, ge=1e-8, le=1e4, title="Regularisation")
    """Smaller is stronger: what varies within about 6 / sqrt(alpha) columns counts as stripes."""
    blocks: Integer = Field(1, ge=1, le=10000, title="Blocks")
    """Parts of the scan that are corrected on their own; more than 1 if stripes change during the scan."""


class SmoothingStripes(StageModel):
    """Full stripes of constant strength: subtracts what the mean over angles differs from its running mean.
    The simplest method; makes shadows beside strong stripes."""

    method: Literal["smoothing"] = "smoothing"
    size: Integer = Field(5, ge=1, le=10001, title="Window", json_schema_extra=unit("pixel"))
    """Columns of the running mean; wider than the stripes, narrower than the sample's features."""


Stripes = Annotated[
    NoStripes
    | SortingStripes
    | FilteringStripes
    | FittingStripes
    | LargeStripes
    | DeadStripes
    | EveryStripe
    | FourierWaveletStripes
    | TitarenkoStripes
    | SmoothingStripes,
    Field(discriminator="method"),
]
