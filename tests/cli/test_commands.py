"""The command line: results, exit statuses, and one clear line for every error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import yaml
import zarr

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.cli import COMMANDS, run
from tomoservice.errors import OutputError
from tomoservice.export import VolumeForm, volume_output
from tomoservice.export.sources import open_volume
from tomoservice.recipe import parse_recipe, recipe_schema

FAILED, USAGE = 1, 2


@pytest.fixture(scope="module")
def truth() -> PhantomScan:
    return phantom_scan(64, 12, 90, rotation_axis=33.3)


@pytest.fixture
def scan_file(truth: PhantomScan, tmp_path: Path) -> Path:
    return truth.write_dxchange(tmp_path / "scan.h5")


def read_volume(path: Path) -> np.ndarray:
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return np.asarray(file["entry/data/data"][()])
    if path.suffix == ".zarr":
        return np.asarray(zarr.open_array(path, mode="r")[:])
    return np.stack([tifffile.imread(name) for name in sorted(path.glob("slice_*.tiff"))])


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_complete_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: tomoservice {command}")
    assert len(shown.splitlines()) > 5


class TestReconstruct:
    def test_every_format_holds_the_same_volume_and_its_recipe(
        self, scan_file: Path, truth: PhantomScan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        outputs = [tmp_path / name for name in ("v.h5", "v.zarr", "v.tiff")]
        for output in outputs:
            assert run(["reconstruct", str(scan_file), "--output", str(output)]) == 0
        assert "rotation axis 33.30, " in capsys.readouterr().out
        volumes = [read_volume(output) for output in outputs]
        inside = np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < 28
        assert np.corrcoef(volumes[0][:, inside].ravel(), truth.truth[:, inside].ravel())[0, 1] > 0.98
        np.testing.assert_array_equal(volumes[1], volumes[0])
        np.testing.assert_array_equal(volumes[2], volumes[0])
        with h5py.File(outputs[0]) as file:
            entry = file["entry"]
            assert entry["definition"].asstr()[()] == "NXtomoproc"
            assert entry["reconstruction/program"].asstr()[()] == "tomoservice"
            effective = json.loads(entry["reconstruction/parameters/recipe"].asstr()[()])
        recipes = [
            effective,
            dict(zarr.open_array(outputs[1], mode="r").attrs)["recipe"],
            yaml.safe_load((outputs[2] / "recipe.yml").read_text("utf-8")),
        ]
        for recipe in recipes:
            axis = parse_recipe(recipe).rotation_axis
            assert axis.method == "value"
            assert abs(axis.value - truth.rotation_axis) < 0.1

    def test_options_override_the_recipe(self, scan_file: Path, tmp_path: Path) -> None:
        recipe = tmp_path / "mine.yml"
        recipe.write_text("rotation_axis: {method: value, value: 10}\n", "utf-8")
        output = tmp_path / "v.h5"
        options = ["--recipe", str(recipe), "--rotation-axis", "33.3", "--rows", "4:7", "--memory", "1G"]
        assert run(["reconstruct", str(scan_file), "-o", str(output), *options]) == 0
        assert read_volume(output).shape == (3, 64, 64)
        with h5py.File(output) as file:
            effective = json.loads(file["entry/reconstruction/parameters/recipe"].asstr()[()])
        assert effective["rotation_axis"] == {"method": "value", "value": 33.3, "tilt_deg": 0.0}
        assert effective["frames"]["rows"] == {"start": 4, "stop": 7}

    def test_a_device_is_chosen_and_recorded(
        self, scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = tmp_path / "v.zarr"
        arguments = ["reconstruct", str(scan_file), "-o", str(output), "--rotation-axis", "33", "--device"]
        assert run([*arguments, "gpu"]) == USAGE
        assert "no device 'gpu'; there are auto, cpu, cuda" in capsys.readouterr().err
        assert run([*arguments, "cuda:77"]) == FAILED
        assert "method fourier cannot use device cuda:77" in capsys.readouterr().err
        assert run([*arguments, "cpu"]) == 0
        machine = json.loads((output / "zarr.json").read_text("utf-8"))["attributes"]["tomoservice"][
            "machine"
        ]
        assert machine["device"] == machine["processor"]

    def test_an_existing_output_is_kept_unless_told_otherwise(
        self, scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("v.h5", "v.zarr", "v.tiff"):
            output = tmp_path / name
            arguments = ["reconstruct", str(scan_file), "-o", str(output), "--rotation-axis", "33"]
            assert run(arguments) == 0
            assert run(arguments) == FAILED
            assert "exists already" in capsys.readouterr().err
            assert run([*arguments, "--overwrite", "--rows", "0:2"]) == 0
            assert read_volume(output).shape[0] == 2
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == [
            "scan.h5",
            "v.h5",
            "v.tiff",
            "v.zarr",
        ]

    def test_raw_data_is_never_replaced(
        self, scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = scan_file.read_bytes()
        link = tmp_path / "link.h5"
        link.symlink_to(scan_file)
        for output in (scan_file, link):
            assert run(["reconstruct", str(scan_file), "-o", str(output), "--overwrite"]) == FAILED
            assert "raw data is never replaced" in capsys.readouterr().err
        assert scan_file.read_bytes() == before

    @pytest.mark.parametrize("name", ["v.h5", "v.zarr", "v.tiff", "results", ".", ".."])
    def test_overwriting_replaces_nothing_but_volumes(
        self, scan_file: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "inner" / "most"
        folder.mkdir(parents=True)
        for place in (folder, folder / "results", folder / name):
            place.mkdir(exist_ok=True)
            (place / "precious.txt").write_text("years of work", "utf-8")
        before = sorted(tmp_path.rglob("*"))
        output = f"{folder}/{name}"
        assert run(["reconstruct", str(scan_file), "-o", output, "--overwrite", "--rows", "0:2"]) == FAILED
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert sorted(tmp_path.rglob("*")) == before

    def test_what_appears_meanwhile_is_not_replaced(self, tmp_path: Path) -> None:
        form = VolumeForm((1, 2, 2), (1, 2, 2), None, "1/pixel")

        def write(path: Path) -> None:
            with volume_output(path, form) as writer:
                writer.write(0, np.zeros((1, 2, 2), np.float32))
                writer.finish({"recipe": {}, "scan": {"location": "x"}})
                path.write_text("somebody else's result", "utf-8")

        for name in ("v.h5", "v.zarr", "v.tiff"):
            path = tmp_path / name
            with pytest.raises(OutputError, match="exists already"):
                write(path)
            assert path.read_text("utf-8") == "somebody else's result"
        assert len(list(tmp_path.iterdir())) == 1 + 3

    def test_nothing_is_written_into_a_scan_of_tiffs(
        self, truth: PhantomScan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "scan"
        folder.mkdir()
        for kind, stack in (("proj", truth.projections), ("flat", truth.flats), ("dark", truth.darks)):
            for index, frame in enumerate(stack):
                tifffile.imwrite(folder / f"{kind}_{index:04d}.tiff", frame)
        np.savetxt(folder / "angles.txt", truth.angles_deg)
        before = sorted(folder.iterdir())
        arguments = ["reconstruct", str(folder), "--rotation-axis", "33.3", "--output"]
        for output in (folder / "v.tiff", folder / "deeper" / "v.h5", tmp_path):
            assert run([*arguments, str(output), "--overwrite"]) == FAILED
            assert "raw data" in capsys.readouterr().err
        assert sorted(folder.iterdir()) == before
        assert run([*arguments, str(tmp_path / "v.h5")]) == 0

    def test_angles_from_a_file(self, scan_file: Path, truth: PhantomScan, tmp_path: Path) -> None:
        angles = tmp_path / "angles.txt"
        np.savetxt(angles, truth.angles_deg + 90)
        for name, options in (("v.h5", []), ("turned.h5", ["--angles", str(angles)])):
            arguments = ["reconstruct", str(scan_file), "-o", str(tmp_path / name), "--rotation-axis", "33.3"]
            assert run([*arguments, *options]) == 0
        straight, turned = (read_volume(tmp_path / name) for name in ("v.h5", "turned.h5"))
        np.testing.assert_allclose(turned, np.rot90(straight, axes=(1, 2)), atol=0.02 * straight.max())

    @pytest.mark.parametrize("name", ["v.h5", "v.zarr", "v.tiff"])
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_leaves_nothing_half_written(
        self, tmp_path: Path, name: str, number: signal.Signals
    ) -> None:
        large = phantom_scan(192, 64, 60).write_dxchange(tmp_path / "large.h5")
        # ASTRA is slow enough on a CPU to be caught in the act.
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tomoservice", "reconstruct", str(large), "-o", name),
                *("--recipe", "astra-check", "--rotation-axis", "95.5"),
            ],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob(".v.*")) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
        assert process.returncode == 130, error
        assert "nothing half-written" in error
        assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "large.h5"]

    def test_iterations_are_ended_and_kept(self, tmp_path: Path) -> None:
        scan = phantom_scan(64, 8, 40).write_dxchange(tmp_path / "scan.h5")
        (tmp_path / "long.yml").write_text("reconstruction: {method: sirt, iterations: 10000}\n")
        words = ["reconstruct", str(scan), "-o", "v.h5", "--recipe", "long.yml", "--rotation-axis", "31.5"]
        process = subprocess.Popen(
            [sys.executable, "-m", "tomoservice", "-v", *words, "--stop-and-keep"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        said = ""
        while "iteration 20," not in said:
            said = process.stderr.readline()
            assert said
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert "somebody ended the iterations early" in error
        with open_volume(tmp_path / "v.h5") as volume:
            assert volume.record["notes"][-1].startswith("somebody ended the iterations early")
            slices = volume.read((slice(0, 8), slice(0, 64), slice(0, 64)))
        # The first slices were in the middle of it, the last one had a single iteration.
        assert all(image.any() for image in slices)
        assert error.count("iteration 1,") >= 5
        assert "iteration 10000," not in error

    @pytest.mark.parametrize(
        ("arguments", "status", "said"),
        [
            (["scan.h5", "-o", "v.h5", "--stop-and-keep"], USAGE, "makes none"),
            (["missing.h5", "-o", "v.h5"], USAGE, "'missing.h5' does not exist"),
            (["scan.h5"], USAGE, "Missing option '-o' / '--output'"),
            (["scan.h5", "-o", "v.foo"], USAGE, "no format is known for '.foo'"),
            (["scan.h5", "-o", "nowhere/v.h5"], FAILED, "does not exist"),
            (["scan.h5", "-o", "v.h5", "--rotation-axis", "left"], USAGE, "neither a detector column nor"),
            (["scan.h5", "-o", "v.h5", "--rotation-axis", "64"], FAILED, "rotation_axis: got 64"),
            (["scan.h5", "-o", "v.h5", "--rotation-axis", "nan"], USAGE, "neither a detector column nor"),
            (["scan.h5", "-o", "v.h5", "--rows", "3"], USAGE, "not of the form A:B"),
            (["scan.h5", "-o", "v.h5", "--rows", "3:3"], USAGE, "holds no row"),
            (["scan.h5", "-o", "v.h5", "--rows", "5:50"], FAILED, "but the scan has 12 rows"),
            (["scan.h5", "-o", "v.h5", "--memory", "lots"], USAGE, "is no size"),
            (["scan.h5", "-o", "v.h5", "--memory", "1M"], FAILED, "memory budget is 1 MiB"),
            (["scan.h5", "-o", "v.h5", "--recipe", "defualt"], USAGE, "neither a file nor a shipped recipe"),
            (["scan.h5", "-o", "v.h5", "--nonsense"], USAGE, "No such option"),
        ],
    )
    def test_an_error_is_one_clear_line(
        self,
        scan_file: Path,
        arguments: list[str],
        status: int,
        said: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(scan_file.parent)
        assert run(["reconstruct", *arguments]) == status
        shown = capsys.readouterr()
        assert said in shown.err
        assert len(shown.err.splitlines()) == 1
        assert not shown.out
        assert not list(scan_file.parent.glob("*v.*"))

    def test_a_full_disk_leaves_nothing_half_written(self, scan_file: Path, tmp_path: Path) -> None:
        code = (
            "import resource, sys, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000)); "
            "from tomoservice.cli import main; main(sys.argv[1:])"
        )
        for name in ("v.h5", "v.tiff", "v.zarr"):
            done = subprocess.run(
                [sys.executable, "-c", code, "reconstruct", str(scan_file), "-o", name],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
            assert done.returncode == FAILED, done.stderr
            assert "Traceback" not in done.stderr
            assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "scan.h5"], name


class TestFilesThatChange:
    def test_a_scan_that_is_written_while_it_is_read_is_refused(
        self,
        scan_file: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from tomoservice import pipeline

        original = pipeline.compute

        def meddled(*arguments: Any, **options: Any) -> dict[str, float]:
            timings = original(*arguments, **options)
            with scan_file.open("ab") as file:
                file.write(b"more")
            return timings

        monkeypatch.setattr(pipeline, "compute", meddled)
        output = tmp_path / "v.h5"
        assert run(["reconstruct", str(scan_file), "-o", str(output), "--rotation-axis", "33.3"]) == 1
        assert "has been changed while it was read" in capsys.readouterr().err
        assert not output.exists()


class TestFindAxis:
    @pytest.mark.parametrize("method", ["auto", "fourier", "phase_correlation"])
    def test_prints_value_and_confidence(
        self, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # With 180 degrees included, so that two views are exactly opposite.
        file = phantom_scan(128, 8, 181, rotation_axis=66.2, range_deg=181.0).write_dxchange(
            tmp_path / "s.h5"
        )
        assert run(["find-axis", str(file), "--method", method]) == 0
        assert abs(float(capsys.readouterr().out.split()[0]) - 66.2) < 0.25
        assert run(["find-axis", str(file), "--method", method, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["confidence"] > 0.5
        assert len(found["candidates"]) == len(found["metric"]) > 10
        assert found["candidates"][int(np.argmin(found["metric"]))] == pytest.approx(66.2, abs=1.0)

    def test_search_window(self, scan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["find-axis", str(scan_file), "--search", "10", "25", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert 10 <= found["rotation_axis"] <= 25
        assert found["confidence"] < 0.5
        assert run(["find-axis", str(scan_file), "--search", "25", "10"]) == USAGE
        assert "from low to high" in capsys.readouterr().err
        arguments = ["find-axis", str(scan_file), "--search", "28", "38", "--method", "entropy"]
        assert run(arguments) == 0
        assert "entropy" in capsys.readouterr().out

    def test_the_recipe_s_method_is_used_unless_another_is_named(
        self, scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        recipe = tmp_path / "mine.yml"
        recipe.write_text("rotation_axis: {method: entropy}\n", "utf-8")
        assert run(["find-axis", str(scan_file), "--recipe", str(recipe)]) == 0
        assert "entropy" in capsys.readouterr().out
        assert run(["find-axis", str(scan_file), "--recipe", str(recipe), "--method", "fourier"]) == 0
        assert "fourier" in capsys.readouterr().out


class TestInfo:
    def test_text_and_json(self, scan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["info", str(scan_file)]) == 0
        shown = capsys.readouterr().out
        assert "90 of 12 rows x 64 columns, uint16" in shown
        assert "0 to 178 degrees, regular steps of 2" in shown
        assert run(["info", str(scan_file), "--json"]) == 0
        content = json.loads(capsys.readouterr().out)
        assert (content["projections"], content["flats"]["count"]) == (90, 10)

    def test_several_frames_at_each_angle(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        noisy = np.repeat(np.arange(0, 180, 6.0), 2) + 1e-5 * np.random.default_rng(0).standard_normal(60)
        path = phantom_scan(16, 2, 60, angles_deg=noisy).write_dxchange(tmp_path / "scan.h5")
        assert run(["info", str(path)]) == 0
        assert "regular steps of 6, 2 frames at each" in capsys.readouterr().out

    def test_something_else(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        other = tmp_path / "notes.txt"
        other.write_text("hello", "utf-8")
        assert run(["info", str(other)]) == FAILED
        assert len(capsys.readouterr().err.splitlines()) == 1


class TestRecipe:
    def test_schema_show_and_check(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["recipe", "schema"]) == 0
        assert json.loads(capsys.readouterr().out) == recipe_schema()
        assert run(["recipe", "show", "default"]) == 0
        text = capsys.readouterr().out
        file = tmp_path / "r.yml"
        file.write_text(text, "utf-8")
        assert run(["recipe", "check", str(file)]) == 0
        assert "valid" in capsys.readouterr().out
        file.write_text(text.replace("filter: ramp", "filter: rump"), "utf-8")
        assert run(["recipe", "check", str(file)]) == FAILED
        assert "reconstruction.filter: got 'rump', wants 'ramp'" in capsys.readouterr().err
        assert run(["recipe", "list"]) == 0
        assert "without-flats" in capsys.readouterr().out


def test_a_pipe_that_closes_early_is_no_error_to_shout_about() -> None:
    done = subprocess.run(
        f"{sys.executable} -m tomoservice recipe schema | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "{"
    assert not done.stderr
