"""`tomoservice find-axis`: the rotation axis of a scan, with its curve and how far to trust it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tomoservice.cli.options import (
    INPUT_HELP,
    adapted,
    angles_option,
    recipe_option,
    rows_option,
    scan_input,
)
from tomoservice.cli.stopping import stop_signals
from tomoservice.recipe import Recipe

METHODS = ("auto", "fourier", "phase_correlation", "entropy", "overlap")


@click.command(epilog=INPUT_HELP)
@scan_input
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help="How to find it.  [default: as the recipe says; auto if that gives a value]",
)
@click.option(
    "--search",
    type=(float, float),
    metavar="LOW HIGH",
    help="Columns between which to search.",
)
@click.option("--tilt", is_flag=True, help="Search it at several heights, too, and fit its tilt.")
@rows_option
@recipe_option
@angles_option
@click.option("--json", "as_json", is_flag=True, help="Print everything, with the metric curve, as JSON.")
def command(
    input_path: Path,
    method: str | None,
    search: tuple[float, float] | None,
    rows: tuple[int, int | None] | None,
    recipe: Recipe,
    angles: Path | None,
    *,
    tilt: bool,
    as_json: bool,
) -> None:
    """Find the rotation axis of the scan INPUT: its column in the full frame, counted from 0.

    Flat field and minus log are those of the recipe. A confidence near 0 means: look for yourself.
    """
    from tomoservice.pipeline import find_axis
    from tomoservice.sources import open_scan

    if search is not None and search[0] >= search[1]:
        raise click.UsageError(f"--search: goes from low to high, got {search[0]:g} {search[1]:g}")
    asked = recipe.rotation_axis.model_dump(mode="json")
    stage: dict[str, object] = {"method": "auto"} if asked["method"] == "value" else asked
    if method is not None:
        stage["method"] = method
    if search is not None:
        stage["search"] = list(search)
    if tilt:
        stage["tilt"] = True
    chosen = adapted(recipe, rows).changed(rotation_axis=stage)
    with stop_signals() as stopped, open_scan(input_path, angles=angles) as scan:
        found = find_axis(scan, chosen, cancelled=stopped)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "rotation_axis": found.rotation_axis,
                    "confidence": found.confidence,
                    "method": found.method,
                    "at_window_edge": found.at_window_edge,
                    "note": found.note,
                    "tilt_deg": found.tilt_deg,
                    "tilt_error_deg": found.tilt_error_deg,
                    "candidates": found.candidates.tolist(),
                    "metric": found.metric.tolist(),
                },
                indent=2,
            )
        )
    else:
        tilted = "" if found.tilt_deg is None else f", tilt {found.tilt_deg:.3f} degrees"
        click.echo(
            f"{found.rotation_axis:.2f}{tilted}  "
            f"(confidence {found.confidence:.2f}, {found.method}: {found.note})"
        )
