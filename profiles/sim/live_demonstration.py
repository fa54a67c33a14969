"""The live reconstruction on one machine: a scan on the simulated beamline, watched while it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from profiles.sim.demonstration import Sweep, Tell, publishing_beamline
from profiles.sim.options import SimulationOptions
from tomoservice.benchmarks.table import Measurement
from tomoservice.errors import TomoserviceError
from tomoservice.phantom import Imperfections, SimulatedCamera, default_phantom
from tomoservice.service.running import RunningService

FIRST_FRAMES = 60
FIRST_SLICE_S = 2.0
UPDATE_S = 1.0
FINAL_PART = 0.2
"""Part of the scan's duration within which the final volume has to follow its last frame."""
AXIS_PIXELS = 0.5
LOOK_S = 0.1
AFTERWARDS_S = 1.0
"""Seconds between two looks when the scan is over: more often would take from who makes the final volume."""
DONE_S = 300.0
DISTINCT_ROWS = 64
"""Rows of the specimen that are simulated; taller detectors show each more than once."""
REFERENCES = 5
BEAM_LOST, BEAM_PRESENT = 0, 1
OVER = ("done", "aborted", "failed")
LOST_FROM, LOST_FRAMES = 0.4, 8
"""Where in the scan the beam is lost, and for how many frames."""


@dataclass(frozen=True)
class LivePlan:
    """What is demonstrated.

    Parameters
    ----------
    sweep
        Angles.
    rate_hz
        Frames per second.
    true_axis
        Column of the axis, if it is known.
    lose_beam
        Whether the beam is lost for a while.
    """

    sweep: Sweep
    rate_hz: float = 20.0
    true_axis: float | None = None
    lose_beam: bool = False


@dataclass
class LiveOutcome:
    """What was seen, with times in seconds since 1970."""

    run_uid: str = ""
    rate_hz: float = 0.0
    """Frames per second that the camera reached."""
    frames: int = 0
    """Frames that were recorded."""
    used: int = 0
    """Frames in the final volume."""
    live: Mapping[str, Any] = field(default_factory=dict)
    """What the live reconstruction said at its end."""
    path: str = ""
    """Path of the final reconstruction's node."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Durations."""
    measurements: list[Measurement] = field(default_factory=list)
    """What was promised, and what came of it."""

    @property
    def is_good(self) -> bool:
        """Whether everything that was promised has been reached."""
        return not any(row.verdict == "NOT REACHED" for row in self.measurements)


def write_specimen(path: Path, size: int, sweep: Sweep, rotation_axis: float) -> Path:
    """Write what the camera shows, a DXchange file: simulating frames takes longer than their exposure."""
    rows = np.linspace(0, size - 1, min(size, DISTINCT_ROWS)).round().astype(int)
    shown = np.arange(size) * len(rows) // size
    camera = SimulatedCamera(size, size, Imperfections(noise=0.005, beam_profile=0.2))
    step = (sweep.stop_deg - sweep.start_deg) / sweep.projections
    angles = sweep.start_deg + step * np.arange(sweep.projections)
    phantom = default_phantom(size, size)
    with h5py.File(path, "w") as file:
        exchange = file.create_group("exchange")
        shape = (sweep.projections, size, size)
        data = exchange.create_dataset("data", shape, np.uint16, chunks=(1, size, size))
        for number, angle in enumerate(angles):
            lines = phantom.line_integrals([angle], list(rows), rotation_axis=rotation_axis)[0]
            data[number] = camera.projection(lines[shown], number)
        exchange["theta"] = angles
        exchange["data_white"] = np.stack([camera.flat(number) for number in range(REFERENCES)])
        exchange["data_dark"] = np.stack([camera.dark(number) for number in range(REFERENCES)])
    return path


def demonstrate_live(
    service: RunningService, options: SimulationOptions, plan: LivePlan, tell: Tell
) -> LiveOutcome:
    """Scan on the simulated beamline while the live reconstruction is watched, then wait for the volume.

    Parameters
    ----------
    service
        Where the scan is published and reconstructed.
    options
        What the beamline simulates.
    plan
        What is scanned, and how quickly.
    tell
        Told about the progress.

    Raises
    ------
    BeamlineError
        If the simulated beamline does not start.
    TomoserviceError
        If a reconstruction fails or takes longer than five minutes.
    """
    with ExitStack() as stack:
        beamline, engine = stack.enter_context(publishing_beamline(service, options, tell))
        clock = _Clock(plan, options.prefix, tell)
        stack.callback(clock.close)
        watcher = stack.enter_context(_Watcher(service))
        for callback in (clock, watcher):
            engine.subscribe(callback)
        (uid,) = engine(_scan(beamline, plan))
        return _concluded(service, str(uid), plan, clock, watcher, tell)


def _scan(beamline: Any, plan: LivePlan) -> Any:
    """Return what the RunEngine carries out."""
    from profiles.plans import tomo_fly

    sweep = plan.sweep
    # Not longer than the shutter may take between dark and flat.
    exposure_s = 1 / plan.rate_hz
    return tomo_fly(
        beamline,
        sweep.projections,
        start_deg=sweep.start_deg,
        stop_deg=sweep.stop_deg,
        exposure_s=exposure_s,
    )


class _Clock:
    """Takes the time of the scan's frames, and the beam away if that is wanted."""

    def __init__(self, plan: LivePlan, prefix: str, tell: Tell) -> None:
        self._plan, self._tell = plan, tell
        self._streams: dict[str, str] = {}
        self._begun = threading.Event()
        self.arrivals: list[tuple[float, int]] = []
        self._beam: Any = None
        if plan.lose_beam:
            from ophyd import EpicsSignal

            self._beam = EpicsSignal(f"{prefix}Beam", name="beam")
            self._beam.wait_for_connection(timeout=10)
        self._lost_at: int | None = None
        self._restored = False

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        if name == "descriptor":
            self._streams[document["uid"]] = document["name"]
        if name != "stream_datum" or self._streams.get(document["descriptor"]) != "primary":
            return
        count = int(document["indices"]["stop"])
        self.arrivals.append((time.time(), count))
        expected = self._plan.sweep.projections
        self._tell("scanning", 100 * count / expected)
        if self._beam is not None:
            self._lose_for_a_while(count, int(LOST_FROM * expected))

    def _lose_for_a_while(self, count: int, first: int) -> None:
        if self._lost_at is None and count >= first:
            self._lost_at = count
            self._beam.put(BEAM_LOST, wait=False)
        elif self._lost_at is not None and not self._restored and count >= self._lost_at + LOST_FRAMES:
            self._restored = True
            self._beam.put(BEAM_PRESENT, wait=False)

    def when(self, count: int) -> float:
        """Return when so many frames had been published."""
        return next(moment for moment, there in self.arrivals if there >= count)

    def close(self) -> None:
        if self._beam is not None:
            self._beam.destroy()


class _Watcher:
    """Looks at the live reconstruction again and again, as a page would."""

    def __init__(self, service: RunningService) -> None:
        self._service = service
        self._uid = ""
        self._begun = threading.Event()
        self._stopped = threading.Event()
        self._pause_s = LOOK_S
        self.seen: list[tuple[float, dict[str, Any]]] = []
        self._thread = threading.Thread(target=self._watch, name="live-watcher", daemon=True)

    def __enter__(self) -> _Watcher:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._begun.set()
        self._thread.join()

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        if name == "start":
            self._uid = document["uid"]
            self._begun.set()
        elif name == "stop":
            self._pause_s = AFTERWARDS_S

    def _watch(self) -> None:
        import httpx

        self._begun.wait()
        headers = {"Authorization": f"Apikey {self._service.api_key}"}
        address = f"{self._service.uri}/api/v1/metadata/live/{self._uid}"
        with httpx.Client(headers=headers, timeout=10) as client:
            while not self._stopped.wait(self._pause_s):
                answer = client.get(address)
                if answer.status_code != httpx.codes.OK:
                    continue
                found = answer.json()["data"]["attributes"]["metadata"]
                if not self.seen or found["update"] != self.seen[-1][1]["update"]:
                    self.seen.append((time.time(), found))
                if found["state"] in OVER:
                    return

    def first(self) -> tuple[float, dict[str, Any]]:
        """Return when a slice was seen first."""
        return next(each for each in self.seen if each[1]["frames_used"] > 0)

    def rest(self, until: float) -> tuple[float, float]:
        """Return mean and longest time between two updates, from the first slice until some moment."""
        begin, _ = self.first()
        during = [each for each in self.seen if begin <= each[0] <= until]
        if len(during) < 2:
            return float("inf"), float("inf")
        updates = during[-1][1]["update"] - during[0][1]["update"]
        gaps = [later[0] - earlier[0] for earlier, later in pairwise(during)]
        return (during[-1][0] - during[0][0]) / updates, max(gaps)

    def last(self) -> dict[str, Any]:
        """Wait for the end, and return what was said then."""
        deadline = time.monotonic() + DONE_S
        while not self.seen or self.seen[-1][1]["state"] not in OVER:
            if time.monotonic() > deadline:
                raise TomoserviceError(f"the live reconstruction does not end: {self.seen[-1:]}")
            time.sleep(LOOK_S)
        return self.seen[-1][1]


def _concluded(
    service: RunningService, uid: str, plan: LivePlan, clock: _Clock, watcher: _Watcher, tell: Tell
) -> LiveOutcome:
    """Wait for what follows the scan, and put together what was seen."""
    from tiled.client import from_uri

    tell("reconstructing", 0)
    last_frame = clock.when(plan.sweep.projections)
    begun = clock.arrivals[0][0]
    root = from_uri(service.uri)
    with closing(root.context.http_client):
        node = _finished(root, uid)
        done = float(node.metadata["status"]["time"])
        frames = int(root["raw"][uid]["primary"]["camera_image"].shape[0])
        left_out = node.metadata["resolved_recipe"]["frames"]["exclude"]
        path = "/".join(node.path_parts)
    live = watcher.last()
    outcome = LiveOutcome(uid, frames=frames, used=frames - len(left_out), live=live, path=path)
    between, longest = watcher.rest(last_frame)
    first, _ = watcher.first()
    arrived = [there for _, there in clock.arrivals]
    scan = last_frame - begun
    outcome.rate_hz = (arrived[-1] - arrived[0]) / scan if scan > 0 else 0.0
    outcome.seconds = {
        "scan": scan,
        "first": first - clock.when(min(FIRST_FRAMES, plan.sweep.projections)),
        "between": between,
        "longest": longest,
        "final": done - last_frame,
    }
    outcome.measurements = _judged(outcome, plan)
    return outcome


def _finished(root: Any, uid: str) -> Any:
    """Return the finished reconstruction's node."""
    deadline = time.monotonic() + DONE_S
    while time.monotonic() < deadline:
        if uid in root["processed"] and (nodes := list(root["processed"][uid].values())):
            status = nodes[0].metadata["status"]
            if status["state"] == "done":
                return nodes[0]
            if status["state"] in ("failed", "cancelled"):
                raise TomoserviceError(f"the reconstruction {status['state']}: {status['message']}")
        time.sleep(AFTERWARDS_S)
    raise TomoserviceError(f"no finished reconstruction of run {uid} after {DONE_S:g} s")


def _judged(outcome: LiveOutcome, plan: LivePlan) -> list[Measurement]:
    seconds, live = outcome.seconds, outcome.live
    expected = plan.sweep.projections
    duration = expected / plan.rate_hz
    axis = live["rotation_axis"]
    rows = [
        Measurement(
            f"First live slice after the first {min(FIRST_FRAMES, expected)} frames",
            f"{seconds['first']:.2f} s",
            seconds["first"],
            FIRST_SLICE_S,
            " s",
        ),
        Measurement(
            "Longest time from one update to the next during the scan",
            f"{seconds['longest']:.2f} s at most, {seconds['between']:.2f} s on average",
            seconds["longest"],
            UPDATE_S,
            " s",
        ),
        Measurement(
            "Final volume after the last frame",
            f"{seconds['final']:.2f} s, {100 * seconds['final'] / seconds['scan']:.0f} % of the scan",
            seconds["final"],
            round(FINAL_PART * duration, 2),
            " s",
        ),
        Measurement(
            "Frames that the raw data lack", f"{expected - outcome.frames}", expected - outcome.frames, 0
        ),
    ]
    if not plan.lose_beam:
        lost = outcome.frames - outcome.used
        rows.append(Measurement("Frames that the final volume lacks", f"{lost}", lost, 0))
        rows.append(Measurement("Frames that the live slices lack", f"{expected - live['frames_used']}"))
    else:
        invalid = live["frames_invalid"]
        found = f"{invalid} left out of the live slices, {outcome.frames - outcome.used} of the final volume"
        unseen = invalid == 0 or outcome.frames == outcome.used
        rows.append(Measurement("Frames without beam", found, float(unseen), 0))
    certain = "" if axis["confidence"] is None else f", confidence {axis['confidence']:.2f}"
    if plan.true_axis is None:
        rows.append(
            Measurement("Live rotation axis", f"{axis['value']:.2f}{certain}", float(axis["provisional"]), 0)
        )
    else:
        error = abs(axis["value"] - plan.true_axis)
        rows.append(
            Measurement("Live rotation axis", f"{axis['value']:.2f}{certain}", error, AXIS_PIXELS, " pixel")
        )
    return rows
