"""Scans that a recipe needs beside the one that is reconstructed: the same sample at other distances."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.phase import ContrastTransferOfSeveral
from tomoservice.scan import TomoScan
from tomoservice.sources.detect import open_scan


def companion_names(recipe: Recipe) -> tuple[str, ...]:
    """Return what the recipe calls the scans that it needs beside the one that is reconstructed."""
    stage = recipe.phase
    return tuple(other.scan for other in stage.scans) if isinstance(stage, ContrastTransferOfSeveral) else ()


def open_companions(scan: TomoScan, recipe: Recipe, opener: Callable[[str], TomoScan]) -> TomoScan:
    """Open what a recipe needs beside a scan.

    Parameters
    ----------
    scan
        The scan that is reconstructed, open; it is closed if one of the others cannot be opened.
    recipe
        Names the others.
    opener
        Opens one of them by its name.

    Returns
    -------
    TomoScan
        The scan with its companions, whose files count as its own; closing it closes all.

    Raises
    ------
    InputError
        If one cannot be opened.
    """
    names = companion_names(recipe)
    if not names:
        return scan
    with ExitStack() as opened:
        opened.callback(scan.close)
        companions = {name: opened.enter_context(opener(name)) for name in names}
        files = [file for one in (scan, *companions.values()) for file in one.origin.files]
        return replace(
            scan,
            companions=companions,
            origin=replace(scan.origin, files=tuple(dict.fromkeys(files))),
            closer=opened.pop_all().close,
        )


def open_beside(path: Path) -> Callable[[str], TomoScan]:
    """Return what opens scans by their paths as seen from the folder of the scan at `path`."""
    return lambda name: open_scan(path.absolute().parent / name)
