"""`tomoservice reconstruct`: straight from file to file, no server, no database."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from numpy.typing import NDArray

from tomoservice.cli.options import (
    INPUT_HELP,
    RotationAxis,
    adapted,
    angles_option,
    device_option,
    memory_option,
    recipe_option,
    rows_option,
    scan_input,
)
from tomoservice.cli.progress import progress_bar
from tomoservice.cli.stopping import stop_signals
from tomoservice.devices import AUTO, DeviceChoice
from tomoservice.errors import OutputError
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.reconstruction import Iterative

if TYPE_CHECKING:
    from tomoservice.pipeline import RingReport
    from tomoservice.scan import EarlierVolume

ENDED = "somebody ended the iterations early: slices hold what they had reached, one iteration at least"
HELPS = 0.8
"""A removal of rings is worth it if it leaves less of the score than this."""

logger = logging.getLogger(__name__)


def known_format(_ctx: click.Context, _param: click.Parameter, value: Path) -> Path:
    """Return the path of an output, if its ending names a format."""
    from tomoservice.export import writer_factory

    try:
        writer_factory(value)
    except OutputError as error:
        raise click.BadParameter(str(error)) from error
    return value


@click.command(epilog=INPUT_HELP)
@scan_input
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    callback=known_format,
    help="Where the volume goes: FILE.h5 (NXtomoproc), NAME.ome.zarr (OME-Zarr), NAME.zarr (Zarr array) or "
    "DIRECTORY.tiff (a file per slice).",
)
@recipe_option
@angles_option
@click.option(
    "--rotation-axis",
    type=RotationAxis(),
    help="Column of the rotation axis in the full frame, from 0; or auto.  [default: as the recipe says]",
)
@rows_option
@memory_option
@device_option
@click.option(
    "--stop-and-keep",
    is_flag=True,
    help="With an iterative method: the first Ctrl-C ends the iterations and keeps what they have reached, "
    "the second stops and leaves nothing.",
)
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
def command(
    input_path: Path,
    output: Path,
    recipe: Recipe,
    rotation_axis: float | str | None,
    rows: tuple[int, int | None] | None,
    memory: int | None,
    device: DeviceChoice,
    angles: Path | None,
    *,
    stop_and_keep: bool,
    overwrite: bool,
) -> None:
    """Reconstruct the scan INPUT into a volume.

    The output carries the recipe with every automatic value filled in, and appears only when it is whole.

    \b
    Examples:
      tomoservice reconstruct tooth.h5 --output tooth-volume.h5
      tomoservice reconstruct scan.nxs --rotation-axis 1023.5 --rows 500:600 --output slices.tiff
    """
    asked = adapted(recipe, rows, rotation_axis)
    job = FileJob(input_path, angles, output, asked, memory, overwrite, device)
    if stop_and_keep and not isinstance(asked.reconstruction, Iterative):
        raise click.UsageError(
            "--stop-and-keep ends iterations, and reconstruction.method "
            f"{asked.reconstruction.method!r} makes none"
        )
    ending = threading.Event() if stop_and_keep else None
    with stop_signals(ending) as stopped:
        reconstruct_file(job, stopped, ending)


@dataclass(frozen=True, slots=True)
class FileJob:
    """A reconstruction from file to file."""

    input_path: Path
    angles: Path | None
    output: Path
    recipe: Recipe
    memory_bytes: int | None
    overwrite: bool
    device: DeviceChoice = AUTO


def reconstruct_file(
    job: FileJob, stopped: Callable[[], bool], ending: threading.Event | None = None
) -> None:
    """Reconstruct a scan file into a volume file, telling on standard error what is being done.

    Parameters
    ----------
    job
        What is made of what.
    stopped
        Asked about once a second whether to stop.
    ending
        Set when iterations are to end with what they have reached.
    """
    from tomoservice.export import VolumeForm, check_output, volume_output
    from tomoservice.export.sources import open_earlier_volume
    from tomoservice.pipeline import ResidualLog, Slab, compute, prepare, score_rings
    from tomoservice.provenance import check_unchanged, file_states, make_record
    from tomoservice.sources import open_beside, open_companions, open_scan

    output = job.output
    started = datetime.now(UTC)
    check_output(output, overwrite=job.overwrite, inputs=(str(job.input_path),))
    opened = open_scan(job.input_path, angles=job.angles)
    folder = job.input_path.absolute().parent

    def volume_beside(name: str) -> AbstractContextManager[EarlierVolume]:
        return open_earlier_volume(folder / name)

    with open_companions(opened, job.recipe, open_beside(job.input_path), volume_beside) as scan:
        check_output(output, overwrite=job.overwrite, inputs=scan.origin.files)
        before = file_states(scan.origin.files)
        plan = prepare(scan, job.recipe, device=job.device, memory_bytes=job.memory_bytes, cancelled=stopped)
        for note in plan.notes:
            click.echo(note, err=True)
        form = VolumeForm.of(plan)
        with (
            volume_output(output, form, overwrite=job.overwrite) as writer,
            progress_bar("reconstructing", plan.shape[0], "slices") as advance,
        ):

            def keep(slab: Slab, slices: NDArray[Any]) -> None:
                writer.write(slab.start, slices)
                advance(slab.stop - slab.start)

            log = ResidualLog(_log_residual)
            timings = compute(
                plan,
                scan,
                on_slab=keep,
                cancelled=stopped,
                memory_bytes=job.memory_bytes,
                iterations=log.control() if ending is None else log.control(ending.is_set),
            )
            rings = score_rings(plan, scan, rows=1, cancelled=stopped)
            check_unchanged(before)
            record = make_record(plan, scan, started=started, timings_s=timings)
            if ending is not None and ending.is_set():
                record["notes"].append(ENDED)
                click.echo(ENDED, err=True)
            writer.finish(record)
    click.echo(_about_rings(rings), err=True)
    if residuals := [value for _, _, value in log.last()]:
        click.echo(f"relative residual {min(residuals):.3g} to {max(residuals):.3g}", err=True)
    took = (datetime.now(UTC) - started).total_seconds()
    shape = " x ".join(str(size) for size in plan.shape)
    click.echo(
        f"{output}: {shape} (z, y, x) in {plan.units}, rotation axis {plan.rotation_axis:.2f}, {took:.1f} s"
    )


def _log_residual(row: int, iteration: int, residual: float) -> None:
    logger.info("detector row %d: iteration %d, relative residual %.4g", row, iteration, residual)


def _about_rings(report: RingReport) -> str:
    """Say how strong rings are without and with what removes them."""
    if report.asked:
        return (
            f"ring score of the middle slice: {report.before:.2f} before {report.removal}, "
            f"{report.after:.2f} after"
        )
    score = f"ring score of the middle slice: {report.before:.2f} (0 none, 1 as strong as the noise)"
    helps = "" if report.after < HELPS * report.before else ", which is hardly worth it"
    return f"{score}; {report.after:.2f} with {report.removal}{helps}"
