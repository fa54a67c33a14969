"""What a recipe needs beside the scan that is reconstructed.

The same sample at other distances; a volume to start from.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.phase import ContrastTransferOfSeveral
from tomoservice.recipe.stages.reconstruction import Iterative
from tomoservice.scan import EarlierVolume, TomoScan
from tomoservice.sources.detect import open_scan


def companion_names(recipe: Recipe) -> tuple[str, ...]:
    """Return what the recipe calls the scans that it needs beside the one that is reconstructed."""
    stage = recipe.phase
    return tuple(other.scan for other in stage.scans) if isinstance(stage, ContrastTransferOfSeveral) else ()


def initial_volume_name(recipe: Recipe) -> str | None:
    """Return what the recipe calls the volume that its iterations start from; None if from no volume."""
    stage = recipe.reconstruction
    return stage.initial_volume if isinstance(stage, Iterative) else None


def open_companions(
    scan: TomoScan,
    recipe: Recipe,
    opener: Callable[[str], TomoScan],
    volumes: Callable[[str], AbstractContextManager[EarlierVolume]],
) -> TomoScan:
    """Open what a recipe needs beside a scan.

    Parameters
    ----------
    scan
        The scan that is reconstructed, open; it is closed if one of the others cannot be opened.
    recipe
        Names the others.
    opener
        Opens one of the other scans by its name.
    volumes
        Opens a volume by its name, for as long as the context lasts.

    Returns
    -------
    TomoScan
        The scan with its companions and volumes, whose files count as its own; closing it closes all.

    Raises
    ------
    InputError
        If one cannot be opened.
    """
    names, start = companion_names(recipe), initial_volume_name(recipe)
    if not names and start is None:
        return scan
    with ExitStack() as opened:
        opened.callback(scan.close)
        companions = {name: opened.enter_context(opener(name)) for name in names}
        earlier = {} if start is None else {start: opened.enter_context(volumes(start))}
        scans = (scan, *companions.values())
        files = [file for one in scans for file in one.origin.files]
        unseen = tuple(frames for one in scans for frames in one.origin.unseen)
        files += [file for volume in earlier.values() for file in volume.files]
        return replace(
            scan,
            companions=companions,
            volumes=earlier,
            origin=replace(scan.origin, files=tuple(dict.fromkeys(files)), unseen=unseen),
            closer=opened.pop_all().close,
        )


def open_beside(path: Path) -> Callable[[str], TomoScan]:
    """Return what opens scans by their paths as seen from the folder of the scan at `path`."""
    return lambda name: open_scan(path.absolute().parent / name)
