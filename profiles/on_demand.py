"""Names of a session that stand for something which is not there yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


class OnDemand:
    """Stands for an object that is made when somebody uses it, and made again should that fail.

    Parameters
    ----------
    make
        Makes the object; what it raises reaches whoever uses it.
    name
        What it is, for people.
    """

    def __init__(self, make: Callable[[], Any], name: str) -> None:
        self.__make = make
        self.__name = name

    def __getattr__(self, attribute: str) -> Any:
        # IPython asks every object for ways to show it: none is worth connecting for.
        if attribute.startswith(("_repr_", "_ipython_", "__")):
            raise AttributeError(attribute)
        return getattr(self.__make(), attribute)

    def __getitem__(self, key: Any) -> Any:
        return self.__make()[key]

    def __len__(self) -> int:
        return len(self.__make())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__make())

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the object."""
        return self.__make()(*arguments, **keywords)

    def __bool__(self) -> bool:
        # Without it, `len` would be asked.
        return True

    def __repr__(self) -> str:
        return f"<{self.__name}: connected when it is used>"
