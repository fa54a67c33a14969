"""What is sent together of a run that goes on."""

from __future__ import annotations

from typing import Any

from callbacks.publication import joined


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
