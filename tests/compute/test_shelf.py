"""What is kept ready, and what is forgotten."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tomoservice.compute.shelf import Shelf


class Thing:
    """Something to keep."""

    def __init__(self) -> None:
        self.closed = False

    def is_fresh(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def refuse() -> Thing:
    raise ValueError("cannot be made")


def test_keys_of_what_is_not_kept_any_more_are_forgotten() -> None:
    shelf: Shelf[Thing] = Shelf(2)
    for number in range(10):
        with shelf.lend(f"key-{number}", Thing):
            pass
    with pytest.raises(ValueError, match="cannot be made"), shelf.lend("refused", refuse):
        pass
    held = [value for value in vars(shelf).values() if isinstance(value, dict)]
    assert {key for each in held for key in each} == {"key-8", "key-9"}


def test_several_who_want_the_same_at_once_get_one() -> None:
    shelf: Shelf[Thing] = Shelf(2)
    made: list[Thing] = []
    together = threading.Barrier(8)

    def make() -> Thing:
        made.append(Thing())
        return made[-1]

    def use(_: int) -> Thing:
        together.wait(10)
        with shelf.lend("key", make) as thing:
            assert not thing.closed
            return thing

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(use, range(8))))) == 1
    assert len(made) == 1
    shelf.close()
    assert made[0].closed
