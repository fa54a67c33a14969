"""Errors as answers by HTTP: one place says which is which."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from tomoservice.catalog.transport import ConflictError, NotAllowedError, NotFoundError
from tomoservice.errors import (
    CancelledError,
    IllegalTransitionError,
    NoSuchRunError,
    OtherSlabsError,
    RecipeError,
    ServiceUnavailableError,
    TomoserviceError,
)
from tomoservice.recipe.problems import shown

TAG = "tomography"
"""Of every route of ours."""
FORBIDDEN, NOT_FOUND, CONFLICT, UNPROCESSABLE, CLIENT_GONE, UNAVAILABLE = 403, 404, 409, 422, 499, 503
RETRY_S = 5
STATUSES: tuple[tuple[type[TomoserviceError], int], ...] = (
    (ServiceUnavailableError, UNAVAILABLE),
    (CancelledError, CLIENT_GONE),
    (NoSuchRunError, NOT_FOUND),
    (NotFoundError, NOT_FOUND),
    (NotAllowedError, FORBIDDEN),
    (ConflictError, CONFLICT),
    (IllegalTransitionError, CONFLICT),
    (OtherSlabsError, CONFLICT),
)
"""Status of each kind of error; the first that fits, else 422."""


class Problem(BaseModel):
    """What is wrong with one field."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    field: str
    """Name of the field, with dots: `rotation_axis.value`; empty if none."""
    problem: str
    """What it got, and what it wants."""


class Refusal(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    detail: str
    """In words, for a person."""
    problems: list[Problem] = Field(default_factory=list)
    """Of a request with wrong fields: each of them."""


REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "The key lacks a scope that this needs, or there is none."},
    404: {"model": Refusal, "description": "There is no such thing, or none that this key may see."},
    422: {"model": Refusal, "description": "The request is wrong; says which field, and what it wants."},
}
"""What every route may answer beside what it is there for."""
WORKING: dict[int | str, dict[str, Any]] = {
    503: {
        "model": Refusal,
        "description": "Nobody computes at present; `Retry-After` says when to ask again.",
    }
}
"""What those may answer that have something computed."""


def explain_errors(app: FastAPI) -> None:
    """Have errors of ours answered in words, whichever route they come from."""
    app.add_exception_handler(TomoserviceError, _answer)
    app.add_exception_handler(RequestValidationError, _answer_invalid)


def problems_of(error: RecipeError) -> list[Problem]:
    """Return what is wrong with a recipe, field by field."""
    return [_problem(line) for line in error.problems]


def _problem(line: str) -> Problem:
    field, mark, problem = line.partition(": ")
    is_field = bool(mark) and field.replace(".", "").replace("_", "").isalnum()
    return Problem(field=field, problem=problem) if is_field else Problem(field="", problem=line)


async def _answer(request: Request, error: Exception) -> Response:
    del request
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), UNPROCESSABLE)
    headers = {"Retry-After": str(RETRY_S)} if status == UNAVAILABLE else None
    problems = problems_of(error) if isinstance(error, RecipeError) else []
    return _refusal(status, str(error), problems, headers)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    route = request.scope.get("route")
    if TAG not in getattr(route, "tags", ()):
        # Tiled's own.
        return await request_validation_exception_handler(request, error)
    problems = [
        Problem(field=".".join(str(part) for part in details["loc"][1:]), problem=_said(details))
        for details in error.errors()
    ]
    detail = "; ".join(": ".join(part for part in (each.field, each.problem) if part) for each in problems)
    return _refusal(UNPROCESSABLE, detail, problems)


def _said(details: Any) -> str:
    match details["type"]:
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            return "is missing"
        case "json_invalid":
            return f"the body is no JSON: {details['ctx']['error']}"
        case _:
            wants = details["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
            return f"got {shown(details['input'])}, wants {wants}"


def _refusal(
    status: int, detail: str, problems: list[Problem], headers: dict[str, str] | None = None
) -> Response:
    content = Refusal(detail=detail, problems=problems).model_dump(exclude_defaults=True)
    return JSONResponse(content, status, headers=headers)
