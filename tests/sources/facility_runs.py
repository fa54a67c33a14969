"""Runs as four facilities and our own plans record them: documents, and the arrays in their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.sources.documents import UNIX_TIME, Run, image_key, number_key, random_frames, write_frames

IMAGES = "/entry/data/data"
ANGLES = "/entry/instrument/NDAttributes/Angle"
UNIX_MINUS_EPICS_S = 631152000.0
TOMO = {"pixel_size_um": 1.5, "energy_kev": 20.5, "distance_mm": 35.0, "rotation_axis": 4.25}


def fly_run(
    folder: Path, count: int = 7, *, flats_last: bool = False, **start: Any
) -> tuple[Run, dict[str, NDArray[Any]]]:
    """Compose a run of our own fly plan: a file per stream, angles in the file."""
    run = Run(**({"scan_layout": "tomoservice", "tomo": TOMO, "sample_name": "tooth"} | start))
    stacks = {"dark": random_frames(1, 3), "flat": random_frames(2, 4), "primary": random_frames(3, count)}
    if flats_last:
        stacks["flat"] = stacks.pop("flat")
    for stream, frames in stacks.items():
        angles = np.linspace(0, 180, len(frames), endpoint=False)
        path = write_frames(folder / f"{run.uid}_{stream}.h5", frames, Angle=angles)
        keys = {"camera_image": image_key(frames)}
        if stream == "primary":
            keys["camera_angle"] = number_key() | {"external": "STREAM:"}
        run.stream(stream, **keys)
        run.external(stream, "camera_image", path, IMAGES, len(frames), chunk_shape=(1, *frames.shape[1:]))
        if stream == "primary":
            run.external(stream, "camera_angle", path, ANGLES, len(frames), chunk_shape=(len(frames),))
    return run, stacks


def step_run(
    folder: Path,
    *,
    frames_per_point: int = 1,
    shared: bool = False,
    angle_key: str = "rotation",
    **start: Any,
) -> tuple[Run, dict[str, NDArray[Any]]]:
    """Compose a step scan of classic documents: flats, darks, projections, and flats again."""
    run = Run(**({"scan_layout": "tomoservice", "tomo": TOMO} | start))
    order = [("flat", 2), ("dark", 3), ("primary", 5), ("flat", 1)]
    total = sum(points for _, points in order) * frames_per_point
    frames = random_frames(11, total)
    stacks: dict[str, list[NDArray[Any]]] = {}
    lead = (frames_per_point,) if frames_per_point > 1 else ()
    whole = write_frames(folder / f"{run.uid}.h5", frames) if shared else None
    datum: Any = run.resource(whole, frames=frames_per_point) if whole else None
    done = 0
    for number, (stream, points) in enumerate(order):
        block = frames[done * frames_per_point : (done + points) * frames_per_point]
        point = done
        if whole is None:
            path = write_frames(folder / f"{run.uid}_{number}.h5", block)
            datum, point = run.resource(path, frames=frames_per_point), 0
        if stream not in run.streams:
            image = image_key(frames, *lead, external="FILESTORE:")
            run.stream(stream, camera_image=image, **{angle_key: number_key()})
        for step in range(points):
            data = {"camera_image": datum(point + step), angle_key: 36.0 * step}
            run.event(stream, data, camera_image=False)
        stacks.setdefault(stream, []).append(block)
        done += points
    return run, {stream: np.concatenate(blocks) for stream, blocks in stacks.items()}


def htss_run(folder: Path) -> tuple[Run, dict[str, NDArray[Any]]]:
    run = Run(
        plan_name="tomography_scan",
        detectors=["det", "sample_stage"],
        min_theta=0.0,
        max_theta=180.0,
        num_projections=6,
        num_darks=2,
        num_flats=2,
    )
    frames = random_frames(21, 10)
    datum = run.resource(write_frames(folder / f"{run.uid}.h5", frames))
    point = 0
    stacks = {}
    for stream, count in (("flats", 2), ("darks", 2), ("primary", 6)):
        image = image_key(frames, external="FILESTORE:")
        run.stream(stream, det_image=image, sample_stage_theta=number_key())
        stacks[stream] = frames[point : point + count]
        for angle in np.linspace(0, 180, count):
            data = {"det_image": datum(point), "sample_stage_theta": float(angle) + 0.125}
            run.event(stream, data, det_image=False)
            point += 1
    return run, stacks


def fxi_fly_run(folder: Path, *, clock_offset: float = UNIX_MINUS_EPICS_S) -> tuple[Run, dict[str, Any]]:
    """One event with N frames per stream, a watched stage, time stamps that count from 1990."""
    run = Run(
        plan_name="fly_scan",
        detectors=["Andor"],
        XEng=8.333,
        note="battery",
        plan_args={"exposure_time": 0.05},
    )
    stacks = {"dark": random_frames(31, 4), "flat": random_frames(32, 4), "primary": random_frames(33, 20)}
    run.stream("zps_pi_r_monitor", zps_pi_r=number_key())
    for stream, frames in stacks.items():
        count = len(frames)
        times = UNIX_TIME + 100.0 + 0.5 * np.arange(count) - clock_offset
        path = write_frames(folder / f"{run.uid}_{stream}.h5", frames)
        datum = run.resource(path, frames=count)
        run.stream(
            stream,
            Andor_image=image_key(frames, count, external="FILESTORE:"),
            Andor_timestamps={**number_key(), "dtype": "array", "shape": [count]},
        )
        run.event(stream, {"Andor_image": datum(0), "Andor_timestamps": times.tolist()}, Andor_image=False)
    # The stage turns at 6 degrees per second and is reported at its own times.
    for moment in np.arange(98.0, 112.0, 0.7):
        run.event("zps_pi_r_monitor", {"zps_pi_r": 6.0 * (moment - 100)}, time=UNIX_TIME + float(moment))
    return run, stacks


def hex_runs(folder: Path) -> tuple[Run, Run, dict[str, NDArray[Any]]]:
    """Compose flats and darks as one run, a fly scan as another whose PandA saw three more angles."""
    references, scan = Run(detectors=["kinetix-det1"], tomo_scanning_mode="tomo_dark_flat"), None
    stacks = {"dark": random_frames(41, 3), "flat": random_frames(42, 5), "tomo": random_frames(43, 9)}
    scan = Run(
        plan_name="tomo_flyscan",
        detectors=["kinetix-det1"],
        num_points=9,
        current_dark_flat_scan_uid=references.uid,
        sample_name="weld",
    )
    for stream, frames in stacks.items():
        run = scan if stream == "tomo" else references
        path = write_frames(folder / f"{run.uid}_{stream}.h5", frames)
        keys: dict[str, Any] = {"kinetix-det1": image_key(frames)}
        if stream == "tomo":
            keys["Angle"] = number_key() | {"external": "STREAM:"}
        run.stream(stream, **keys)
        run.external(stream, "kinetix-det1", path, IMAGES, len(frames), chunk_shape=(1, 6, 9))
        if stream == "tomo":
            panda = write_frames(folder / f"{run.uid}_panda.h5", frames, Angle=20.0 * np.arange(12))
            run.external(stream, "Angle", panda, ANGLES, 12, chunk_shape=(12,))
    return references, scan, stacks
