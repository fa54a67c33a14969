"""Volumes that a service has, for whoever takes them home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tomoservice.compute.published import service_volume
from tomoservice.export import ExportOptions, export_volume
from tomoservice.export.exporting import slices_of


def export_node(node: Any, path: Path, options: ExportOptions | None, *, show_progress: bool) -> Path:
    """Write the volume of a reconstruction, and return where."""
    from rich.console import Console
    from rich.progress import Progress

    volume = service_volume(node)
    chosen = options or ExportOptions()
    bar = Progress(console=Console(stderr=True), transient=True, disable=not show_progress)
    with bar:
        task = bar.add_task(path.name, total=slices_of(volume, chosen))
        export_volume(volume, path, chosen, advance=lambda slices: bar.advance(task, slices))
    return path
