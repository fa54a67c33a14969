"""What the reference of scan layouts says to type works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from tests.sources.documents import Run, image_key, number_key, random_frames, write_frames
from tomoservice.sources import ScanLayout
from tomoservice.sources.layout import SHIPPED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "scan-layouts.md"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def test_every_shipped_layout_is_described() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in SHIPPED)


def test_every_field_is_described() -> None:
    example = yaml.safe_load(block("yaml"))
    assert set(example) == set(ScanLayout.model_fields)


def test_the_example_opens_a_run(
    publish: Callable[..., Any],
    raw_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    frames, darks = random_frames(1, 4), random_frames(2, 2)
    reference = Run()
    reference.stream("dark", eye_image=image_key(darks))
    path = write_frames(raw_folder / f"{reference.uid}.h5", darks)
    reference.external("dark", "eye_image", path, "/entry/data/data", 2)
    publish(reference.close())
    run = Run(
        beamline_id="XX-2",
        detectors=["eye"],
        reference_run_uid=reference.uid,
        pixel_size=650,
        detector_distance=0.03,
        sample={"name": "leaf"},
    )
    path = write_frames(raw_folder / f"{run.uid}.h5", frames)
    run.stream("primary", eye_image=image_key(frames), encoder=number_key())
    run.external("primary", "eye_image", path, "/entry/data/data", 4)
    for counts in range(4):
        run.event("primary", {"encoder": 1000.0 * counts})
    run.stream("baseline", dcm_energy=number_key())
    run.event("baseline", {"dcm_energy": 17_000.0})
    node = publish(run.close())
    (tmp_path / "my_beamline.yml").write_text(block("yaml"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"run": node}
    exec(compile(block("python"), str(PAGE), "exec"), names)
    scan = names["scan"]
    assert "(4, 6, 9) [ 0.  5. 10.]" in capsys.readouterr().out
    np.testing.assert_array_equal(scan.angles_deg, [0, 5, 10, 15])
    assert (scan.pixel_size_um, scan.energy_kev, scan.distance_mm) == (0.65, 17.0, 30.0)
    assert scan.sample_name == "leaf"
    assert scan.darks is not None
    assert scan.notes == (f"run {run.uid} has no stream white with frames: no flats",)
    with h5py.File(path, "a"):
        pass
