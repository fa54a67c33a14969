"""Work is spread over threads."""

from __future__ import annotations

import threading
import time

import pytest

from tomoservice.threads import for_each


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_item_is_worked_on_once(threads):
    done = []
    for_each(done.append, range(100), threads)
    assert sorted(done) == list(range(100))


def test_the_caller_is_one_of_the_threads():
    together, seen = threading.Barrier(3), set()

    def work(_item: int) -> None:
        together.wait(10)
        seen.add(threading.current_thread())

    for_each(work, range(3), 3)
    assert len(seen) == 3
    assert threading.current_thread() in seen


@pytest.mark.parametrize("who", ["caller", "helper"])
def test_after_an_error_no_item_begins(who):
    begun, together = [], threading.Barrier(2)

    def work(item: int) -> None:
        begun.append(item)
        together.wait(10)
        if (threading.current_thread() is threading.main_thread()) == (who == "caller"):
            raise KeyError(item)
        time.sleep(0.2)

    with pytest.raises(KeyError):
        for_each(work, range(100), 2)
    assert sorted(begun) == [0, 1]


def test_nothing_to_do_is_done():
    for_each(pytest.fail, [])
