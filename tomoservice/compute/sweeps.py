"""Pictures of a sweep: one slice by each of its recipes, stored one by one."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.compute.base import Line
from tomoservice.compute.orders import RunAddress, digest
from tomoservice.compute.resolution import engine_versions
from tomoservice.compute.sweep_metric import Scores, measure, metric_of
from tomoservice.compute.workbench import Workbench
from tomoservice.devices import DeviceChoice
from tomoservice.errors import RecipeError
from tomoservice.pipeline import Outline, outline
from tomoservice.recipe import Recipe, Sweep, parse_sweep
from tomoservice.recipe.stages.frames import Range
from tomoservice.recon.finishing import crop
from tomoservice.scan import TomoScan
from tomoservice.store import VOLUME, SlabStore, highest_attempt, set_aside


@dataclass(frozen=True)
class SweepOrder:
    """A sweep of a run, and the store that holds its pictures."""

    run: RunAddress
    """What is reconstructed."""
    sweep: dict[str, Any]
    """The sweep, in plain JSON types."""
    folder: str
    """Folder of the store."""
    memory_bytes: int | None = None
    """Memory for all that one worker process does at once; by default half of what is free."""
    device: str = "auto"
    """What computes slices."""

    @property
    def key(self) -> str:
        """Tells orders apart."""
        return digest([self.run.key, self.folder, self.sweep])


@dataclass(frozen=True, slots=True)
class _Picture:
    index: int

    @property
    def start(self) -> int:
        """First layer."""
        return self.index

    @property
    def stop(self) -> int:
        """Layer after the last one."""
        return self.index + 1


def sweep_outline(scan: TomoScan, sweep: Sweep) -> Outline | None:
    """Return what pictures (value, y, x) look like; None if the axis has to be found first.

    Raises
    ------
    RecipeError
        If a recipe does not fit the scan, slices differ in size, or there is no such slice or part of it.
    """
    recipes = sweep.recipes()
    found = [outline(scan, recipe.changed(output={"crop": recipe.output.crop})) for recipe in recipes]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    sizes = {one.shape for one in known}
    if len(sizes) > 1:
        raise RecipeError(
            f"the recipes of a sweep make slices of different sizes ({_written(sizes)}); keep frames.columns,"
            " frames.binning and output.crop as they are, and set reconstruction.half_acquisition",
            name="sweep",
        )
    return _outline(sweep, sizes.pop())


def fill_sweep(bench: Workbench, line: Line, order: SweepOrder, numbers: Sequence[int]) -> None:
    """Make those of some pictures that do not exist, and store them.

    Stages before the one that differs are computed once, as far as the same worker makes the pictures.

    Raises
    ------
    TomoserviceError
        The scan cannot be read, or does not fit a recipe.
    """
    sweep = parse_sweep(order.sweep)
    recipes = sweep.recipes()
    metric, scores = metric_of(sweep), Scores(Path(order.folder))
    device = DeviceChoice.parse(order.device)
    with bench.previewer(order.run, order.memory_bytes) as previewer:

        def whole(number: int) -> NDArray[np.float32]:
            recipe = _whole(recipes[number])
            return previewer.slice(recipe, sweep.z, device=device, cancelled=line.should_stop).image

        store: SlabStore | None = None
        for number in sorted(numbers):
            began = time.monotonic()
            image = whole(number)
            picture = _picture(image, sweep, recipes[number])
            store = store or _open(order, sweep, picture.shape)
            # Before the picture: one that exists has been measured.
            if metric is not None and number not in scores.present():
                scores.keep(number, measure(metric, image, scores, lambda: whole(len(recipes) // 2)))
            if number not in store.present():
                store.commit(_Picture(number), picture[None], time.monotonic() - began)


def _picture(image: NDArray[np.float32], sweep: Sweep, recipe: Recipe) -> NDArray[np.float32]:
    """Return the part of a slice that a sweep shows, of what its recipe keeps."""
    keep = recipe.output.crop
    kept = crop(image[None], (keep.rows.start, keep.rows.stop), (keep.columns.start, keep.columns.stop))[0]
    rows, columns = (
        _part(name, part, size)
        for name, part, size in zip(("rows", "columns"), (sweep.rows, sweep.columns), kept.shape, strict=True)
    )
    return np.ascontiguousarray(kept[rows, columns])


def _open(order: SweepOrder, sweep: Sweep, shape: tuple[int, ...]) -> SlabStore:
    height, width = shape
    looks = Outline((len(sweep.values), height, width), _chunks(height, width), "float32")
    folder = Path(order.folder)

    def is_left_over() -> bool:
        # A sweep never changes, so this is of another one that stood under the same key.
        return (folder / VOLUME).exists() and not is_of_sweep(SlabStore.open(folder), sweep)

    if is_left_over():
        set_aside(folder, is_left_over)
    store = SlabStore.create(folder, looks.shape, looks.chunks, attempt=highest_attempt(folder))
    identity = json.dumps({"sweep": sweep.hash, "engine": engine_versions()}, sort_keys=True)
    if store.identity not in (None, identity):
        Scores(folder).forget()
    store.keep_only(identity)
    return store


def is_of_sweep(store: SlabStore, sweep: Sweep) -> bool:
    """Tell whether pictures in a store are those of a sweep; none are nobody's."""
    identity = store.identity
    return identity is None or json.loads(identity).get("sweep") == sweep.hash


def _outline(sweep: Sweep, shape: tuple[int, int, int]) -> Outline:
    slices, rows, columns = shape
    if sweep.z >= slices:
        raise RecipeError(f"z: got {sweep.z}, but this recipe gives 0 to {slices - 1}", name="sweep")
    height = len(range(rows)[_part("rows", sweep.rows, rows)])
    width = len(range(columns)[_part("columns", sweep.columns, columns)])
    return Outline((len(sweep.values), height, width), _chunks(height, width), "float32")


def _part(name: str, kept: Range, size: int) -> slice:
    stop = size if kept.stop is None else kept.stop
    if stop > size or kept.start >= stop:
        raise RecipeError(f"{name}: got {kept.start} to {stop}, but a slice has {size} {name}", name="sweep")
    return slice(kept.start, stop)


def _chunks(height: int, width: int) -> tuple[int, int, int]:
    return 1, min(height, 256), min(width, 256)


def _whole(recipe: Recipe) -> Recipe:
    """Return the recipe with whole slices and grey values as they are computed, to be compared."""
    return recipe.changed(output={"units": recipe.output.units})


def _written(shapes: set[tuple[int, int, int]]) -> str:
    return ", ".join(" x ".join(str(size) for size in shape[1:]) for shape in sorted(shapes))
