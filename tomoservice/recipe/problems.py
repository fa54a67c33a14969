"""Pydantic's validation errors, said so that a person knows what to change."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

LONGEST_SHOWN = 60
DEEPEST_SHOWN = 2
MOST_SHOWN = 3
"""Values of a list, or keys of a mapping, that are shown at each level."""
MOST_PROBLEMS = 20
"""That are named; whoever has more mends those first."""


def describe_problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one line per problem: the field, what it got, what it wants; after the first 20 how many more.

    Parameters
    ----------
    error
        What pydantic raised.
    model
        The model that was validated; tells field names from the tags of discriminated unions.
    """
    problems = error.errors(include_url=False)
    lines = [_line(details, model) for details in problems[:MOST_PROBLEMS]]
    more = len(problems) - len(lines)
    return [*lines, f"and {more} more"] if more else lines


def _line(details: Any, model: type[BaseModel]) -> str:
    path, owner = _field_path(details["loc"], model)
    field = ".".join(path) or "recipe"
    got = shown(details["input"])
    match details["type"]:
        case "extra_forbidden":
            return f"{field}: unknown key{_suggestion(path[-1], owner)}"
        case "missing":
            return f"{field}: is missing"
        case "union_tag_not_found":
            return f"{field}: got {got}, wants a mapping with the key 'method'"
        case "union_tag_invalid":
            tag, expected = details["ctx"]["tag"], details["ctx"]["expected_tags"]
            return f"{field}.method: got {tag!r}, wants one of {expected}"
        case "literal_error":
            return f"{field}: got {got}, wants {details['ctx']['expected']}"
        case "value_error":
            return f"{field}: {details['ctx']['error']}"
        case "model_type" | "model_attributes_type":
            return f"{field}: got {got}, wants a mapping"
        case _:
            wants = details["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
            return f"{field}: got {got}, wants {wants}"


def shown(value: object) -> str:
    """Return a value for a message, shortened; any value can be shown."""
    # A plain repr fails on what nests too deeply or has too many digits, and takes for ever on aliases of
    # aliases.
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = LONGEST_SHOWN
    short.maxlevel = DEEPEST_SHOWN
    short.maxlist = short.maxtuple = short.maxset = short.maxfrozenset = short.maxdict = MOST_SHOWN
    try:
        text = short.repr(value)
    except ValueError:
        return "a number of too many digits"
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def _suggestion(key: str, owner: type[BaseModel] | None) -> str:
    if owner is None:
        return ""
    near = difflib.get_close_matches(key, owner.model_fields, n=1)
    known = ", ".join(owner.model_fields)
    return f"; did you mean '{near[0]}'?" if near else f"; known keys: {known}"


def _field_path(
    location: tuple[int | str, ...], model: type[BaseModel]
) -> tuple[list[str], type[BaseModel] | None]:
    """Return the keys as they stand in the document, and the model that owns the last of them."""
    path: list[str] = []
    candidates: list[type[BaseModel]] = [model]
    owner: type[BaseModel] | None = model
    for part in location:
        tagged = [m for m in candidates if len(candidates) > 1 and _has_tag(m, part)]
        if tagged:
            candidates = tagged
            continue
        path.append(str(part))
        if isinstance(part, int):
            # An element of a list, which holds what its field says.
            continue
        owner = candidates[0] if candidates else None
        field = owner.model_fields.get(str(part)) if owner else None
        candidates = list(_models_in(field.annotation)) if field else []
    return path, owner


def _has_tag(model: type[BaseModel], tag: int | str) -> bool:
    field = model.model_fields.get("method")
    return field is not None and tag in get_args(field.annotation)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
