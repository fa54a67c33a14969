"""`tomoservice demo`: simulated beamline, service, scan and reconstruction in one go."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tomoservice.errors import TomoserviceError

if TYPE_CHECKING:
    from profiles.sim.demonstration import Outcome
    from tomoservice.service.running import RunningService

AXIS_LIMIT = 0.25
"""Pixels by which the automatic axis may miss the true one."""
PSNR_LIMIT_DB = 28.0
"""Least peak signal-to-noise ratio against the phantom."""
CONFIDENCE_LIMIT = 0.5
"""Least confidence of the automatic axis, where the true one is not known."""
SMALLEST = 64


@click.command()
@click.option(
    "--replay",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Show the frames of this recorded scan (HDF5 or TIFF directory) instead of the phantom.",
)
@click.option(
    "--live", is_flag=True, help="Watch the reconstruction grow while the scan goes on; measure that."
)
@click.option(
    "--frames",
    type=click.IntRange(16, 100000),
    help="With --live: projections of the phantom scan.  [default: 720]",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.5, 1000),
    default=20.0,
    show_default=True,
    help="With --live: frames per second.",
)
@click.option("--once", is_flag=True, help="End when the volume has been read back, instead of staying up.")
@click.option(
    "--size",
    type=click.IntRange(SMALLEST, 4096),
    help="Detector columns of the phantom scan; half as many rows (with --live as many), 1.5 times as many "
    "angles.  [default: 256, with --live 512]",
)
@click.option(
    "--noise", type=click.FloatRange(0, 0.2), default=0.0, show_default=True, help="Noise of a pixel."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-output"),
    show_default=True,
    help="Folder for the service's data and the pictures; scans pile up in it.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of the service.  [default: a free one]"
)
def command(
    replay: Path | None,
    frames: int | None,
    rate: float,
    size: int | None,
    noise: float,
    data: Path,
    port: int,
    *,
    live: bool,
    once: bool,
) -> None:
    """Scan on a simulated beamline and watch the volume appear in Tiled.

    Starts an EPICS IOC and the service as processes of their own, runs a continuous scan with a RunEngine,
    waits for the automatic reconstruction, reads it back with a plain Tiled client, and writes pictures of
    the central slices. With --once the exit status is 0 only if the result is within the printed limits.

    With --live the scan is watched while it goes on, at so many frames per second; what was promised of that
    and what came of it are printed as a table. A recorded scan loses its beam for a moment.
    """
    if live:
        _demonstrate_live(replay, frames or 720, rate, size or 512, data, port, once=once)
        return
    size = size or 256
    from profiles.sim.demonstration import Sweep, demonstrate, replayed
    from profiles.sim.options import SimulationOptions
    from tomoservice.service.running import running_service

    prefix = "DEMO:"
    if replay is not None:
        options, sweep = replayed(replay, prefix)
    else:
        axis = (size - 1) / 2 + 3.7
        options = SimulationOptions(
            prefix=prefix, columns=size, rows=size // 2, rotation_axis=axis, noise=noise
        )
        sweep = Sweep(size * 3 // 2)
    click.echo("starting the service ...", err=True)
    with running_service(data, {"service": {"port": port}}) as service:
        with _progress() as tell:
            outcome = demonstrate(service, options, sweep, data / "pictures", tell)
        _report(outcome, service)
        good = _judge(outcome)
        if not once:
            _stay(service)
    if not good:
        raise TomoserviceError("the result is outside the limits printed above")


def _demonstrate_live(
    replay: Path | None, frames: int, rate: float, size: int, data: Path, port: int, *, once: bool
) -> None:
    from profiles.sim.demonstration import Sweep, replayed
    from profiles.sim.live_demonstration import LivePlan, demonstrate_live, write_specimen
    from profiles.sim.options import SimulationOptions
    from tomoservice.benchmarks.table import as_markdown
    from tomoservice.service.running import running_service

    if replay is not None:
        options, sweep = replayed(replay, "LIVE:")
        plan = LivePlan(sweep, rate, lose_beam=True)
    else:
        axis = (size - 1) / 2 + 3.7
        plan = LivePlan(Sweep(frames), rate, true_axis=axis)
        click.echo("preparing the frames that the camera shows ...", err=True)
        data.mkdir(parents=True, exist_ok=True)
        shown = write_specimen(data / "specimen.h5", size, plan.sweep, axis)
        options = SimulationOptions(prefix="LIVE:", rows=size, columns=size, replay=shown.resolve())
    click.echo("starting the service ...", err=True)
    with running_service(data, {"service": {"port": port}, "live": {"enabled": True}}) as service:
        with _progress() as tell:
            outcome = demonstrate_live(service, options, plan, tell)
        click.echo(as_markdown(outcome.measurements))
        seconds, live = outcome.seconds, outcome.live
        address = f"{service.uri.removesuffix('/api/v1')}/ui/browse/live/{outcome.run_uid}"
        click.echo(f"scan            {seconds['scan']:.1f} s, {outcome.rate_hz:.1f} frames/s")
        click.echo(f"live            {live['state']}, {live['frames_used']} frames")
        click.echo(f"browse          {address}")
        if not once:
            _stay(service)
    if not outcome.is_good:
        raise TomoserviceError("something that the table promises has not been reached")


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Show stages and percent on a terminal, and stages as lines elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        last = ""

        def tell_line(stage: str, _percent: float) -> None:
            nonlocal last
            if stage != last:
                click.echo(stage, err=True)
                last = stage

        yield tell_line
        return
    columns = (TextColumn("{task.description:30}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=100)
        yield lambda stage, percent: bars.update(task, description=stage, completed=percent)


def _report(outcome: Outcome, service: RunningService) -> None:
    shape = " x ".join(str(size) for size in outcome.shape)
    click.echo(f"scan            {outcome.seconds['scan']:.1f} s, run {outcome.run_uid}")
    click.echo(f"volume          {shape} (z, y, x), {outcome.seconds['reconstruction']:.1f} s after the scan")
    click.echo(f"browse          {service.uri.removesuffix('/api/v1')}/ui/browse/{outcome.path}")
    click.echo(f"from Python     tiled.client.from_uri({service.uri!r})[{outcome.path + '/volume'!r}]")
    for picture in outcome.pictures:
        click.echo(f"picture         {picture}")


def _judge(outcome: Outcome) -> bool:
    """Print every figure with its limit and verdict; return whether all are good."""
    figures = []
    if outcome.axis_error is None or outcome.psnr_db is None:
        found = f"{outcome.rotation_axis:.2f}, confidence"
        confidence = outcome.confidence or 0.0
        figures.append((f"rotation axis   {found}", confidence, ">=", CONFIDENCE_LIMIT, ""))
    else:
        found = f"{outcome.rotation_axis:.2f}, error"
        figures.append((f"rotation axis   {found}", outcome.axis_error, "<=", AXIS_LIMIT, " pixel"))
        figures.append(("PSNR           ", outcome.psnr_db, ">=", PSNR_LIMIT_DB, " dB"))
    good = True
    for name, value, relation, limit, unit in figures:
        within = value <= limit if relation == "<=" else value >= limit
        good = good and within
        verdict = "good" if within else "NOT GOOD"
        click.echo(f"{name} {value:.3g}{unit} ({verdict}: limit {relation} {limit:g}{unit})")
    return good


def _stay(service: RunningService) -> None:
    """Keep the service up until Ctrl-C or SIGTERM."""
    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    click.echo(f"the service stays up at {service.uri} (key in {service.data / 'api_key'}); Ctrl-C stops it")
    ended.wait()
    for number, handler in before.items():
        signal.signal(number, handler)
