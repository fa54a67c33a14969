"""What is sent together of a run that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from callbacks.journal import Journal
from callbacks.publication import AT_ONCE, Publication, joined


def datum(resource: str, start: int, stop: int, **changes: Any) -> tuple[str, dict[str, Any]]:
    ranges = {
        "indices": {"start": start, "stop": stop},
        "seq_nums": {"start": start + 1, "stop": stop + 1},
    }
    content = {"uid": f"{resource}/{stop}", "stream_resource": resource, "descriptor": "primary", **ranges}
    return "stream_datum", {**content, **changes}


def test_what_follows_each_other_in_a_file_is_one() -> None:
    given = [
        *(datum("image", 0, 4), datum("angle", 0, 4), datum("image", 4, 6), datum("angle", 4, 6)),
        ("descriptor", {"name": "flat"}),
        datum("image", 6, 7),
    ]
    assert list(joined(given)) == [
        *(datum("image", 0, 6), datum("angle", 0, 6)),
        ("descriptor", {"name": "flat"}),
        datum("image", 6, 7),
    ]


def test_what_does_not_is_sent_in_its_order() -> None:
    broken = "stream_datum", {"uid": "no resource, no indices"}
    for given in (
        [datum("image", 0, 4), datum("image", 5, 6)],
        [datum("image", 4, 6), datum("image", 0, 4)],
        [datum("image", 0, 4), datum("image", 4, 6, descriptor="flat")],
        [datum("image", 0, 4), datum("image", 4, 6, seq_nums={"start": 9, "stop": 11})],
        [datum("image", 0, 4), broken, datum("image", 4, 6, indices=None)],
        [broken, broken],
        [],
    ):
        assert list(joined(given)) == given


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((), (), AT_ONCE),
        (("event",) * 2000, (), 20),
        ((), ("stop",), 20),
        (("event",) * 2000, ("end",), AT_ONCE),
    ],
    ids=["goes on", "is behind", "is over", "broke off"],
)
def test_one_at_a_time_while_nothing_waits(
    tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...], expected: int
) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    journal.append("start", {"uid": "run"})
    for name in before:
        journal.append(name, {"data": {"rotation": 1.0}, "seq_num": 1, "descriptor": "primary"})
    if "stop" in after:
        journal.append("stop", {"run_start": "run"})
    if "end" in after:
        journal.flush()
        journal.close()
        left_behind = Journal.take_up(journal.path)
        assert left_behind is not None
        journal = left_behind
    publication = Publication(journal, 20)
    assert publication._chosen_size() == expected
    publication.start_over()
    if not after:
        assert publication._chosen_size() == 20
    journal.close()
