"""Phase retrieval: transmissions with the fringes of free-space propagation -> transmissions without.

`PhasePlan` applies what `Retrieval` describes, `SeveralPlan` what `SeveralDistances` does; `row_margin` and
`row_margin_of_several` say how many neighbouring rows a slab needs; `doubts` says when the method and the
experiment do not suit each other. `material` knows what a ratio of refraction to absorption is, and where it
comes from.

Scope: rows + margin, the margin from `row_margin`; the whole frame where that is too many.
"""

from __future__ import annotations

from tomoservice.prep.phase.checks import check_blur, doubts, free_space
from tomoservice.prep.phase.material import (
    RefractiveIndex,
    alpha_from_delta_beta,
    delta_beta_from_alpha,
    refractive_index,
)
from tomoservice.prep.phase.plan import PhasePlan
from tomoservice.prep.phase.reach import row_margin
from tomoservice.prep.phase.several import SeveralDistances, SeveralPlan, row_margin_of_several
from tomoservice.prep.phase.transfer import Method, Padding, Retrieval, transfer

__all__ = [
    "Method",
    "Padding",
    "PhasePlan",
    "RefractiveIndex",
    "Retrieval",
    "SeveralDistances",
    "SeveralPlan",
    "alpha_from_delta_beta",
    "check_blur",
    "delta_beta_from_alpha",
    "doubts",
    "free_space",
    "refractive_index",
    "row_margin",
    "row_margin_of_several",
    "transfer",
]
