"""Plans with what a session gives them: to whoever looks, they are plans whose arguments have types."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from bluesky.utils import Msg, is_plan

from profiles.session_plans import bound_plan, find_plan
from tomoservice.errors import BeamlineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsewhere import Unknown


def scan(beam: Any, angles: int, *, exposure_s: float = 0.1) -> Iterator[Msg]:
    yield Msg("null", beam, angles, exposure_s)


def look(beamline: Any, tomo: Any, *more: str, recipe: Unknown = "default") -> Iterator[Msg]:
    yield Msg("null", beamline, tomo, more, recipe)


def given(plan: Any) -> Any:
    return bound_plan(plan, lambda: "the beamline", lambda: "the service")


def test_the_beamline_and_the_service_are_given() -> None:
    (one,) = given(scan)(3, exposure_s=0.2)
    assert (one.obj, one.args) == ("the beamline", (3, 0.2))
    (one,) = given(look)("a", "b", recipe="bone")
    assert (one.obj, one.args) == ("the beamline", ("the service", ("a", "b"), "bone"))


def test_who_looks_sees_a_plan_with_types() -> None:
    plan = given(scan)
    assert is_plan(plan)
    assert plan.__name__ == "scan"
    parameters = inspect.signature(plan).parameters
    assert {name: one.annotation for name, one in parameters.items()} == {"angles": int, "exposure_s": float}
    # known to type checkers only
    assert inspect.signature(given(look)).parameters["recipe"].annotation is inspect.Parameter.empty
    assert list(inspect.signature(given(look)).parameters) == ["more", "recipe"]


def test_the_packages_plans_are_found_by_name() -> None:
    for name in ("tomo_scan", "tomo_fly", "tomo_until_converged"):
        assert find_plan(name).__name__ == name
    with pytest.raises(BeamlineError, match=r"there is no plan 'tomo_spiral' in profiles\.plans"):
        find_plan("tomo_spiral")
