"""Iterations that start from an earlier volume, whatever form it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.cli import run
from tomoservice.errors import EngineError, InputError, RecipeError
from tomoservice.export import ExportOptions, VolumeForm, export_volume, volume_output
from tomoservice.export.sources import open_earlier_volume, open_volume
from tomoservice.pipeline import Plan, ResidualLog, compute, initial, prepare
from tomoservice.pipeline.previews import Previewer
from tomoservice.provenance import make_record
from tomoservice.recipe import parse_recipe
from tomoservice.scan import EarlierVolume, TomoScan
from tomoservice.sources import open_companions

COLUMNS, ROWS, ANGLES, AXIS = 48, 12, 40, 24.3
KNOWN = {"rotation_axis": {"method": "value", "value": AXIS}}


@pytest.fixture(scope="module")
def sample() -> PhantomScan:
    return phantom_scan(COLUMNS, ROWS, ANGLES, rotation_axis=AXIS)


def sirt(iterations: int, volume: Path | None = None, **more: Any) -> dict[str, Any]:
    start = {} if volume is None else {"initial": "volume", "initial_volume": str(volume)}
    return {"method": "sirt", "iterations": iterations, "circular_mask": False, **start, **more}


def no_scan(name: str) -> TomoScan:
    raise AssertionError(name)


@contextmanager
def opened(scan: TomoScan, content: dict[str, Any]) -> Iterator[tuple[Plan, TomoScan]]:
    recipe = parse_recipe({**KNOWN, **content})
    with open_companions(scan, recipe, no_scan, lambda name: open_earlier_volume(Path(name))) as whole:
        yield prepare(whole, recipe), whole


def volume_of(scan: TomoScan, **content: Any) -> tuple[NDArray[Any], list[float], Plan]:
    """Return the volume, the first residual of each slice, and the plan."""
    with opened(scan, content) as (plan, whole):
        volume = np.zeros(plan.shape, plan.dtype)
        first: dict[int, float] = {}
        log = ResidualLog(lambda row, _number, residual: first.setdefault(row, residual) and None)
        compute(
            plan,
            whole,
            on_slab=lambda slab, slices: volume.__setitem__(slice(slab.start, slab.stop), slices),
            iterations=log.control(),
        )
        return volume, [first[row] for row in sorted(first)], plan


def stored(scan: TomoScan, path: Path, **content: Any) -> Path:
    """Reconstruct into a file."""
    with opened(scan, content) as (plan, whole), volume_output(path, VolumeForm.of(plan)) as writer:
        timings = compute(plan, whole, on_slab=lambda slab, slices: writer.write(slab.start, slices))
        writer.finish(make_record(plan, whole, started=datetime.now(UTC), timings_s=timings))
    return path


def distance(volume: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(volume - other).max() / np.ptp(other))


def alike(volume: NDArray[Any], other: NDArray[Any]) -> float:
    """Return how alike two volumes are away from the outermost voxels."""
    inner = (slice(1, -1),) * 3
    return float(np.corrcoef(volume[inner].ravel(), other[inner].ravel())[0, 1])


@pytest.mark.parametrize("name", ["v.h5", "v.zarr", "v.ome.zarr"])
def test_two_times_five_iterations_are_ten(sample: PhantomScan, tmp_path: Path, name: str) -> None:
    scan = sample.scan()
    begun = stored(scan, tmp_path / name, reconstruction=sirt(5))
    further, _, plan = volume_of(scan, reconstruction=sirt(5, begun))
    ten, _, _ = volume_of(scan, reconstruction=sirt(10))
    assert distance(further, ten) < 1e-5
    assert f"the iterations start from {begun}" in plan.notes
    assert plan.resolved.reconstruction.initial_volume == str(begun)  # type: ignore[union-attr]


def test_in_other_units_numbers_and_slices(sample: PhantomScan, tmp_path: Path) -> None:
    scan = replace(sample.scan(), pixel_size_um=2.0)
    output = {"units": "per_cm", "dtype": "uint16", "range": {"method": "fixed", "low": -99, "high": 400}}
    begun = stored(scan, tmp_path / "whole.h5", reconstruction=sirt(5), output=output)
    ten, _, _ = volume_of(scan, reconstruction=sirt(10))
    with open_volume(begun) as volume:
        export_volume(volume, tmp_path / "part.zarr", ExportOptions(z=(2, 9)))
    for path, rows in ((begun, {}), (tmp_path / "part.zarr", {"rows": {"start": 3, "stop": 8}})):
        further, _, plan = volume_of(scan, reconstruction=sirt(5, path), frames=rows)
        start = plan.selection.rows.start
        assert distance(further, ten[start : start + len(further)]) < 1e-3
        assert not any("interpolated" in note for note in plan.notes)


def test_cropped_it_is_nothing_elsewhere(sample: PhantomScan, tmp_path: Path) -> None:
    scan = sample.scan()
    output = {"crop": {"rows": {"start": 10, "stop": 40}, "columns": {"start": 5}}}
    begun = stored(scan, tmp_path / "v.h5", reconstruction=sirt(5), output=output)
    with opened(scan, {"reconstruction": sirt(1, begun)}) as (plan, _):
        assert plan.initial is not None
        slices = plan.initial.slices(2, 4)
    five, _, _ = volume_of(scan, reconstruction=sirt(5))
    expected = np.zeros_like(five[2:4])
    expected[:, 10:40, 5:] = five[2:4, 10:40, 5:]
    np.testing.assert_array_equal(slices, expected)


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_of_larger_or_smaller_voxels(sample: PhantomScan, tmp_path: Path, first: int, then: int) -> None:
    scan = sample.scan()
    begun = stored(scan, tmp_path / "v.zarr", reconstruction=sirt(60), frames={"binning": first})
    frames = {"binning": then}
    _, cold, _ = volume_of(scan, reconstruction=sirt(1), frames=frames)
    _, warm, plan = volume_of(scan, reconstruction=sirt(1, begun), frames=frames)
    assert any(note.endswith("v.zarr, interpolated") for note in plan.notes)
    with opened(scan, {"reconstruction": sirt(1, begun), "frames": frames}) as (again, _):
        assert again.initial is not None
        start = again.initial.slices(0, again.shape[0])
    best, _, _ = volume_of(scan, reconstruction=sirt(60), frames=frames)
    # In its place, and as dark: a shift by half a voxel, or another scale, would show.
    assert start.sum() == pytest.approx(best.sum(), rel=0.01)
    for axis in range(3):
        left, middle, right = (alike(np.roll(start, by, axis), best) for by in (-1, 0, 1))
        assert abs((left - right) / (2 * (left - 2 * middle + right))) < 0.15
    assert np.mean(warm) < 0.5 * np.mean(cold)


def test_rows_that_binning_left_over_and_the_rim() -> None:
    """A coarser volume of ones is ones, as far as its voxels reach, and begins and ends with them."""
    sample = phantom_scan(26, 15, 12, rotation_axis=12.4)
    scan, content = sample.scan(), {"rotation_axis": {"method": "value", "value": 12.4}}
    coarse = prepare(scan, parse_recipe({**content, "frames": {"binning": 4}}))
    ones = EarlierVolume(
        "memory", coarse.shape, coarse.geometry, lambda z: np.ones((z.stop - z.start, *coarse.shape[1:]))
    )
    recipe = parse_recipe({**content, "reconstruction": sirt(1, Path("ones"))})
    plan = prepare(replace(scan, volumes={"ones": ones}), recipe)
    assert (coarse.shape, plan.shape) == ((3, 6, 6), (15, 26, 26))
    assert plan.initial is not None
    slices = plan.initial.slices(0, 15)
    # Grey values are attenuations per voxel, whose edge is a quarter now.
    inside = np.zeros((26, 26), np.float32)
    inside[1:25, 1:25] = 0.25
    np.testing.assert_allclose(slices, np.broadcast_to(inside, slices.shape), atol=1e-6)


def test_a_few_slices_at_a_time_are_as_all(sample: PhantomScan, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = sample.scan()
    coarse = prepare(scan, parse_recipe({**KNOWN, "frames": {"binning": 2}}))
    numbers = np.random.default_rng(1).random(coarse.shape, np.float32)
    earlier = EarlierVolume("memory", coarse.shape, coarse.geometry, lambda z: numbers[z])
    recipe = parse_recipe({**KNOWN, "reconstruction": sirt(1, Path("v"))})
    plan = prepare(replace(scan, volumes={"v": earlier}), recipe)
    assert plan.initial is not None
    whole = plan.initial.slices(0, ROWS)
    monkeypatch.setattr(initial, "READ_BYTES", 1)
    np.testing.assert_array_equal(plan.initial.slices(0, ROWS), whole)
    np.testing.assert_array_equal(plan.initial.slices(5, 8), whole[5:8])


def test_a_preview_starts_without_and_says_so(sample: PhantomScan) -> None:
    by_volume = parse_recipe({**KNOWN, "reconstruction": sirt(2, Path("elsewhere"))})
    without = parse_recipe({**KNOWN, "reconstruction": sirt(2, initial="fbp")})
    previewer = Previewer(sample.scan())
    shown, expected = (previewer.slice(recipe, 5) for recipe in (by_volume, without))
    np.testing.assert_array_equal(shown.image, expected.image)
    assert any("start from the filtered back-projection, not from the volume" in n for n in shown.notes)
    previewer.close()


def test_slabs_and_memory_change_nothing(sample: PhantomScan, tmp_path: Path) -> None:
    scan = sample.scan()
    begun = stored(scan, tmp_path / "v.zarr", reconstruction=sirt(5), frames={"binning": 2})
    content = {"reconstruction": sirt(3, begun)}
    whole, _, _ = volume_of(scan, **content)
    with opened(scan, content) as (plan, opened_scan):
        one = prepare(opened_scan, plan.recipe, depth=1)
        volume = np.zeros_like(whole)
        compute(
            one,
            opened_scan,
            on_slab=lambda slab, slices: volume.__setitem__(slice(slab.start, slab.stop), slices),
            slabs=one.slabs[::-1],
        )
    np.testing.assert_array_equal(volume, whole)


class TestRefusals:
    def test_of_a_volume_without_the_rows(self, sample: PhantomScan, tmp_path: Path) -> None:
        scan = sample.scan()
        begun = stored(
            scan, tmp_path / "v.h5", reconstruction=sirt(1), frames={"rows": {"start": 2, "stop": 6}}
        )
        with pytest.raises(
            RecipeError, match=r"initial_volume: .*v\.h5 holds detector rows 2 to 6, and 0 to 12 are wanted"
        ):
            volume_of(scan, reconstruction=sirt(1, begun))

    def test_of_another_magnification(self, sample: PhantomScan, tmp_path: Path) -> None:
        scan = replace(sample.scan(), pixel_size_um=2.0)
        begun = stored(scan, tmp_path / "v.h5", reconstruction=sirt(1))
        other = replace(scan, pixel_size_um=1.0)
        with pytest.raises(
            RecipeError, match="are 2 um large at binning 1, those of this scan would be 1 um"
        ):
            volume_of(other, reconstruction=sirt(1, begun))

    def test_of_holes(self, sample: PhantomScan, tmp_path: Path) -> None:
        scan = sample.scan()
        begun = stored(scan, tmp_path / "v.h5", reconstruction=sirt(1))
        with h5py.File(begun, "r+") as file:
            file["entry/data/data"][5, 3, 3] = np.nan
        with pytest.raises(EngineError, match="hold values that are not finite"):
            volume_of(scan, reconstruction=sirt(1, begun))

    def test_of_something_else(self, sample: PhantomScan, tmp_path: Path) -> None:
        scan = sample.scan()
        with pytest.raises(InputError, match="is no volume that can be read"):
            volume_of(scan, reconstruction=sirt(1, tmp_path / "nothing"))
        begun = stored(scan, tmp_path / "v.h5", reconstruction=sirt(1))
        with h5py.File(begun, "r+") as file:
            text = file["entry/reconstruction/record"].asstr()[()]
            del file["entry/reconstruction/record"]
            file["entry/reconstruction/record"] = text.replace('"detector_rows"', '"rows"')
        with pytest.raises(InputError, match=r"does not say what its voxels are .*detector_rows"):
            volume_of(scan, reconstruction=sirt(1, begun))

    def test_of_a_volume_that_nobody_opened(self, sample: PhantomScan) -> None:
        recipe = parse_recipe({**KNOWN, "reconstruction": sirt(1, Path("v.h5"))})
        with pytest.raises(InputError, match=r"initial_volume names 'v\.h5', which has not been opened"):
            prepare(sample.scan(), recipe)

    @pytest.mark.parametrize(
        "content",
        [{"initial": "volume"}, {"initial_volume": "v.h5"}, {"initial": "fbp", "initial_volume": "v"}],
    )
    def test_of_half_a_wish(self, content: dict[str, Any]) -> None:
        with pytest.raises(RecipeError, match="to start from a volume takes initial 'volume' and the name"):
            parse_recipe({"reconstruction": {"method": "tv", **content}})


def test_from_the_command_line(
    sample: PhantomScan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, folder = sample.scan(), tmp_path / "scans"
    folder.mkdir()
    with h5py.File(folder / "scan.h5", "w") as file:
        file["exchange/data"] = scan.projections[:]
        assert scan.flats is not None
        assert scan.darks is not None
        file["exchange/data_white"] = scan.flats[:]
        file["exchange/data_dark"] = scan.darks[:]
        file["exchange/theta"] = scan.angles_deg
    recipe = (
        "rotation_axis: {{method: value, value: 24.3}}\nreconstruction: {{method: sirt, iterations: 5{}}}\n"
    )
    (tmp_path / "one.yml").write_text(recipe.format(""))
    (tmp_path / "two.yml").write_text(recipe.format(", initial: volume, initial_volume: ../first.h5"))
    words = ["reconstruct", str(folder / "scan.h5"), "--recipe"]
    assert run([*words, str(tmp_path / "one.yml"), "--output", str(tmp_path / "first.h5")]) == 0
    assert run([*words, str(tmp_path / "two.yml"), "--output", str(tmp_path / "second.h5")]) == 0
    assert "the iterations start from" in capsys.readouterr().err
    # It is read, so it is never written over.
    both = [str(tmp_path / "two.yml"), "--output", str(tmp_path / "first.h5"), "--overwrite"]
    assert run([*words, *both]) == 1
    assert "is the input itself" in capsys.readouterr().err
    with open_volume(tmp_path / "second.h5") as volume:
        assert "first.h5" in str(volume.record["scan"]["volumes"])
