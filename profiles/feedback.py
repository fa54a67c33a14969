"""Results for plans that go on by them: a reconstruction of the run just made."""

from __future__ import annotations

import asyncio
import getpass
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from bluesky import plan_stubs as bps
from numpy.typing import NDArray

from callbacks.rules import VolumeKind
from tomoservice.catalog.states import FINAL_STATES, State
from tomoservice.errors import CatalogError

if TYPE_CHECKING:
    from bluesky.utils import Msg

    from tomoservice.client import Job, Tomo
    from tomoservice.client.recipes import RecipeLike
    from tomoservice.recipe import Recipe

LOOK_S = 0.2
NOISE_OF_LAPLACIAN = 6.0
"""Standard deviation of `_laplacian` on white noise of standard deviation 1: its weights are 1, 2 and 4."""
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class ReconstructionResult:
    """What a plan gets of a reconstruction."""

    run_uid: str
    """Run that was reconstructed."""
    path: str
    """Path of the reconstruction in Tiled."""
    rotation_axis: float | None
    """Detector column of the axis, as it was given or found; None if each slice has its own."""
    image: NDArray[np.float32]
    """One slice (y, x), grey values as the recipe says."""
    metrics: Mapping[str, float]
    """Of this slice: `contrast` (standard deviation within the circle that all views see), `noise` (standard
    deviation of the noise, from differences between neighbours) and `snr`, their ratio."""

    def change_from(self, other: ReconstructionResult) -> float:
        """Return by how much the slice differs from another's: rms difference over this one's contrast."""
        inside = _circle(self.image)
        difference = (self.image - other.image)[inside]
        return float(np.sqrt(np.mean(difference**2)) / max(self.metrics["contrast"], np.finfo(float).tiny))


def reconstruct_and_wait(
    tomo: Tomo,
    run_uid: str,
    recipe: RecipeLike = "default",
    *,
    volume: VolumeKind | str = VolumeKind.VIRTUAL,
    z: int | None = None,
    timeout_s: float = 300.0,
) -> Generator[Msg, Any, ReconstructionResult]:
    """Ask for a reconstruction of a run that has ended, and wait for it: a plan stub.

    The RunEngine is not blocked: pausing and Ctrl-C work as ever, and after `resume` it waits for the same
    reconstruction. A plan that is aborted leaves the reconstruction as it is.

    Parameters
    ----------
    tomo : Tomo
        The service, as `tomoservice.connect` returns it.
    run_uid : str
        The run; what a plan that makes one returns.
    recipe : Recipe, mapping, Path or str
        What to do: a recipe, its content, a file, or the name of a saved or a shipped one.
    volume : VolumeKind or str
        ``"virtual"``: one slice is computed now and all others when somebody looks; ``"full"``: all of it.
    z : int, optional
        The slice that is returned; the middle one by default.
    timeout_s : float
        How long to wait at most, for the run to be complete in Tiled included.

    Returns
    -------
    ReconstructionResult
        The slice, what was measured on it, the rotation axis and the path.

    Raises
    ------
    TimeoutError
        It takes longer; it goes on.
    CatalogError
        It failed or was cancelled, or the recipe does not fit the run; says why.
    RecipeError
        The recipe is wrong.
    ServiceUnavailableError
        The service does not answer, or nobody computes.
    """
    errand = _Errand(tomo, run_uid, VolumeKind(volume), z, timeout_s)
    errand.begin(recipe)
    try:
        # Where the RunEngine goes back to when it is paused.
        yield from bps.checkpoint()
        yield from bps.wait_for([errand.finished])
        return errand.result()
    finally:
        errand.abandon()


class _Errand:
    """Asks for a reconstruction in a thread of its own, and looks until it is there."""

    def __init__(self, tomo: Tomo, run_uid: str, volume: VolumeKind, z: int | None, timeout_s: float) -> None:
        self._tomo = tomo
        self._run_uid = run_uid
        self._volume = volume
        self._z = z
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._waits_for = f"run {run_uid} to be complete in Tiled"
        self._abandoned = threading.Event()
        self._done = threading.Event()
        self._result: ReconstructionResult | None = None
        self._error: Exception | None = None

    def begin(self, recipe: RecipeLike) -> None:
        threading.Thread(
            target=self._run, args=(recipe,), name="tomoservice-reconstruct-and-wait", daemon=True
        ).start()

    def abandon(self) -> None:
        self._abandoned.set()

    async def finished(self) -> None:
        """Return when it is over; may be awaited again."""
        while not (self._done.is_set() or self._abandoned.is_set() or self._is_late()):
            await asyncio.sleep(LOOK_S / 4)

    def result(self) -> ReconstructionResult:
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise self._too_late()
        return self._result

    def _run(self, recipe: RecipeLike) -> None:
        try:
            self._result = self._obtain(recipe)
        except Exception as error:  # noqa: BLE001 - raised again where the plan waits
            self._error = error
        finally:
            self._done.set()

    def _obtain(self, given: RecipeLike) -> ReconstructionResult:
        self._wait_for_run()
        recipe = self._tomo.recipes.resolve(given)
        job = self._ask(recipe)
        self._waits_for = f"{job.path}, which goes on"
        if self._volume is VolumeKind.VIRTUAL:
            picture = self._tomo.scans[self._run_uid].preview(self._z, recipe=recipe)
            return _result(self._run_uid, job, picture.image, picture.rotation_axis)
        self._wait_until_done(job)
        volume = job.volume
        image = np.asarray(volume[len(volume) // 2 if self._z is None else self._z])
        resolved = (job.record.metadata.model_extra or {}).get("resolved_recipe", {})
        return _result(self._run_uid, job, image, resolved.get("rotation_axis", {}).get("value"))

    def _ask(self, recipe: Recipe) -> Job:
        from tomoservice.catalog.nodes import request_reconstruction
        from tomoservice.client import Job

        virtual = self._volume is VolumeKind.VIRTUAL
        node, _ = request_reconstruction(
            self._tomo.root, self._run_uid, recipe, requested_by=getpass.getuser(), virtual=virtual
        )
        return Job(node)

    def _wait_for_run(self) -> None:
        from tomoservice.catalog.nodes import find_run
        from tomoservice.catalog.transport import NotFoundError

        while True:
            try:
                if find_run(self._tomo.root, self._run_uid).metadata.get("stop"):
                    return
            except NotFoundError:
                # Whoever publishes it is not as far.
                pass
            self._pause()

    def _wait_until_done(self, job: Job) -> None:
        while (status := job.status).state not in FINAL_STATES:
            self._pause()
        if status.state is not State.DONE:
            raise CatalogError(f"{job.path} is {status.state.value}: {status.message}")

    def _pause(self) -> None:
        if self._is_late() or self._abandoned.wait(LOOK_S):
            raise self._too_late()

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def _too_late(self) -> TimeoutError:
        return TimeoutError(f"waited {self._timeout_s:g} s in vain for {self._waits_for}")


def _result(
    run_uid: str, job: Job, image: NDArray[np.float32], rotation_axis: float | None
) -> ReconstructionResult:
    return ReconstructionResult(run_uid, job.path, rotation_axis, image, measure(image))


def measure(image: NDArray[np.float32]) -> dict[str, float]:
    """Return contrast, noise and their ratio of a slice (y, x).

    The noise is what is left of it after a Laplacian mask that answers neither to steps nor to ramps
    (Immerkaer, doi:10.1006/cviu.1996.0060), by the median, which edges do not move.
    """
    contrast = float(np.std(image[_circle(image)], dtype=np.float64))
    inner = _laplacian(image)[_circle(image)[1:-1, 1:-1]]
    noise = float(MAD_TO_SIGMA * np.median(np.abs(inner - np.median(inner))) / NOISE_OF_LAPLACIAN)
    return {"contrast": contrast, "noise": noise, "snr": contrast / max(noise, np.finfo(float).tiny)}


def _laplacian(image: NDArray[np.float32]) -> NDArray[np.float64]:
    values = image.astype(np.float64)
    across = values[:, :-2] - 2 * values[:, 1:-1] + values[:, 2:]
    found: NDArray[np.float64] = across[:-2] - 2 * across[1:-1] + across[2:]
    return found


def _circle(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    rows, columns = (np.arange(size) - (size - 1) / 2 for size in image.shape)
    inside: NDArray[np.bool_] = rows[:, None] ** 2 + columns**2 < (0.47 * min(image.shape)) ** 2
    return inside
