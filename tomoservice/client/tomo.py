"""The service as seen from a notebook or a beamline session."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tomoservice.catalog import names
from tomoservice.catalog.nodes import (
    find_reconstructions,
    find_run,
    read_record,
    request_cancel,
    request_reconstruction,
    requeue,
)
from tomoservice.catalog.record import ReconstructionRecord, Status
from tomoservice.catalog.states import FINAL_STATES, State
from tomoservice.catalog.transport import NotFoundError, child, disconnect, translated
from tomoservice.catalog.transport import connect as connect_to_tiled
from tomoservice.errors import CatalogError, ServiceUnavailableError
from tomoservice.recipe import Recipe, load_recipe, parse_recipe

LOOK_S = 0.5

RecipeLike = Recipe | Mapping[str, Any] | Path | str
"""A recipe, its content, a file, or the name of a recipe that comes with the package."""


def connect(uri: str, api_key: str | None = None) -> Tomo:
    """Connect to a service.

    Parameters
    ----------
    uri : str
        Address, ``http://host:port``, as `tomoservice serve` prints it.
    api_key : str, optional
        Key that may write; without it, ``TILED_API_KEY`` from the environment, else reading only.

    Raises
    ------
    ServiceUnavailableError
        Nobody answers at `uri`.
    """
    return Tomo(connect_to_tiled(uri, api_key))


class Tomo:
    """A connection to the service.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    """

    def __init__(self, root: Any) -> None:
        self._root = root

    def __repr__(self) -> str:
        return f"<Tomo {self._root.context.api_uri}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        disconnect(self._root)

    @property
    def root(self) -> Any:
        """Tiled client for everything that the service holds."""
        return self._root

    @property
    def raw(self) -> Any:
        """Tiled client for the raw runs; Bluesky's TiledWriter writes here."""
        return child(self._root, names.RAW)

    @property
    def runs(self) -> list[str]:
        """Uids of the raw runs, oldest first."""
        with translated("listing the runs"):
            return list(self.raw)

    def reconstruct(self, run_uid: str, recipe: RecipeLike = "default") -> Job:
        """Queue a reconstruction of a run.

        Parameters
        ----------
        run_uid : str
            The run, as listed by `runs`.
        recipe : Recipe, mapping, Path or str
            What to do.

        Raises
        ------
        NotFoundError
            There is no such run.
        RecipeError
            The recipe is wrong; says which field and why.
        """
        chosen = _recipe(recipe)
        try:
            find_run(self._root, run_uid)
        except NotFoundError as error:
            raise NotFoundError(f"there is no run {run_uid!r}; `runs` lists those there are") from error
        node, _ = request_reconstruction(self._root, run_uid, chosen, requested_by=getpass.getuser())
        return Job(node)

    def reconstructions(self, run_uid: str) -> list[Job]:
        """Return the reconstructions of a run, oldest first."""
        return [Job(node) for node, _ in find_reconstructions(self._root, run_uid)]


class Job:
    """One reconstruction: where it stands, and its volume.

    Parameters
    ----------
    node : tiled Container
        The reconstruction's node.
    """

    def __init__(self, node: Any) -> None:
        self._node = node

    def __repr__(self) -> str:
        return f"<Job {self.path}: {self.state.value}>"

    @property
    def node(self) -> Any:
        """Tiled client of the reconstruction's node."""
        return self._node

    @property
    def path(self) -> str:
        """Path of the node in Tiled."""
        return "/".join(self._node.path_parts)

    @property
    def record(self) -> ReconstructionRecord:
        """What the service says of it now: recipe, status, provenance."""
        return read_record(self._node)

    @property
    def status(self) -> Status:
        """Where it stands now: state, message, time."""
        return self.record.metadata.status

    @property
    def state(self) -> State:
        """The state it is in now."""
        return self.status.state

    @property
    def progress(self) -> dict[str, Any]:
        """How far it is: stage, percent, slabs, seconds left; empty before somebody works on it."""
        try:
            return dict(child(self._node, names.PROGRESS).metadata)
        except NotFoundError:
            return {}

    @property
    def volume(self) -> Any:
        """Lazy array (z, y, x), float32: index it to read a part.

        Raises
        ------
        CatalogError
            It is not there yet, or never will be; says why.
        """
        try:
            return child(self._node, names.VOLUME)
        except NotFoundError as error:
            status = self.status
            raise CatalogError(
                f"{self.path} has no volume: it is {status.state.value}"
                + (f" ({status.message})" if status.message else "")
                + ("" if status.state in FINAL_STATES else "; `wait` returns when it is done")
            ) from error

    def wait(self, timeout: float | None = None, *, show_progress: bool | None = None) -> Job:
        """Wait until the reconstruction is done, and return the job itself.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.
        show_progress : bool, optional
            Whether to show a progress bar; by default if there is a terminal.

        Raises
        ------
        CatalogError
            It failed or was cancelled; says why.
        TimeoutError
            It is not finished after `timeout` seconds. It goes on.
        """
        show = sys.stderr.isatty() if show_progress is None else show_progress
        if show:
            self._wait_with_bar(timeout)
        else:
            self._wait(timeout, _ignore)
        status = self.status
        if status.state is not State.DONE:
            raise CatalogError(f"{self.path} is {status.state.value}: {status.message}")
        return self

    def cancel(self) -> None:
        """Ask for the reconstruction to be stopped; slabs that exist are kept on disk."""
        request_cancel(self._node, requested_by=getpass.getuser())

    def queue_again(self) -> None:
        """Queue a failed or cancelled reconstruction once more; slabs that exist are used."""
        requeue(self._node)

    def _wait(self, timeout: float | None, tell: Callable[[dict[str, Any]], None]) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                state = self.state
                if state in FINAL_STATES:
                    return
                tell(self.progress if state is State.RUNNING else {"stage": state.value})
            except ServiceUnavailableError as error:
                tell({"stage": str(error)})
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.path} is not finished after {timeout:g} s")
            time.sleep(LOOK_S)

    def _wait_with_bar(self, timeout: float | None) -> None:
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(self.path, total=100.0)

            def tell(progress: dict[str, Any]) -> None:
                bar.update(
                    task, description=str(progress.get("stage", "")), completed=progress.get("percent", 0.0)
                )

            self._wait(timeout, tell)


def _recipe(given: RecipeLike) -> Recipe:
    if isinstance(given, Recipe):
        return given
    if isinstance(given, Mapping):
        return parse_recipe(given)
    return load_recipe(given)


def _ignore(_progress: dict[str, Any]) -> None:
    """Show nothing."""
