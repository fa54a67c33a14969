"""Phase retrieval: transmissions with the fringes of free-space propagation -> transmissions without.

`PhasePlan` applies what `Retrieval` describes; `row_margin` says how many neighbouring rows a slab needs;
`doubts` says when the method and the experiment do not suit each other. `material` knows what a ratio of
refraction to absorption is, and where it comes from.

Scope: rows + margin, the margin from `row_margin`; the whole frame where that is too many.
"""

from __future__ import annotations

from tomoservice.prep.phase.checks import doubts, free_space
from tomoservice.prep.phase.material import (
    RefractiveIndex,
    alpha_from_delta_beta,
    delta_beta_from_alpha,
    refractive_index,
)
from tomoservice.prep.phase.plan import PhasePlan
from tomoservice.prep.phase.reach import row_margin
from tomoservice.prep.phase.several import retrieve_from_several_distances, row_margin_of_several
from tomoservice.prep.phase.transfer import Method, Padding, Retrieval, transfer

__all__ = [
    "Method",
    "Padding",
    "PhasePlan",
    "RefractiveIndex",
    "Retrieval",
    "alpha_from_delta_beta",
    "delta_beta_from_alpha",
    "doubts",
    "free_space",
    "refractive_index",
    "retrieve_from_several_distances",
    "row_margin",
    "row_margin_of_several",
    "transfer",
]
