"""`tomoservice info`: what a scan contains, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tomoservice.cli.options import INPUT_HELP, angles_option, scan_input

if TYPE_CHECKING:
    from tomoservice.sources import ScanSummary
    from tomoservice.sources.summary import StackSummary


@click.command(epilog=INPUT_HELP)
@scan_input
@angles_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(input_path: Path, angles: Path | None, *, as_json: bool) -> None:
    """Say what the scan INPUT contains: frames, angles, geometry, and what is unusual about it.

    Looks at a few rows of every projection and at all flats and darks. What stands in the way of a
    reconstruction is a note, or one line and exit status 1 if nothing can be made of the scan at all.
    """
    from tomoservice.sources import check_frames, describe, open_scan

    with open_scan(input_path, angles=angles) as scan:
        summary = describe(scan)
        findings = check_frames(scan, allow_lost=True)
    if as_json:
        content = summary.model_dump(mode="json")
        click.echo(json.dumps({**content, "notes": [*summary.notes, *findings]}, indent=2))
        return
    for name, value in _lines(summary):
        click.echo(f"{name:15} {value}")
    for note in (*summary.notes, *findings):
        click.echo(f"{'note':15} {note}")


def _lines(summary: ScanSummary) -> Iterator[tuple[str, str]]:
    angles = summary.angles
    yield "format", summary.kind
    yield (
        "projections",
        f"{summary.projections} of {summary.rows} rows x {summary.columns} columns, {summary.dtype}",
    )
    yield "flats", _stack(summary.flats)
    yield "darks", _stack(summary.darks)
    steps = f"{'regular' if angles.regular else 'irregular'} steps of {angles.step_deg:.4g}"
    if angles.views < summary.projections:
        each = angles.frames_per_view
        steps += f", {each} frames at each" if each else f", {angles.views} views of some frames each"
    order = "" if angles.ordered else ", not in order"
    yield "angles", f"{angles.first_deg:g} to {angles.last_deg:g} degrees, {steps}{order}"
    for name, value, unit in (
        ("rotation axis", summary.rotation_axis, "pixel"),
        ("pixel size", summary.pixel_size_um, "um"),
        ("energy", summary.energy_kev, "keV"),
        ("distance", summary.distance_mm, "mm"),
    ):
        yield name, "not recorded" if value is None else f"{value:g} {unit}"
    yield "sample", summary.sample_name or "not recorded"
    yield "size", f"{summary.size_bytes / 1e6:.1f} MB uncompressed"


def _stack(stack: StackSummary | None) -> str:
    if stack is None:
        return "none"
    where = f", {' and '.join(stack.positions)} the projections" if stack.positions else ""
    return f"{stack.count}{where}"
