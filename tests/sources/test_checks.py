"""Lost frames and frames that are not numbers are found, and named."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.sources.documents import random_frames
from tomoservice.errors import InputError
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan
from tomoservice.sources import bad_frames, check_frames, check_projections, check_references
from tomoservice.sources.checks import listed

ORIGIN = ScanOrigin("dxchange", "scan.h5", {"projections": "/exchange/data", "flats": "/exchange/data_white"})


def scan(projections: NDArray[Any], flats: NDArray[Any], darks: NDArray[Any]) -> TomoScan:
    return TomoScan(
        ArrayFrames(projections),
        np.arange(float(len(projections))),
        ORIGIN,
        flats=ArrayFrames(flats),
        darks=ArrayFrames(darks),
    )


@pytest.fixture
def parts() -> dict[str, NDArray[Any]]:
    return {
        "projections": random_frames(1, 40).astype(np.float32),
        "flats": random_frames(2, 4).astype(np.float32),
        "darks": random_frames(3, 3).astype(np.float32),
    }


def test_good_frames(parts: dict[str, NDArray[Any]]) -> None:
    parts["darks"][:] = 0
    parts["projections"][3, 2] = 0
    assert check_frames(scan(**parts)) == [], "zero darks and a zero row are no lost frames"


@pytest.mark.parametrize(("dtype", "limit"), [(np.uint16, 65535), (np.uint16, 4095), (np.uint8, 255)])
def test_saturated_projections_are_lost(dtype: type[np.unsignedinteger[Any]], limit: int) -> None:
    frames = np.random.default_rng(2).integers(limit // 4, limit // 2, (40, 12, 30)).astype(dtype)
    frames[7:9] = limit
    frames[20, :3] = limit  # a part of the detector
    frames[30] = limit - 1  # bright, and no more than that
    assert bad_frames(ArrayFrames(frames)).saturated.tolist() == [7, 8]
    stacks = (frames, frames[:2], np.zeros_like(frames[:2]))
    found = check_projections(scan(*stacks), np.arange(40), most_lost=0.2)
    assert found.numbers.tolist() == [7, 8]
    assert found.notes == ["projections 7 to 8 are saturated: lost"]
    with pytest.raises(InputError, match=r"projections 7 to 8 \(2 in all\) are saturated\. Leave them out"):
        check_projections(scan(*stacks), np.arange(40), most_lost=0.0)
    assert not bad_frames(ArrayFrames(frames.astype(np.float32))).saturated.size


def test_lost_projections_in_the_middle_are_named(parts: dict[str, NDArray[Any]]) -> None:
    parts["projections"][17] = 0
    parts["projections"][20:23] = 0
    with pytest.raises(InputError, match=r"scan\.h5: /exchange/data: projections 17, 20 to 22 \(4 in all\)"):
        check_frames(scan(**parts))
    assert check_frames(scan(**parts), allow_lost=True) == ["projections 17, 20 to 22 are all zero: lost"]
    with pytest.raises(InputError, match="all zero"):
        check_frames(scan(**parts | {"projections": np.zeros((5, 6, 9))}), allow_lost=True)


def test_frames_that_are_not_finite(parts: dict[str, NDArray[Any]]) -> None:
    parts["projections"][5] = np.nan
    with pytest.raises(InputError, match=r"projection 5 is not finite"):
        check_frames(scan(**parts))
    parts["projections"][5] = 1
    parts["flats"][2] = np.inf
    with pytest.raises(InputError, match=r"data_white: flat 2 is not finite"):
        check_frames(scan(**parts))
    parts["flats"][2] = 1
    parts["darks"][1, 0, 0] = np.nan
    assert check_frames(scan(**parts)) == ["dark 1 has pixels that are NaN or infinite"]


def test_a_zero_flat(parts: dict[str, NDArray[Any]]) -> None:
    parts["flats"][1] = 0
    with pytest.raises(InputError, match=r"flat 1 is all zero"):
        check_frames(scan(**parts))


def test_a_sample_of_the_projections(parts: dict[str, NDArray[Any]]) -> None:
    parts["projections"][1] = 0
    assert check_frames(scan(**parts), sample=10) == []
    parts["projections"][8] = 0
    with pytest.raises(InputError, match="projection 8 "):
        check_frames(scan(**parts), sample=10)


def test_what_the_recipe_leaves_out_is_not_looked_at(parts: dict[str, NDArray[Any]]) -> None:
    parts["projections"][[8, 30]] = 0
    parts["flats"][1] = 0
    numbers = np.arange(40)
    assert check_projections(scan(**parts), numbers[9:30], most_lost=0).numbers.size == 0
    assert check_projections(scan(**parts), numbers[1::2], most_lost=0).notes == []
    with pytest.raises(InputError, match="flat 1 is all zero"):
        check_references(scan(**parts))
    with pytest.raises(InputError, match=r"projection 30 is all zero.*frames\.exclude"):
        check_projections(scan(**parts), numbers[10:40:4], most_lost=0)
    found = check_projections(scan(**parts), numbers[6:12], most_lost=0.2)
    assert (found.numbers.tolist(), found.notes) == ([8], ["projection 8 is all zero: lost"])
    with pytest.raises(InputError, match="projection 8 is"):
        check_projections(scan(**parts), numbers[6:12], most_lost=0.1)
    uneven = np.delete(numbers, [3, 8, 9, 20])
    assert check_projections(scan(**parts), uneven, most_lost=1).numbers.tolist() == [30]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 300])
def test_probes_lie_in_the_frame(rows: int) -> None:
    frames = random_frames(1, 6, rows, 20)
    frames[4] = 0
    assert bad_frames(ArrayFrames(frames)).zero.tolist() == [4]


def test_compressed_frames_are_decompressed_once() -> None:
    class Reads(ArrayFrames):
        keys: ClassVar[list[Any]] = []

        def __getitem__(self, key: Any, /) -> NDArray[Any]:
            Reads.keys.append(key)
            return super().__getitem__(key)

    bad_frames(Reads(random_frames(1, 50, 300, 20)))
    assert Reads.keys == [(slice(0, 50, 1), slice(75, 226, 75))]


def test_few_rows_of_good_frames_are_read() -> None:
    class Counted(ArrayFrames):
        read = 0

        def __getitem__(self, key: Any, /) -> NDArray[Any]:
            block = super().__getitem__(key)
            Counted.read += block.size
            return block

    bad = bad_frames(Counted(random_frames(1, 50, 300, 20)))
    assert bad.zero.size == 0
    assert Counted.read == 50 * 3 * 20


def test_numbers_as_text() -> None:
    assert listed(np.array([3, 7, 8, 9, 12])) == "3, 7 to 9, 12"
    assert listed(np.arange(0, 40, 2)).endswith("10, ...")
