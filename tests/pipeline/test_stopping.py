"""A wish to stop is heard within about a second, whatever is being done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.errors import CancelledError
from tomoservice.pipeline import compute, prepare
from tomoservice.pipeline.pieces import PIECE_S, checking, in_pieces
from tomoservice.pipeline.preprocess import Preprocessor
from tomoservice.recipe import parse_recipe
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan
from tomoservice.sources import open_scan
from tomoservice.threads import available_threads

AXIS = {"method": "value", "value": 300.0}
ROWS, ANGLES, COLUMNS = 64, 300, 640
SHORT_S = 0.01


class Ear:
    """Hears nothing, and remembers how long it was not asked, in seconds of processor time."""

    def __init__(self) -> None:
        self.deaf: dict[str, float] = {}
        self.stage = "read"
        self._asked = time.process_time()

    def __call__(self) -> bool:
        now = time.process_time()
        self.deaf[self.stage] = max(self.deaf.get(self.stage, 0.0), now - self._asked)
        self._asked = now
        return False

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        self.stage = stage
        yield
        self()


@pytest.fixture(scope="module")
def large() -> TomoScan:
    random = np.random.default_rng(0)
    frames = random.integers(20_000, 40_000, (ANGLES, ROWS, COLUMNS), np.uint16)
    return TomoScan(
        projections=ArrayFrames(frames),
        angles_deg=np.linspace(0, 180, ANGLES, endpoint=False),
        origin=ScanOrigin("memory", "noise"),
        flats=ArrayFrames(np.full((3, ROWS, COLUMNS), 41_000, np.uint16)),
        darks=ArrayFrames(np.zeros((3, ROWS, COLUMNS), np.uint16)),
        pixel_size_um=1.0,
        energy_kev=20.0,
        distance_mm=5.0,
    )


def test_inside_stages(large: TomoScan, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = {
        "rotation_axis": AXIS,
        "outliers": {"method": "zingers", "dimension": "both", "size": 5},
        "stripes": {"method": "vo_all"},
        "phase": {"method": "ctf", "material": {"method": "delta_beta", "delta_beta": 10.0}},
    }
    plan = prepare(large, parse_recipe(stages))
    reader = Preprocessor(large, plan.selection, plan.beam, plan.chain)
    # Compiles what is not yet.
    reader.sinograms(0, 2)

    def deaf(piece_s: float) -> float:
        monkeypatch.setattr("tomoservice.pipeline.pieces.PIECE_S", piece_s)
        ear = Ear()
        reader.sinograms(0, ROWS, timed=ear.timed, cancelled=ear)
        assert set(ear.deaf) >= {"outliers", "stripes", "phase"}
        return max(ear.deaf[stage] for stage in ("outliers", "stripes", "phase"))

    # A stage of a second in pieces of a hundredth stands for one of minutes in pieces of a second. All
    # threads together; the first pieces grow until they are long enough.
    short = deaf(SHORT_S)
    assert short < 8 * SHORT_S * available_threads()
    assert short < deaf(0.4) / 2


def test_while_compressed_frames_are_read(tmp_path: Path) -> None:
    sample: PhantomScan = phantom_scan(64, 4, 40)
    path = sample.write_dxchange(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        frames = np.tile(file["exchange/data"][:], (1, 256, 32))
        for name in ("data", "data_white", "data_dark"):
            small = file[f"exchange/{name}"][:]
            del file[f"exchange/{name}"]
            tiled = frames if name == "data" else np.tile(small[:2], (1, 256, 32))
            chunks = (1, *tiled.shape[1:])
            file.create_dataset(f"exchange/{name}", data=tiled, chunks=chunks, compression="lzf")
    with open_scan(path) as scan:
        recipe = parse_recipe({"rotation_axis": AXIS, "frames": {"rows": {"start": 8, "stop": 12}}})
        plan = prepare(scan, recipe)
        asked: list[int] = []

        def cancelled() -> bool:
            asked.append(1)
            return False

        Preprocessor(scan, plan.selection, plan.beam, plan.chain).sinograms(0, 4, cancelled=cancelled)
        # 40 frames of 4 MB, of which four rows are wanted: they would all be one piece.
        assert len(asked) >= 2


@pytest.mark.parametrize("after", [0, 3, 6])
def test_a_stage_ends_where_it_is(large: TomoScan, after: int) -> None:
    stages = {"rotation_axis": AXIS, "stripes": {"method": "sorting"}}
    plan = prepare(large, parse_recipe(stages))
    calls = 0

    def cancelled() -> bool:
        nonlocal calls
        calls += 1
        return calls > after

    with pytest.raises(CancelledError, match=r"stopped (while|during)"):
        Preprocessor(large, plan.selection, plan.beam, plan.chain).sinograms(0, ROWS, cancelled=cancelled)
    with pytest.raises(CancelledError):
        compute(plan, large, on_slab=lambda *_: None, cancelled=cancelled)


class TestPieces:
    def test_cover_the_work_and_grow(self) -> None:
        pieces = list(in_pieces(1000, 2, checking(None, "here")))
        assert pieces[0] == (0, 2)
        assert [edge for piece in pieces for edge in piece][1:-1:2] == [start for start, _ in pieces[1:]]
        assert pieces[-1][1] == 1000
        assert len(pieces) < 10

    def test_stay_small_where_each_takes_long(self) -> None:
        sizes = []
        for start, stop in in_pieces(8, 2, checking(None, "here")):
            time.sleep(1.2 * PIECE_S * (stop - start) / 2)
            sizes.append(stop - start)
        assert sizes == [2, 2, 2, 2]

    def test_look_before_each(self) -> None:
        heard: list[int] = []

        def cancelled() -> bool:
            return len(heard) > 1

        pieces = in_pieces(1000, 1, checking(cancelled, "in the middle"))
        heard.extend(start for start, _ in (next(pieces), next(pieces)))
        with pytest.raises(CancelledError, match="stopped in the middle"):
            next(pieces)
        assert len(heard) == 2
