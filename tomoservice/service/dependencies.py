"""What FastAPI finds out about dependencies, kept from one request to the next.

An application that overrides a dependency has FastAPI inspect the signature of every dependency at every
request, and Tiled overrides one: two fifths of what a request for metadata costs. What it finds never
changes, so it is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.dependencies import utils

_LISTS = ("own_oauth_scopes", "parent_oauth_scopes")


def keep_dependencies() -> None:
    """Have FastAPI keep what it finds out about dependencies; doing so twice is the same as once."""
    if not isinstance(utils.get_dependant, _Kept):
        utils.get_dependant = _Kept(utils.get_dependant)


class _Kept:
    """Answers with what was found out before.

    What FastAPI asks for are the functions of an application, at a few paths, so there is an end to it.
    """

    def __init__(self, find: Callable[..., Any]) -> None:
        self._find = find
        self._found: dict[tuple[Any, ...], Any] = {}

    def __call__(self, **asked: Any) -> Any:
        key = tuple(
            (name, tuple(value or ()) if name in _LISTS else value) for name, value in sorted(asked.items())
        )
        try:
            return self._found[key]
        except KeyError:
            found = self._found[key] = self._find(**asked)
            return found
        except TypeError:
            # Something that cannot be a key.
            return self._find(**asked)
