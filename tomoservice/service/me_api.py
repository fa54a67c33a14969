"""The HTTP route that says who is asking, and what they may do: a page shows no button that is refused."""

from __future__ import annotations

from fastapi import APIRouter

from tomoservice.service.answers import REFUSALS, TAG
from tomoservice.service.callers import COMPUTE, CREATE, READ, TheCaller
from tomoservice.service.models import Answer

router = APIRouter(prefix="/tomo", tags=[TAG], responses=REFUSALS)


class MeAnswer(Answer):
    """Whoever is asking."""

    name: str
    """What they are called; empty where there are no accounts."""
    can_read: bool
    """Whether they may look at anything."""
    can_write: bool
    """Whether they may have previews computed by recipes of their own, save recipes and ask for
    reconstructions."""


@router.get("/me")
async def who_asks(caller: TheCaller) -> MeAnswer:
    """Return who is asking, and what they may do in general; single runs may be closed to them still."""
    scopes = set(caller.scopes)
    return MeAnswer(
        name=caller.name,
        can_read=scopes.issuperset(READ),
        can_write=scopes.issuperset({*READ, *COMPUTE, *CREATE}),
    )
