"""Slices, planes, sinograms and projections for whoever turns knobs: what a change does not touch is kept.

Moving the rotation axis costs one back-projection; another removal of stripes neither reads the scan again
nor looks for outliers, and another removal of rings does not reconstruct.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tomoservice.axis import AxisResult
from tomoservice.devices import AUTO, CPU, DeviceChoice
from tomoservice.errors import CancelledError, InputError, RecipeError
from tomoservice.pipeline.chain import Chain, plain_chain
from tomoservice.pipeline.coarse import Across, coarser
from tomoservice.pipeline.groundwork import Groundwork, ground_stages, lay_groundwork
from tomoservice.pipeline.kept_blocks import BlockStore, KeptBlocks, Passage
from tomoservice.pipeline.memory import memory_budget, piece_bytes
from tomoservice.pipeline.options import slice_options
from tomoservice.pipeline.plan import Plan
from tomoservice.pipeline.prepare import Known, prepare
from tomoservice.pipeline.preprocess import Preprocessor
from tomoservice.pipeline.selection import select
from tomoservice.pipeline.stages import Block, MinusLog, Phase, Step
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.output import Output
from tomoservice.recipe.stages.reconstruction import Iterative
from tomoservice.recipe.stages.rings import NoRings
from tomoservice.recon import get_reconstructor, preview
from tomoservice.recon.base import ReconstructionPlan
from tomoservice.recon.iterative.options import IterationControl, never
from tomoservice.recon.iterative.plan import IterativePlan
from tomoservice.scan import TomoScan

Kept = TypeVar("Kept")
BEFORE_AXIS = ("frames", "flat_field", "minus_log", "rotation_axis")
PLANS = 8
"""Geometries of the reconstruction that are kept."""
ROWS_AT_ONCE = 16
"""Groups of slices that are reconstructed between two looks whether they are still wanted."""
STARTS_ELSEWHERE = "iterations of a preview start from the filtered back-projection, not from the volume"
CACHE_SHARE = 4
"""Part of the memory budget that kept frames, sinograms and volumes may take: one over this."""


@dataclass(frozen=True)
class Preview:
    """A picture, and what was done for it."""

    image: NDArray[np.float32]
    """(y, x) slice, (z, x) or (z, y) plane, (angle, column) sinogram or (row, column) projection."""
    resolved: Recipe
    """The recipe with every automatic value filled in."""
    notes: tuple[str, ...]
    """What had to be decided, in sentences."""
    axis: AxisResult | None
    """How the rotation axis was found, if it was searched."""
    timings_s: dict[str, float] = field(default_factory=dict)
    """Seconds per stage; stages that were kept from before are absent."""
    binning: int = 1
    """How many voxels of the volume have become one, along each axis."""


class Previewer:
    """Makes previews of one scan; safe for several threads, which share what is kept.

    Parameters
    ----------
    scan
        The scan; it is only read.
    memory_bytes
        Memory budget; by default half of what is free now.
    """

    def __init__(self, scan: TomoScan, *, memory_bytes: int | None = None) -> None:
        self.scan = scan
        self._budget = memory_budget(memory_bytes)
        cache = self._budget // CACHE_SHARE
        self._grounds: _Cache[Groundwork] = _Cache(count=4)
        self._axes: _Cache[AxisResult] = _Cache(count=16)
        self._recorded = BlockStore(cache // 4)
        self._between = KeptBlocks(cache // 2)
        self._roomy_bytes = cache // 4
        self._slices: _Cache[NDArray[np.float32]] = _Cache(size=cache // 8, size_of=lambda one: one.nbytes)
        self._volumes: _Cache[NDArray[np.float32]] = _Cache(size=cache // 8, size_of=lambda one: one.nbytes)
        self._plans: _Cache[ReconstructionPlan] = _Cache(count=PLANS)

    def slice(
        self,
        recipe: Recipe,
        z: int,
        *,
        device: DeviceChoice = AUTO,
        cancelled: Callable[[], bool] | None = None,
    ) -> Preview:
        """Return a slice of the volume that a recipe would give, in float32.

        Parameters
        ----------
        recipe
            As asked.
        z
            Number of the slice.
        device
            What computes it, as in `prepare`.
        cancelled
            Asked now and then whether to stop.

        Returns
        -------
        Preview
            Its image is (y, x), in the recipe's units. Grey values agree with the volume's to 1e-3 of the
            largest.

        Raises
        ------
        RecipeError
            If the recipe does not fit the scan, or the volume has no slice `z`.
        TomoserviceError
            As `prepare`.
        """
        watch = _Watch()
        plan = self._planned(recipe, watch, cancelled, device)
        _check_inside("z", z, plan.shape[0], recipe)
        slices = self._unfinished(plan, z, watch, cancelled)
        with watch("finish"):
            (image,) = _finished(slices.copy(), plan)
        return _preview(np.ascontiguousarray(image), plan, watch)

    def _unfinished(
        self, plan: Plan, z: int, watch: _Watch, cancelled: Callable[[], bool] | None
    ) -> NDArray[np.float32]:
        """Return one slice (1, y, x) as the engine computes it; not to be modified."""
        before = plan.resolved.changed(rings=NoRings(), output=Output())

        def make() -> NDArray[np.float32]:
            sinogram = self._through(plan, plan.chain, (z, z + 1), watch, cancelled)
            recon = self._recon(plan)
            with watch("reconstruct"):
                if isinstance(recon, IterativePlan):
                    return _reconstructed(recon, plan, sinogram, z, cancelled)
                first_row = plan.selection.first_row + z
                return preview(recon, sinogram, plan.axes(z, z + 1), first_row=first_row)

        return self._slices.keep((before.hash, z, plan.device), make)

    def plane(
        self,
        recipe: Recipe,
        across: Across,
        number: int,
        *,
        max_width: int,
        device: DeviceChoice = AUTO,
        cancelled: Callable[[], bool] | None = None,
    ) -> Preview:
        """Return a plane along the rotation axis of the volume that a recipe would give, in float32.

        All slices have a part in it. So that it comes soon, it is that of a volume of larger voxels: of
        binned frames, and as many projections as those need. That volume is kept, and so are its sinograms.

        Parameters
        ----------
        recipe
            As asked. Sizes in pixels, such as the windows of stripe filters, count binned pixels here.
        across
            Axis of the volume that the plane is perpendicular to.
        number
            Its place along that axis, in voxels of the volume that is not binned.
        max_width
            Columns of the plane, at most. Fewer if the memory does not suffice.
        device, cancelled
            As in `slice`.

        Returns
        -------
        Preview
            Its image is (z, x) across y, or (z, y) across x, in the recipe's units: grey values per pixel are
            those of a pixel that is not binned. Its `binning` tells how many voxels have become one.

        Raises
        ------
        RecipeError
            If the recipe does not fit the scan, or the volume has no such plane.
        TomoserviceError
            As `prepare`.
        """
        watch = _Watch()
        whole = self._planned(recipe, watch, cancelled, device)
        _check_inside(across.value, number, whole.shape[across.dimension], recipe)
        smaller, binning = coarser(whole, max_width, self._budget // CACHE_SHARE)
        plan = self._planned(smaller, watch, cancelled, device)

        def make() -> NDArray[np.float32]:
            return self._volume(plan, watch, cancelled)

        volume = self._volumes.keep((smaller.hash, str(device)), make)
        place = min(number // binning, volume.shape[across.dimension] - 1)
        image = np.array(volume[:, place] if across is Across.Y else volume[:, :, place])
        if recipe.output.units == "per_pixel":
            image /= binning
        return Preview(image, whole.resolved, whole.notes, whole.axis, watch.seconds, binning)

    def _volume(self, plan: Plan, watch: _Watch, cancelled: Callable[[], bool] | None) -> NDArray[np.float32]:
        count = plan.shape[0]
        sinograms = self._through(plan, plan.chain, (0, count), watch, cancelled)
        recon = self._recon(plan)
        volume = np.empty(plan.shape, np.float32)
        # Slices that a method computes together stay together.
        group = get_reconstructor(plan.resolved.reconstruction.method, plan.device).row_group
        start = 0
        while start < count:
            if cancelled is not None and cancelled():
                raise CancelledError("stopped while reconstructing")
            past = (plan.selection.first_row + start) % group
            stop = min(start + ROWS_AT_ONCE * group - past, count)
            with watch("reconstruct"):
                slices = _reconstructed(recon, plan, sinograms[start:stop], start, cancelled)
            with watch("finish"):
                volume[start:stop] = _finished(slices, plan)
            start = stop
        return volume

    def sinogram(
        self, recipe: Recipe, z: int, *, corrected: bool = True, cancelled: Callable[[], bool] | None = None
    ) -> Preview:
        """Return the sinogram (angle, column) behind a slice, as reconstructed or as the beam leaves it.

        Takes and raises what `slice` does.
        """
        watch = _Watch()
        plan = self._planned(recipe, watch, cancelled)
        _check_inside("z", z, plan.shape[0], recipe)
        if corrected:
            sinograms = self._through(plan, plan.chain, (z, z + 1), watch, cancelled)
            return _preview(sinograms[0].copy(), plan, watch)
        recorded = self._through(plan, plan.chain.without_steps(), (z, z + 1), watch, cancelled)
        return _preview(recorded[0].copy(), plan, watch)

    def projection(self, recipe: Recipe, number: int, *, corrected: bool = True) -> Preview:
        """Return a projection (row, column) in full: raw counts, or line integrals after the flat field.

        Parameters
        ----------
        recipe
            As asked; its stages up to the logarithm matter.
        number
            Line of the sinograms: projections that are kept, sorted by angle.
        corrected
            Whether to divide by the beam and take the logarithm.

        Raises
        ------
        RecipeError
            If there is no projection `number`.
        TomoserviceError
            As `prepare`.
        """
        watch = _Watch()
        if not corrected:
            return self._recorded_projection(recipe, number, watch)
        ground = self._ground(recipe, watch, None)
        _check_inside("projection", number, ground.selection.angles_deg.size, recipe)
        pre = Preprocessor(self.scan, ground.selection, ground.beam, plain_chain(recipe))
        with watch("flat_field"):
            image = pre.projections((number,), slice(0, self.scan.shape[1]))[0]
        return Preview(np.ascontiguousarray(image), recipe, ground.notes, None, watch.seconds)

    def _recorded_projection(self, recipe: Recipe, number: int, watch: _Watch) -> Preview:
        notes: tuple[str, ...]
        try:
            ground = self._ground(recipe, watch, None)
            selection, notes = ground.selection, ground.notes
        except InputError as error:
            # Flats that are missing, say, do not hide what was recorded.
            selection, notes = select(self.scan, recipe), (str(error),)
        _check_inside("projection", number, selection.angles_deg.size, recipe)
        place = int(np.flatnonzero(selection.places == number)[0])
        with watch("read"):
            frame = self.scan.projections[int(selection.projections[place])]
        return Preview(np.ascontiguousarray(frame, np.float32), recipe, notes, None, watch.seconds)

    def plan(self, recipe: Recipe, *, cancelled: Callable[[], bool] | None = None) -> Plan:
        """Return the plan of a recipe, with what is known already; raises what `prepare` does."""
        return self._planned(recipe, _Watch(), cancelled)

    def close(self) -> None:
        """Close the scan."""
        self.scan.close()

    def _planned(
        self,
        recipe: Recipe,
        watch: _Watch,
        cancelled: Callable[[], bool] | None,
        device: DeviceChoice = CPU,
    ) -> Plan:
        shown = recipe.changed(output=Output(units=recipe.output.units, crop=recipe.output.crop))
        stage = recipe.reconstruction
        elsewhere = isinstance(stage, Iterative) and stage.initial_volume not in {None, *self.scan.volumes}
        if elsewhere:
            start = {"initial": "fbp", "initial_volume": None}
            shown = shown.changed(reconstruction=stage.model_copy(update=start))
        ground = self._ground(shown, watch, cancelled)
        key = _part(shown, BEFORE_AXIS)
        with watch("plan"):
            plan = prepare(
                self.scan,
                shown,
                known=Known(ground, self._axes.get(key)),
                device=device,
                memory_bytes=self._budget,
                cancelled=cancelled,
            )
        if plan.axis is not None:
            self._axes.put(key, plan.axis)
        return replace(plan, notes=(*plan.notes, STARTS_ELSEWHERE)) if elsewhere else plan

    def _ground(self, recipe: Recipe, watch: _Watch, cancelled: Callable[[], bool] | None) -> Groundwork:
        def lay() -> Groundwork:
            with watch("look"):
                selection = select(self.scan, recipe)
                return lay_groundwork(
                    self.scan, recipe, selection, self._budget, progress=_silent, cancelled=cancelled
                )

        return self._grounds.keep(ground_stages(recipe).hash, lay)

    def _through(
        self,
        plan: Plan,
        chain: Chain,
        rows: tuple[int, int],
        watch: _Watch,
        cancelled: Callable[[], bool] | None,
    ) -> NDArray[np.float32]:
        """Return sinograms (row, angle, column) of slices (start, stop) after a chain; not to be modified."""
        least, steps = chain.minimum_transmission, chain.steps
        if least is not None:
            # Another first step does not read the scan again.
            steps = (MinusLog(least), *steps)
        known = ground_stages(plan.resolved).hash

        def read(held: tuple[int, int]) -> Block:
            with self._recorded.turn((known, rows)):
                block = self._recorded.find((known, rows), held)
                if block is None:
                    block = self._read(plan, held, watch, cancelled)
                    self._recorded.put((known, rows), block, always=True)
                return block

        return self._between.through(
            Passage(
                known=known,
                steps=steps,
                known_steps=tuple(_known(step, plan.resolved) for step in steps),
                rows=rows,
                selection=plan.selection,
                read=read,
                timed=watch,
                cancelled=cancelled,
                most_bytes=self._roomy_bytes,
            )
        )

    def _read(
        self, plan: Plan, rows: tuple[int, int], watch: _Watch, cancelled: Callable[[], bool] | None
    ) -> Block:
        """Return slices (start, stop) as transmissions, divided by the beam."""
        selection = plan.selection
        pre = Preprocessor(self.scan, selection, plan.beam, Chain(None), piece_bytes(self._budget))
        recorded = pre.recorded(
            selection.detector_rows(*rows),
            selection.columns,
            selection.binning,
            timed=watch,
            cancelled=cancelled,
        )
        return Block(recorded, rows[0])

    def _recon(self, plan: Plan) -> ReconstructionPlan:
        angles, width = plan.selection.angles_deg, plan.selection.width
        stage = plan.resolved.reconstruction
        options = slice_options(stage, plan.size)
        digest = hashlib.sha256(np.ascontiguousarray(angles).data).hexdigest()

        def make() -> ReconstructionPlan:
            return get_reconstructor(stage.method, plan.device).plan(angles, width, options)

        return self._plans.keep((stage.method, plan.device, digest, width, options), make)


class _Cache(Generic[Kept]):
    """Keeps what was used last: so many, or so many bytes of them. Each is made by one thread."""

    def __init__(
        self,
        *,
        count: int | None = None,
        size: int | None = None,
        size_of: Callable[[Kept], int] | None = None,
    ) -> None:
        self._most = count if size is None else size
        self._size_of = size_of or _one
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._turns: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable) -> Kept | None:
        """Return what is kept, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Hashable, value: Kept) -> None:
        """Keep something."""
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = value
            self._size += self._size_of(value)
            while self._most is not None and self._size > self._most and len(self._kept) > 1:
                self._size -= self._size_of(self._kept.popitem(last=False)[1])

    def keep(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """Return what is kept, made now if it is not there."""
        with self._lock:
            turn = self._turns.setdefault(key, threading.Lock())
        try:
            with turn:
                kept = self.get(key)
                if kept is None:
                    kept = make()
                    self.put(key, kept)
                return kept
        finally:
            with self._lock:
                self._turns.pop(key, None)


class _Watch:
    """Sums up the seconds that stages take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began


def _reconstructed(
    recon: ReconstructionPlan,
    plan: Plan,
    sinograms: NDArray[np.float32],
    start: int,
    cancelled: Callable[[], bool] | None,
) -> NDArray[np.float32]:
    """Return the slices (z, y, x) from `start`, to which sinograms (row, angle, column) belong."""
    axes, first_row = plan.axes(start, start + len(sinograms)), plan.selection.first_row + start
    if isinstance(recon, IterativePlan):
        control = IterationControl(cancelled=cancelled or never)
        initial = None if plan.initial is None else plan.initial.slices(start, start + len(sinograms))
        return recon.execute(sinograms, axes, first_row=first_row, initial=initial, control=control)
    return recon.execute(sinograms, axes, first_row=first_row)


def _finished(slices: NDArray[np.float32], plan: Plan) -> NDArray[np.float32]:
    """Return what the volume holds of slices (z, y, x), which are modified."""
    finisher = plan.finisher
    finisher.apply(slices)
    return slices[:, finisher.rows, finisher.columns]


def _preview(image: NDArray[np.float32], plan: Plan, watch: _Watch) -> Preview:
    return Preview(image, plan.resolved, plan.notes, plan.axis, watch.seconds)


def _part(recipe: Recipe, stages: tuple[str, ...]) -> str:
    content: dict[str, Any] = {name: getattr(recipe, name).model_dump(mode="json") for name in stages}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _known(step: Step, resolved: Recipe) -> object:
    """Return what tells a step from others: itself, save for other scans that a phase is retrieved from."""
    if isinstance(step, Phase):
        return replace(step, sources=()), _part(resolved, ("phase",))
    return step


def _check_inside(name: str, number: int, count: int, recipe: Recipe) -> None:
    if not 0 <= number < count:
        raise RecipeError(
            f"{name}: got {number}, but this recipe gives 0 to {count - 1}", name=recipe.name or "recipe"
        )


def _one(_kept: object) -> int:
    return 1


def _silent(_stage: str) -> None:
    """Tell nobody."""
