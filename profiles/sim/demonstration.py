"""The whole way on one machine: simulated beamline, RunEngine, Tiled, reconstruction, a look at the result.

Everything is real but the X-rays: Channel Access, ophyd, HDF5 files, documents, HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from profiles.sim.launch import simulated_beamline
from profiles.sim.options import SimulationOptions
from tomoservice.errors import TomoserviceError
from tomoservice.phantom import default_phantom
from tomoservice.png import grey_window, write_png
from tomoservice.service.running import RunningService
from tomoservice.sources import open_scan

if TYPE_CHECKING:
    from bluesky import RunEngine

    from profiles.beamline import Beamline

Tell = Callable[[str, float], None]
"""Told the stage of a reconstruction and how many percent of it are done."""

POLL_S = 0.2
RECONSTRUCTION_S = 600.0
INNER_CIRCLE = 0.9
"""Part of the radius inside which a slice is compared with the phantom."""
THIN = 8
"""Planes of fewer pixels are not worth a picture."""
FINISHED = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Sweep:
    """Angles of a fly scan."""

    projections: int
    start_deg: float = 0.0
    stop_deg: float = 180.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of a demonstration, read back with a plain Tiled client."""

    run_uid: str
    path: str
    """Path of the reconstruction's node."""
    shape: tuple[int, int, int]
    rotation_axis: float
    confidence: float | None
    axis_error: float | None
    """Pixels from the true axis; None where it is not known."""
    psnr_db: float | None
    """Peak signal-to-noise ratio against the phantom inside nine tenths of the radius."""
    pictures: tuple[Path, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Duration of the scan, and from its last document to the finished volume."""


def replayed(file: Path, prefix: str) -> tuple[SimulationOptions, Sweep]:
    """Return how to replay a recorded scan: frames of its size, angles as it has them.

    Raises
    ------
    InputError
        If the file holds no usable scan.
    """
    with open_scan(file) as scan:
        _, rows, columns = scan.shape
        angles = np.sort(scan.angles_deg)
        options = SimulationOptions(
            prefix=prefix,
            rows=rows,
            columns=columns,
            replay=file.resolve(),
            sample_name=(scan.sample_name or file.stem)[:40],
            # What the recording does not tell is 0, as of a PV that nobody has set, and counts as unknown.
            energy_kev=scan.energy_kev or 0.0,
            pixel_size_um=scan.pixel_size_um or 0.0,
            distance_mm=scan.distance_mm or 0.0,
        )
    step = float(np.median(np.diff(angles)))
    return options, Sweep(angles.size, float(angles[0]), float(angles[-1]) + step)


def demonstrate(
    service: RunningService, options: SimulationOptions, sweep: Sweep, folder: Path, tell: Tell
) -> Outcome:
    """Scan on the simulated beamline, wait for the automatic reconstruction, and look at it.

    Parameters
    ----------
    service
        Where the scan is published and reconstructed.
    options
        What the beamline simulates.
    sweep
        The angles.
    folder
        Where pictures go; raw files go into the service's folder.
    tell
        Told about the progress.

    Raises
    ------
    BeamlineError
        If the simulated beamline does not start.
    TomoserviceError
        If the reconstruction fails or takes longer than ten minutes.
    """
    began = time.monotonic()
    run_uid = _scan(service, options, sweep, tell)
    scanned = time.monotonic()
    from tiled.client import from_uri

    # A client like any other, which has no key.
    root = from_uri(service.uri)
    with closing(root.context.http_client):
        node = _wait(root, run_uid, service.log, tell)
        reconstructed = time.monotonic()
        volume = np.asarray(node["volume"].read())
    axis = node.metadata["geometry"]["rotation_axis"]
    found = node.metadata["provenance"]["rotation_axis"]
    known = options.replay is None
    return Outcome(
        run_uid=run_uid,
        path="/".join(node.path_parts),
        shape=volume.shape,
        rotation_axis=axis,
        confidence=found.get("confidence"),
        axis_error=abs(axis - options.axis) if known else None,
        psnr_db=_psnr_db(volume, options) if known else None,
        pictures=tuple(_pictures(volume, folder)),
        seconds={"scan": scanned - began, "reconstruction": reconstructed - scanned},
    )


def _scan(service: RunningService, options: SimulationOptions, sweep: Sweep, tell: Tell) -> str:
    """Run the scan in a RunEngine that publishes to the service; return the run's uid."""
    with publishing_beamline(service, options, tell) as (beamline, engine):
        from profiles.plans import tomo_fly

        engine.subscribe(_FrameCounter(sweep.projections, tell))
        (uid,) = engine(
            tomo_fly(beamline, sweep.projections, start_deg=sweep.start_deg, stop_deg=sweep.stop_deg)
        )
        return str(uid)


@contextmanager
def publishing_beamline(
    service: RunningService, options: SimulationOptions, tell: Tell
) -> Iterator[tuple[Beamline, RunEngine]]:
    """Run a simulated beamline, and give it with a RunEngine that publishes and reconstructs its runs.

    Parameters
    ----------
    service
        Where runs are published and reconstructed.
    options
        What the beamline simulates.
    tell
        Told about the progress.

    Raises
    ------
    BeamlineError
        If the simulated beamline does not start.
    """
    with ExitStack() as stack:
        tell("starting the beamline", 0)
        ioc = stack.enter_context(simulated_beamline(options))
        # Channel Access reads its addresses when it is first imported, so not before the line above.
        from bluesky import RunEngine

        from callbacks import ReconstructionTrigger, RunPublisher
        from profiles.beamline import connect

        raw = service.data / "raw"
        raw.mkdir(exist_ok=True)
        beamline = connect(ioc.config(raw))
        stack.callback(beamline.disconnect)
        engine = RunEngine(context_managers=[])
        spool = service.data / "spool"
        # Closed last: it waits for what the publisher delivers.
        trigger = stack.enter_context(ReconstructionTrigger(service.uri, service.api_key, spool=spool))
        publisher = stack.enter_context(RunPublisher(service.uri, service.api_key, spool=spool))
        engine.subscribe(publisher)
        engine.subscribe(trigger)
        yield beamline, engine


class _FrameCounter:
    """Tells how many projections have been published."""

    def __init__(self, expected: int, tell: Tell) -> None:
        self._expected = expected
        self._tell = tell
        self._streams: dict[str, str] = {}

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        if name == "descriptor":
            self._streams[document["uid"]] = document["name"]
        stream = self._streams.get(document.get("descriptor", ""))
        if name == "stream_datum" and stream is not None:
            share = document["indices"]["stop"] / self._expected if stream == "primary" else 0.0
            self._tell(f"scanning ({stream})", 100 * min(share, 1.0))


def _wait(root: Any, run_uid: str, log: Path, tell: Tell) -> Any:
    """Return the finished reconstruction's node, as any Tiled client sees it."""
    processed = root["processed"]
    deadline = time.monotonic() + RECONSTRUCTION_S
    while time.monotonic() < deadline:
        if run_uid in processed and (nodes := list(processed[run_uid].values())):
            status = nodes[0].metadata["status"]
            if status["state"] == "done":
                return nodes[0]
            if status["state"] in FINISHED:
                raise TomoserviceError(f"the reconstruction {status['state']}: {status['message']}")
            progress = nodes[0]["progress"].metadata if "progress" in nodes[0] else {}
            tell(f"{progress.get('stage', status['state'])}", float(progress.get("percent", 0.0)))
        time.sleep(POLL_S)
    raise TomoserviceError(
        f"no finished reconstruction of run {run_uid} after {RECONSTRUCTION_S:g} s; see {log}"
    )


def _psnr_db(volume: NDArray[np.float32], options: SimulationOptions) -> float:
    truth = default_phantom(options.columns, options.rows).volume()
    offset = np.arange(options.columns) - (options.columns - 1) / 2
    # Columns that no projection sees at all angles lie outside the circle around the axis.
    radius = min(options.axis, options.columns - 1 - options.axis) * INNER_CIRCLE
    inside = offset[:, None] ** 2 + offset**2 <= radius**2
    difference = (volume - truth)[:, inside].astype(np.float64)
    peak = float(truth.max() - truth.min())
    return float(20 * np.log10(peak / np.sqrt(np.mean(difference**2))))


def _pictures(volume: NDArray[np.float32], folder: Path) -> list[Path]:
    """Write the three central planes; names say which."""
    folder.mkdir(parents=True, exist_ok=True)
    window = grey_window(volume)
    middle = [size // 2 for size in volume.shape]
    planes = {
        f"slice-z{middle[0]}.png": volume[middle[0]],
        f"slice-y{middle[1]}.png": volume[:, middle[1]],
        f"slice-x{middle[2]}.png": volume[:, :, middle[2]],
    }
    written = []
    for name, image in planes.items():
        if min(image.shape) >= THIN:
            write_png(folder / name, image, window)
            written.append(folder / name)
    return written
