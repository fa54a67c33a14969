"""Tomography plans: darks, flats and projections in one run, step by step or in one continuous sweep.

Both put the streams ``dark``, ``flat`` and ``primary`` into one run. Whatever happens, shutter, sample and
rotation speed end up as they were found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Final

import numpy as np
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import Msg

from profiles.beamline import Beamline
from profiles.devices import SHUTTER_CLOSED, SHUTTER_OPEN
from profiles.flyer import Series
from tomoservice.errors import BeamlineError

Plan = Generator[Msg, Any, Any]

SCAN_LAYOUT: Final = "tomoservice"
FLUSH_PERIOD_S: Final = 0.25
RUN_UP_S: Final = 0.3
OVERRUN_S: Final = 1.0
CROSSING_MARGIN_S: Final = 20.0


class WrongArgumentError(BeamlineError, ValueError):
    """An argument with which a plan makes no scan."""


@dataclass(frozen=True)
class _Scan:
    """The checked arguments of a plan."""

    num_projections: int
    start_deg: float
    stop_deg: float
    num_flats: int
    num_darks: int
    exposure_s: float

    def __post_init__(self) -> None:
        for name, value, least in (
            ("num_projections", self.num_projections, 1),
            ("num_flats", self.num_flats, 0),
            ("num_darks", self.num_darks, 0),
        ):
            if not isinstance(value, int) or value < least:
                message = f"{name} must be a whole number, at least {least}, not {value!r}"
                raise WrongArgumentError(message)
        for name in ("start_deg", "stop_deg", "exposure_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
                message = f"{name} must be a number, not {value!r}"
                raise WrongArgumentError(message)
        if self.exposure_s <= 0:
            message = f"exposure_s must be positive, not {self.exposure_s!r}"
            raise WrongArgumentError(message)
        if self.range_deg == 0:
            given = f"{self.start_deg!r} and {self.stop_deg!r}"
            message = f"start_deg and stop_deg must be two different angles, not {given}"
            raise WrongArgumentError(message)

    @property
    def range_deg(self) -> float:
        return self.stop_deg - self.start_deg


@dataclass(frozen=True)
class _Found:
    """How the beamline stood before the scan."""

    shutter: str
    sample: float
    velocity: float


def tomo_scan(  # noqa: PLR0913 - typed by hand at the beamline, so keywords and not a model
    beamline: Beamline,
    num_projections: int,
    *,
    start_deg: float = 0.0,
    stop_deg: float = 180.0,
    num_flats: int = 10,
    num_darks: int = 10,
    exposure_s: float = 0.01,
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Scan step by step: the stage stands still during each exposure.

    Parameters
    ----------
    beamline
        Connected devices.
    num_projections
        Number of angles, equally spaced.
    start_deg, stop_deg
        First angle, and the angle after the last one (not measured), degrees.
    num_flats, num_darks
        Frames of the open beam and without beam, taken before the projections.
    exposure_s
        Of every frame, seconds.
    md
        More metadata for the start document.

    Yields
    ------
    bluesky.Msg

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    WrongArgumentError
        An argument makes no scan; nothing has moved.
    """
    scan = _Scan(num_projections, start_deg, stop_deg, num_flats, num_darks, exposure_s)
    angles = start_deg + scan.range_deg * np.arange(num_projections) / num_projections
    for angle in (float(angles[0]), float(angles[-1])):
        beamline.rotation.check_value(angle)
    metadata = yield from _metadata(beamline, scan, "tomo_scan", md)

    def body() -> Plan:
        yield from bps.mv(beamline.camera.cam.acquire_time, exposure_s)
        yield from _darks_scene(beamline)
        yield from _step_series(beamline, "dark", [None] * num_darks)
        yield from _flats_scene(beamline)
        yield from _step_series(beamline, "flat", [None] * num_flats)
        yield from _projections_scene(beamline)
        yield from _step_series(beamline, "primary", [float(angle) for angle in angles])

    return (yield from _run(beamline, metadata, body))


def tomo_fly(  # noqa: PLR0913 - typed by hand at the beamline, so keywords and not a model
    beamline: Beamline,
    num_projections: int,
    *,
    start_deg: float = 0.0,
    stop_deg: float = 180.0,
    num_flats: int = 10,
    num_darks: int = 10,
    exposure_s: float = 0.02,
    flats_after: bool = False,
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Scan in one continuous sweep; frames are published as they are written.

    The camera runs freely while the stage turns at constant speed. The angle of each frame is the one that
    the camera's IOC recorded with it: the first lies close to `start_deg`, not exactly on it.

    Parameters
    ----------
    beamline
        Connected devices.
    num_projections
        Number of frames.
    start_deg, stop_deg
        Angle of the first frame, and the angle after the last one, degrees.
    num_flats, num_darks
        Frames of the open beam and without beam.
    exposure_s
        Of every frame, seconds; with the camera's readout time it decides the speed.
    flats_after
        Take flats after the projections instead of before.
    md
        More metadata for the start document.

    Yields
    ------
    bluesky.Msg

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    WrongArgumentError
        An argument makes no scan; nothing has moved.
    """
    scan = _Scan(num_projections, start_deg, stop_deg, num_flats, num_darks, exposure_s)
    sweep = yield from _plan_sweep(beamline, scan)
    metadata = yield from _metadata(beamline, scan, "tomo_fly", md)
    camera = beamline.fly_camera

    def flats() -> Plan:
        yield from _flats_scene(beamline)
        yield from _fly_series(beamline, "flat", sweep.series(num_flats))

    def body() -> Plan:
        yield from _darks_scene(beamline)
        yield from _fly_series(beamline, "dark", sweep.series(num_darks))
        if not flats_after:
            yield from flats()
        yield from _projections_scene(beamline)
        yield from bps.mv(beamline.rotation, sweep.begin_deg)
        yield from _fly_series(beamline, "primary", sweep.series(num_projections), sweep)
        if flats_after:
            yield from flats()

    return (yield from bpp.stage_wrapper(_run(beamline, metadata, body), [camera]))


@dataclass(frozen=True)
class _Sweep:
    """A turn of the stage at constant speed, with run-up and overrun."""

    begin_deg: float
    start_deg: float
    end_deg: float
    velocity: float
    exposure_s: float
    period_s: float

    def series(self, num_frames: int) -> Series:
        return Series(num_frames, self.exposure_s, self.period_s)


def _plan_sweep(beamline: Beamline, scan: _Scan) -> Generator[Msg, Any, _Sweep]:
    period_s = scan.exposure_s + beamline.config.camera.readout_s
    velocity = abs(scan.range_deg) / (scan.num_projections * period_s)
    ramp_s = float((yield from bps.rd(beamline.rotation.acceleration)))
    direction = math.copysign(1.0, scan.range_deg)
    begin = scan.start_deg - direction * velocity * (ramp_s / 2 + RUN_UP_S)
    end = scan.stop_deg + direction * velocity * (ramp_s / 2 + OVERRUN_S)
    for angle in (begin, end):
        beamline.rotation.check_value(angle)
    return _Sweep(begin, scan.start_deg, end, velocity, scan.exposure_s, period_s)


def _metadata(
    beamline: Beamline, scan: _Scan, plan_name: str, md: Mapping[str, Any] | None
) -> Generator[Msg, Any, dict[str, Any]]:
    values: dict[str, Any] = {}
    for name, (signal, scale) in beamline.metadata.items():
        value = yield from bps.rd(signal)
        values[name] = value if isinstance(value, str) else float(value) * scale
    sample_name, proposal = values.pop("sample_name"), values.pop("proposal")
    more = dict(md or {})
    return {
        "plan_name": plan_name,
        "beamline": beamline.config.name,
        "sample_name": sample_name,
        "proposal": proposal,
        "scan_layout": SCAN_LAYOUT,
        "tomo": {
            **values,
            "start_deg": scan.start_deg,
            "stop_deg": scan.stop_deg,
            "num_projections": scan.num_projections,
            "num_flats": scan.num_flats,
            "num_darks": scan.num_darks,
            "exposure_s": scan.exposure_s,
            "detector": beamline.camera.name,
            "rotation": beamline.rotation.name,
            # More about the scan does not take away what is known of it.
            **more.pop("tomo", {}),
        },
        **more,
    }


def _run(beamline: Beamline, metadata: dict[str, Any], body: Any) -> Plan:
    found = _Found(
        shutter=beamline.shutter.state,
        sample=float((yield from bps.rd(beamline.sample.user_setpoint))),
        velocity=float((yield from bps.rd(beamline.rotation.velocity))),
    )
    run = bpp.run_wrapper(body(), md=metadata)
    return (yield from bpp.finalize_wrapper(run, lambda: _restore(beamline, found)))


def _restore(beamline: Beamline, found: _Found) -> Plan:
    plan = bps.stop(beamline.rotation)
    # One that fails, a shutter that hangs say, does not keep the others from being put back.
    for step in (
        bps.mv(beamline.shutter, found.shutter),
        bps.mv(beamline.rotation.velocity, found.velocity),
        bps.mv(beamline.sample, found.sample),
    ):
        plan = bpp.finalize_wrapper(plan, step)
    yield from plan


def _darks_scene(beamline: Beamline) -> Plan:
    yield from bps.mv(beamline.shutter, SHUTTER_CLOSED)


def _flats_scene(beamline: Beamline) -> Plan:
    yield from bps.mv(beamline.sample, beamline.config.sample.out_position)
    yield from bps.mv(beamline.shutter, SHUTTER_OPEN)


def _projections_scene(beamline: Beamline) -> Plan:
    yield from bps.mv(beamline.sample, beamline.config.sample.in_position)
    yield from bps.mv(beamline.shutter, SHUTTER_OPEN)


def _step_series(beamline: Beamline, stream: str, angles: list[float] | list[None]) -> Plan:
    """Take one frame per angle (where the stage is, if None) into a file of their own."""
    if not angles:
        return

    def frames() -> Plan:
        for angle in angles:
            yield from bps.checkpoint()
            if angle is not None:
                yield from bps.mv(beamline.rotation, angle)
            yield from bps.trigger_and_read([beamline.camera, beamline.rotation], name=stream)

    yield from bpp.stage_wrapper(frames(), [beamline.camera])


def _fly_series(beamline: Beamline, stream: str, series: Series, sweep: _Sweep | None = None) -> Plan:
    """Record one series into a stream; during a sweep if there is one."""
    if series.num_frames == 0:
        return
    camera = beamline.fly_camera
    yield from bps.prepare(camera, series, wait=True)
    yield from bps.declare_stream(camera, name=stream, collect=True)
    if sweep is not None:
        yield from bps.mv(beamline.rotation.velocity, sweep.velocity)
        yield from bps.abs_set(beamline.rotation, sweep.end_deg, group="sweep")
        yield from _wait_for_crossing(beamline, sweep)
    yield from bps.kickoff(camera, wait=True)
    yield from bps.collect_while_completing([camera], [camera], FLUSH_PERIOD_S, stream)
    if sweep is not None:
        yield from bps.stop(beamline.rotation)
        yield from bps.wait(group="sweep", error_on_timeout=False)


def _wait_for_crossing(beamline: Beamline, sweep: _Sweep) -> Plan:
    """Sleep until the stage passes the first angle, foreseen from its last readback."""
    readback = beamline.rotation.user_readback
    direction = math.copysign(1.0, sweep.end_deg - sweep.begin_deg)
    deadline = time.monotonic() + CROSSING_MARGIN_S
    while True:
        age = min(max(time.time() - readback.timestamp, 0.0), 0.1)
        missing_deg = (sweep.start_deg - readback.get()) * direction
        # the angle of a frame is that of the middle of its exposure
        remaining = missing_deg / sweep.velocity - age - sweep.exposure_s / 2
        if remaining <= 0.001:
            return
        if time.monotonic() > deadline:
            message = (
                f"{beamline.rotation.name} does not reach {sweep.start_deg:g} degrees: "
                f"it stands at {readback.get():g}"
            )
            raise BeamlineError(message)
        yield from bps.sleep(min(remaining, 0.05))
