"""Runs of the shapes that facilities record, followed while they have no end yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from bluesky_tiled_plugins import TiledWriter

from tests.live.conftest import Watched, wait_for
from tests.sources.documents import Document
from tests.sources.facility_runs import fly_run, fxi_fly_run, hex_runs, htss_run, step_run
from tomoservice.service.running import RunningService

Runs = Sequence[Sequence[Document]]


def hex_both(folder: Path) -> Runs:
    references, scan, _ = hex_runs(folder)
    return [list(references.close()), list(scan.close())]


SHAPES: dict[str, tuple[Callable[[Path], Runs], int, str]] = {
    # Their files are not readable while they are written, as their stream resources say.
    "own fly scan": (lambda folder: [list(fly_run(folder)[0].close())], 7, "unreadable"),
    "flats last": (lambda folder: [list(fly_run(folder, flats_last=True)[0].close())], 7, "unreadable"),
    "HEX, flats in another run": (hex_both, 9, "unreadable"),
    "own step scan": (lambda folder: [list(step_run(folder)[0].close())], 5, "accumulating"),
    "FXI": (lambda folder: [list(fxi_fly_run(folder)[0].close())], 20, "accumulating"),
    "HTSS": (lambda folder: [list(htss_run(folder)[0].close())], 6, "accumulating"),
}


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize(("make", "frames", "state"), SHAPES.values(), ids=SHAPES)
def test_it_is_followed_to_its_end(
    service: RunningService, root: Any, make: Callable[[Path], Runs], frames: int, state: str
) -> None:
    *before, scan = make(service.data.parent / "raw")
    for docs in before:
        write(root, docs)
    publish = write(root, scan[:-1])
    live = Watched(root, str(scan[0][1]["uid"]))
    seen = live.until(state=state)
    if state == "accumulating":
        # They are made of random numbers, which may look as if there were no beam.
        seen = live.until(frames_seen=frames)
        wait_for(lambda: counted(live.metadata) == frames)
        assert seen["flat"] == {"provisional": False, "source": "the scan's own flats"}
    else:
        assert "reconstructed at its end" in seen["message"]
    publish(*scan[-1])
    done = live.until(state="done")
    assert counted(done) == done["frames_seen"] == frames
    assert done["frames_used"] >= 1
    assert done["flat"] == {"provisional": False, "source": "the scan's own flats"}
    assert live.node["xy"].read().any()


def counted(live: dict[str, Any]) -> int:
    return int(live["frames_used"] + live["frames_invalid"])


def write(root: Any, docs: Sequence[Document]) -> TiledWriter:
    writer = TiledWriter(root["raw"], batch_size=1)
    for name, doc in docs:
        # One that began long ago would be taken for dead.
        writer(name, {**doc, "time": time.time()} if name == "start" else dict(doc))
    return writer
