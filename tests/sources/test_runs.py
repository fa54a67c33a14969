"""Bluesky runs on a real Tiled server, as four facilities and our own plans record them.

Documents go through the real TiledWriter; what comes out of the scan is compared with the arrays
that were written to the files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.sources.documents import Run, image_key, number_key, random_frames, write_frames
from tests.sources.facility_runs import (
    ANGLES,
    IMAGES,
    TOMO,
    fly_run,
    fxi_fly_run,
    hex_runs,
    htss_run,
    step_run,
)
from tomoservice.errors import FaultError, InputError, MissingDataError, ServiceUnavailableError
from tomoservice.provenance import describe_origin
from tomoservice.scan import TomoScan
from tomoservice.sources import ScanLayout, bad_frames, check_frames, describe, load_layout, open_run

Publish = Callable[..., Any]

both_ways = pytest.mark.parametrize("direct", [True, False])


def assert_scan(
    scan: TomoScan,
    projections: NDArray[Any],
    flats: NDArray[Any] | None,
    darks: NDArray[Any] | None,
    angles: NDArray[Any],
) -> None:
    for stack, expected in ((scan.projections, projections), (scan.flats, flats), (scan.darks, darks)):
        if expected is None:
            assert stack is None
            continue
        assert stack is not None
        assert stack.dtype == expected.dtype
        assert stack.shape == expected.shape
        np.testing.assert_array_equal(stack[:], expected)
        np.testing.assert_array_equal(stack[-1, 1:4, 2:7:2], expected[-1, 1:4, 2:7:2])
        np.testing.assert_array_equal(stack[::2, 3:5], expected[::2, 3:5])
    np.testing.assert_allclose(scan.angles_deg, angles, atol=1e-6)


@both_ways
def test_our_fly_scan(publish: Publish, raw_folder: Path, direct: bool) -> None:
    run, stacks = fly_run(raw_folder)
    with open_run(publish(run.close()), direct=direct) as scan:
        angles = np.linspace(0, 180, 7, endpoint=False)
        assert_scan(scan, stacks["primary"], stacks["flat"], stacks["dark"], angles)
        assert scan.origin.kind == "bluesky"
        assert scan.origin.run_uid == run.uid
        assert scan.origin.location.endswith(run.uid)
        assert "secret" not in scan.origin.location
        assert scan.origin.datasets["angles"] == "primary/camera_angle"
        names = {Path(file).name.removeprefix(run.uid) for file in scan.origin.files}
        assert names == ({"_dark.h5", "_flat.h5", "_primary.h5"} if direct else set())
        assert (scan.pixel_size_um, scan.energy_kev, scan.distance_mm) == (1.5, 20.5, 35.0)
        assert (scan.rotation_axis, scan.sample_name) == (4.25, "tooth")
        assert scan.notes == ()
        assert scan.origin.references == {}
        assert "references" not in describe_origin(scan)
        assert check_frames(scan) == []
        assert describe(scan).projections == 7


@both_ways
def test_our_step_scan_with_flats_before_and_after(publish: Publish, raw_folder: Path, direct: bool) -> None:
    run, stacks = step_run(raw_folder)
    with open_run(publish(run.close()), direct=direct) as scan:
        assert_scan(scan, stacks["primary"], stacks["flat"], stacks["dark"], 36.0 * np.arange(5))
        assert scan.origin.datasets["angles"] == "primary/rotation"
        assert scan.notes == ()


@both_ways
def test_several_frames_at_each_angle(publish: Publish, raw_folder: Path, direct: bool) -> None:
    run, stacks = step_run(raw_folder, frames_per_point=3)
    with open_run(publish(run.close()), direct=direct) as scan:
        angles = np.repeat(36.0 * np.arange(5), 3)
        assert_scan(scan, stacks["primary"], stacks["flat"], stacks["dark"], angles)


def test_streams_that_share_a_file_are_told_apart_by_time(publish: Publish, raw_folder: Path) -> None:
    """A camera that is staged once writes one file; flats are before and after the projections."""
    run, stacks = step_run(raw_folder, shared=True)
    node = publish(run.close())
    with open_run(node) as scan:
        assert_scan(scan, stacks["primary"], stacks["flat"], stacks["dark"], 36.0 * np.arange(5))
        assert len(scan.origin.files) == 1
    with open_run(node, direct=False) as scan:
        # Enough to describe a reconstruction, which workers that see the file compute.
        assert scan.shape == stacks["primary"].shape
        with pytest.raises(InputError, match="primary/camera_image: shares one file with other streams"):
            scan.projections[:]


@pytest.mark.parametrize("frames_per_point", [1, 3])
def test_readings_of_a_beam_monitor(publish: Publish, raw_folder: Path, frames_per_point: int) -> None:
    # The step scan reads its stage at flats, too: here that stands for a monitor.
    run, _ = step_run(raw_folder, frames_per_point=frames_per_point, angle_key="ring_current")
    shipped = load_layout("tomoservice").model_dump()
    angles = [{"kind": "linspace", "start": 0, "stop": 180, "num": 5 * frames_per_point}]
    changes = {"angles": angles, "beam_monitor": {"data_key": ["i0", "ring_current"]}}
    with open_run(publish(run.close()), layout=ScanLayout.model_validate(shipped | changes)) as scan:
        assert scan.monitor is not None
        assert scan.flat_monitor is not None
        np.testing.assert_array_equal(scan.monitor, np.repeat(36.0 * np.arange(5), frames_per_point))
        np.testing.assert_array_equal(scan.flat_monitor, np.repeat([0.0, 36.0, 0.0], frames_per_point))
        assert scan.origin.datasets["monitor"] == "primary/ring_current"
        assert scan.notes == ()


def test_htss_run(publish: Publish, raw_folder: Path) -> None:
    run, stacks = htss_run(raw_folder)
    with open_run(publish(run.close())) as scan:
        angles = np.linspace(0, 180, 6) + 0.125
        assert_scan(scan, stacks["primary"], stacks["flats"], stacks["darks"], angles)
        assert scan.origin.datasets["angles"] == "primary/sample_stage_theta"


@both_ways
def test_fxi_fly_scan(publish: Publish, raw_folder: Path, direct: bool) -> None:
    run, stacks = fxi_fly_run(raw_folder)
    with open_run(publish(run.close()), direct=direct) as scan:
        assert_scan(scan, stacks["primary"], stacks["flat"], stacks["dark"], 3.0 * np.arange(20))
        assert scan.energy_kev == pytest.approx(8.333)
        assert scan.sample_name == "battery"
        assert scan.notes == ()


def test_fxi_fly_scan_with_a_wrong_clock(publish: Publish, raw_folder: Path) -> None:
    run, _ = fxi_fly_run(raw_folder, clock_offset=0.0)
    with pytest.raises(InputError, match="no frame was taken while the rotation was monitored"):
        open_run(publish(run.close()))


@both_ways
def test_fxi_step_scan(publish: Publish, raw_folder: Path, direct: bool) -> None:
    start: dict[str, Any] = {
        "scan_layout": "fxi",
        "plan_name": "tomo_scan",
        "detectors": ["camera"],
        "plan_args": {"start": 0, "stop": 180, "num": 5, "imgs_per_angle": 2},
    }
    run, stacks = step_run(raw_folder, frames_per_point=2, angle_key="zps_pi_r", **start)
    with open_run(publish(run.close()), direct=direct) as scan:
        angles = np.repeat(np.linspace(0, 180, 5), 2)
        assert_scan(scan, stacks["primary"], stacks["flat"], stacks["dark"], angles)


@both_ways
def test_hex_run_with_flats_in_another_run(publish: Publish, raw_folder: Path, direct: bool) -> None:
    references, run, stacks = hex_runs(raw_folder)
    publish(references.close())
    with open_run(publish(run.close()), direct=direct) as scan:
        assert_scan(scan, stacks["tomo"], stacks["flat"], stacks["dark"], 20.0 * np.arange(9))
        assert scan.notes == ("9 projections but 12 angles: the first 9 of both are used",)
        assert scan.sample_name == "weld"
        names = {Path(file).name for file in scan.origin.files}
        assert (f"{references.uid}_flat.h5" in names) is direct
        assert scan.origin.references == {"flats": references.uid, "darks": references.uid}
        assert describe_origin(scan)["references"] == {"flats": references.uid, "darks": references.uid}


def test_a_run_that_names_itself_is_no_other_run(publish: Publish, raw_folder: Path) -> None:
    references, run, _ = hex_runs(raw_folder)
    publish(references.close())
    node = publish(run.close())
    shipped = load_layout("hex").model_dump()
    own = {"run": "uid", "stream": "tomo", "data_key": ("{detector}",)}
    with open_run(node, layout=ScanLayout.model_validate(shipped | {"flats": own})) as scan:
        assert scan.flats is not None
        assert scan.origin.references == {"darks": references.uid}


def test_hex_run_whose_flats_are_gone(publish: Publish, raw_folder: Path) -> None:
    references, run, _ = hex_runs(raw_folder)
    with pytest.raises(MissingDataError, match=f"names run {references.uid}, which is not in"):
        open_run(publish(run.close()))


def test_aps_run_with_one_dxchange_file(publish: Publish, raw_folder: Path) -> None:
    run = Run(beamline_id="2-BM", detectors=["oryx"], sample={"name": "rock"})
    path = raw_folder / f"{run.uid}.h5"
    stacks = [random_frames(seed, count) for seed, count in ((51, 8), (52, 2), (53, 3))]
    with h5py.File(path, "w") as file:
        for name, frames in zip(("data", "data_white", "data_dark"), stacks, strict=True):
            file[f"exchange/{name}"] = frames
        file["exchange/theta"] = 22.5 * np.arange(8)
    run.stream("primary", oryx_image=image_key(stacks[0]))
    run.external("primary", "oryx_image", path, "/exchange/data", 8)
    node = publish(run.close())
    with open_run(node) as scan:
        assert_scan(scan, stacks[0], stacks[1], stacks[2], 22.5 * np.arange(8))
        assert scan.origin.datasets["flats"] == "primary/oryx_image: /exchange/data_white"
        assert scan.origin.datasets["angles"] == "/exchange/theta"
    with pytest.raises(InputError, match="only in the raw file"):
        open_run(node, direct=False)


def test_a_file_that_is_not_visible_is_read_through_tiled(
    publish: Publish, raw_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, stacks = fly_run(raw_folder)
    node = publish(run.close())
    # The server sees its files; this process is made to look for them elsewhere.
    monkeypatch.setattr("tomoservice.sources.run_view._path", lambda uri: Path("/elsewhere") / Path(uri).name)
    with open_run(node) as scan:
        np.testing.assert_array_equal(scan.projections[:], stacks["primary"])
        assert scan.origin.files == ()
        assert any("not visible from here" in note for note in scan.notes)


@pytest.mark.parametrize("stream", ["primary", "flat"])
def test_a_file_that_nobody_has_is_named(
    publish: Publish, raw_folder: Path, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = fly_run(raw_folder)
    node = publish(run.close())
    path = raw_folder / f"{run.uid}_{stream}.h5"
    path.unlink()
    # The client would ask ten times. (Publishing may need that: the last error closed its connection.)
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 1)
    # The angles of the projections are in the file too: the scan does not even open.
    expected = rf"Tiled answers 5\d\d.*{path.name} is not visible from here"
    with pytest.raises(FaultError, match=expected), open_run(node) as scan:
        bad_frames(scan.flats, whole=True)  # type: ignore[arg-type]


def test_a_server_that_has_lost_the_file_says_so(publish: Publish, raw_folder: Path) -> None:
    run, _ = fly_run(raw_folder)
    node = publish(run.close())
    (raw_folder / f"{run.uid}_primary.h5").write_bytes(b"no longer HDF5")
    with pytest.raises(InputError, match=r"_primary\.h5: is not an HDF5 file"):
        open_run(node)


def test_missing_flats_are_said(publish: Publish, raw_folder: Path) -> None:
    run = Run(scan_layout="tomoservice", tomo=TOMO)
    frames = random_frames(61, 4)
    path = write_frames(raw_folder / f"{run.uid}.h5", frames, Angle=np.arange(4.0))
    run.stream("primary", camera_image=image_key(frames), camera_angle=number_key() | {"external": "STREAM:"})
    run.external("primary", "camera_image", path, IMAGES, 4)
    run.external("primary", "camera_angle", path, ANGLES, 4)
    with open_run(publish(run.close())) as scan:
        assert_scan(scan, frames, None, None, np.arange(4.0))
        assert any("no flats" in note for note in scan.notes)
        assert any("no darks" in note for note in scan.notes)


def test_a_run_that_was_aborted_has_more_frames_than_were_indexed(publish: Publish, raw_folder: Path) -> None:
    run, stacks = fly_run(raw_folder, 9)
    for name, doc in run.documents:
        if name == "stream_datum" and doc["descriptor"] == run.streams["primary"].descriptor_doc["uid"]:
            doc["indices"]["stop"] = 6
            doc["seq_nums"]["stop"] = 7
    with open_run(publish(run.close("abort"))) as scan:
        assert_scan(
            scan,
            stacks["primary"][:6],
            stacks["flat"],
            stacks["dark"],
            np.linspace(0, 120, 6, endpoint=False),
        )
        assert any("ended with abort" in note for note in scan.notes)
        assert any("the run says 6 frames, the file holds 9; 6 are used" in note for note in scan.notes)


def test_a_run_without_angles_or_layout(publish: Publish, raw_folder: Path) -> None:
    run = Run()
    frames = random_frames(71, 3)
    path = write_frames(raw_folder / f"{run.uid}.h5", frames)
    run.stream("primary", camera_image=image_key(frames))
    run.external("primary", "camera_image", path, IMAGES, 3)
    node = publish(run.close())
    with pytest.raises(InputError, match="fit no scan layout"):
        open_run(node)
    with pytest.raises(MissingDataError, match=r"data key camera_angle.*rotation"):
        open_run(node, layout="tomoservice")
    with pytest.raises(MissingDataError, match=r"has no detectors\.0"):
        open_run(node, layout="hex")
    other = load_layout("tomoservice").model_dump()
    other["projections"]["data_key"] = ("eye",)
    with pytest.raises(MissingDataError, match=r"primary: .*eye; there is: .*camera_image"):
        open_run(node, layout=ScanLayout.model_validate(other))
    other = load_layout("tomoservice").model_dump()
    other["angles"] = [{"kind": "linspace", "start": 0, "stop": 90, "num": 3, "endpoint": False}]
    with open_run(node, layout=ScanLayout.model_validate(other)) as scan:
        np.testing.assert_array_equal(scan.angles_deg, [0, 30, 60])


def test_what_is_no_run(tiled_raw: Any) -> None:
    node = tiled_raw.create_container("not_a_run") if "not_a_run" not in tiled_raw else tiled_raw["not_a_run"]
    with pytest.raises(InputError, match="no start document"):
        open_run(node)


@pytest.mark.parametrize("status", [429, 500, 502, 503, None])
def test_a_service_that_is_not_there_for_a_while_is_no_fault_of_the_scan(
    publish: Publish, raw_folder: Path, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = fly_run(raw_folder)
    node = publish(run.close())
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 1)

    def answer(request: httpx.Request) -> httpx.Response:
        if status is None:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(status, request=request)

    with open_run(node, direct=False) as scan:
        monkeypatch.setattr(node.context.http_client, "_transport", httpx.MockTransport(answer))
        expected = "Tiled does not answer" if status is None else f"Tiled answers {status}"
        with pytest.raises(ServiceUnavailableError, match=expected):
            scan.projections[0]
