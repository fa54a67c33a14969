"""`tomoservice find-axis`: the rotation axis of a scan, with its curve and how far to trust it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tomoservice.cli.options import INPUT_HELP, recipe_from, recipe_option, rows_option, scan_input

METHODS = ("auto", "fourier", "phase_correlation")


@click.command(epilog=INPUT_HELP)
@scan_input
@click.option(
    "--method", type=click.Choice(METHODS), default="auto", show_default=True, help="How to find it."
)
@click.option(
    "--search",
    type=(float, float),
    metavar="LOW HIGH",
    help="Columns between which to search (auto and fourier).",
)
@rows_option
@recipe_option
@click.option("--json", "as_json", is_flag=True, help="Print everything, with the metric curve, as JSON.")
def command(
    input_path: Path,
    method: str,
    search: tuple[float, float] | None,
    rows: tuple[int, int | None] | None,
    recipe_name: str,
    *,
    as_json: bool,
) -> None:
    """Find the rotation axis of the scan INPUT: its column in the full frame, counted from 0.

    Flat field and minus log are those of the recipe. A confidence near 0 means: look for yourself.
    """
    from tomoservice.pipeline import prepare
    from tomoservice.sources import open_scan

    if search is not None and method == "phase_correlation":
        raise click.UsageError("--search: phase_correlation has no search window")
    stage: dict[str, object] = {"method": method}
    if search is not None:
        stage["search"] = list(search)
    recipe = recipe_from(recipe_name, rows).changed(rotation_axis=stage)
    with open_scan(input_path) as scan:
        found = prepare(scan, recipe).axis
    if found is None:
        raise click.UsageError("--method: names no search")
    if as_json:
        click.echo(
            json.dumps(
                {
                    "rotation_axis": found.rotation_axis,
                    "confidence": found.confidence,
                    "method": found.method,
                    "at_window_edge": found.at_window_edge,
                    "note": found.note,
                    "candidates": found.candidates.tolist(),
                    "metric": found.metric.tolist(),
                },
                indent=2,
            )
        )
    else:
        click.echo(
            f"{found.rotation_axis:.2f}  (confidence {found.confidence:.2f}, {found.method}: {found.note})"
        )
