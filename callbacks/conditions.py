"""What a rule wants of one entry of a start document."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, SupportsFloat, TypeGuard

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_SIGN = re.compile(r"\s*(>=|<=|!=|>|<)(.*)", re.DOTALL)


def check(wanted: object) -> None:
    """Raise `ValueError` unless something can be wanted of an entry."""
    if isinstance(wanted, list):
        if not wanted:
            raise ValueError("an empty list fits nothing; leave the entry out, or write '*' for any value")
        for one in wanted:
            if one is None or isinstance(one, list | dict):
                raise ValueError(f"got {one!r} in a list, wants texts, numbers, true or false there")
            check(one)
    elif isinstance(wanted, str):
        _comparisons(wanted)
    elif wanted is not None and not isinstance(wanted, int | float):
        raise ValueError(
            f"got {type(wanted).__name__}, wants a text with wildcards, a number, a comparison like '>= 20', "
            "true, false, null (not there), or a list of these"
        )


def fits(value: object, wanted: object) -> bool:
    """Tell whether an entry of a start document is what is wanted.

    Parameters
    ----------
    value : object
        The entry; `None` if it is not there.
    wanted : object
        What has passed `check`.
    """
    if isinstance(wanted, list):
        return any(fits(value, one) for one in wanted)
    if wanted is None or value is None:
        return wanted is value
    if isinstance(wanted, bool) or isinstance(value, bool):
        return value is wanted or (isinstance(wanted, str) and fnmatchcase(str(value).lower(), wanted))
    if isinstance(wanted, str):
        compared = _comparisons(wanted)
        if not compared:
            return fnmatchcase(str(value), wanted)
        return _is_number(value) and all(compare(float(value), limit) for compare, limit in compared)
    return _is_number(value) and float(value) == wanted


def find(document: Mapping[str, Any], path: str) -> Any:
    """Return the entry at a path (``tomo.energy_kev``, ``detectors.0``) of a document, or None."""
    if path in document:
        return document[path]
    place: Any = document
    for key in path.split("."):
        if isinstance(place, Mapping):
            place = place.get(key)
        elif isinstance(place, Sequence) and not isinstance(place, str) and key.isdecimal():
            place = place[int(key)] if int(key) < len(place) else None
        else:
            return None
    return place


def _comparisons(text: str) -> list[tuple[Callable[[float, float], bool], float]]:
    """Return the comparisons that a text consists of, none if it is a pattern.

    Raises
    ------
    ValueError
        It begins like one and is none.
    """
    if not _SIGN.match(text):
        return []
    found = []
    for part in text.split(","):
        match = _SIGN.fullmatch(part)
        try:
            limit = float(match[2]) if match else None
        except ValueError:
            limit = None
        if match is None or limit is None:
            raise ValueError(f"got {text!r}, wants comparisons with numbers like '>= 20' or '>= 20, < 30'")
        found.append((COMPARISONS[match[1]], limit))
    return found


def _is_number(value: object) -> TypeGuard[SupportsFloat]:
    return isinstance(value, SupportsFloat)
