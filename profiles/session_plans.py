"""Plans as they are typed in a session: with its beamline, and with its service if they want it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, Final

from tomoservice.errors import BeamlineError

MODULES: Final = ("profiles.plans", "profiles.adaptive")
"""Where plans are looked for by their name."""
SERVICE: Final = "tomo"
"""What a plan's second argument is called if it is the service."""


def find_plan(name: str) -> Callable[..., Any]:
    """Return one of the package's plans.

    Raises
    ------
    BeamlineError
        There is none of that name.
    """
    for module in MODULES:
        found: Callable[..., Any] | None = getattr(import_module(module), name, None)
        if found is not None:
            return found
    raise BeamlineError(f"there is no plan {name!r} in {' or '.join(MODULES)}")


def bound_plan(
    plan: Callable[..., Any], beamline: Callable[[], Any], service: Callable[[], Any]
) -> Callable[..., Any]:
    """Return a plan without the arguments that a session gives.

    To whoever looks at it, a queueserver say, it is a plan whose other arguments have types.

    Parameters
    ----------
    plan
        Its first argument is the beamline; a second one called ``tomo`` is the service.
    beamline, service
        Return them when the plan is called.
    """
    signature = inspect.signature(plan)
    names = list(signature.parameters)
    given = [beamline, service] if names[1:2] == [SERVICE] else [beamline]

    @wraps(plan)
    def with_session(*arguments: Any, **keywords: Any) -> Any:
        return plan(*(one() for one in given), *arguments, **keywords)

    left = [_typed(signature.parameters[name], plan) for name in names[len(given) :]]
    with_session.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
    # Bluesky's mark of a function that makes a generator without being written as one.
    with_session._is_plan_ = True  # type: ignore[attr-defined]
    return with_session


def _typed(parameter: inspect.Parameter, plan: Callable[..., Any]) -> inspect.Parameter:
    """Return a parameter with its type in the place of the text that says it."""
    kind = parameter.annotation
    if isinstance(kind, str):
        try:
            kind = eval(kind, inspect.unwrap(plan).__globals__)
        except (NameError, AttributeError):
            # Known to type checkers only.
            kind = inspect.Parameter.empty
    return parameter.replace(annotation=kind)
