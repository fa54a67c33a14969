"""Batches as seen from a notebook: many runs by one recipe or several, watched and steered as one."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tomoservice.catalog.additions import add_to_batch
from tomoservice.catalog.batch_records import BatchRecord, checked_batch
from tomoservice.catalog.batch_standing import (
    WAITING,
    BatchState,
    BatchSummary,
    ItemStatus,
    state_of,
    summary_of,
)
from tomoservice.catalog.batches import (
    BatchLook,
    batch_record,
    item_nodes,
    look_at_batch,
    move_item,
    reorder_items,
    request_batch,
    resume_batch,
    retry_batch,
    steer_batch,
)
from tomoservice.catalog.controls import ENDING, Verb
from tomoservice.catalog.orders import order_of
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.transport import child, translated
from tomoservice.client.job_table import SampleNames
from tomoservice.client.jobs import Job
from tomoservice.client.node_view import NodeView
from tomoservice.client.recipes import RecipeLike, Recipes
from tomoservice.client.scans import Scan
from tomoservice.client.tables import Table
from tomoservice.errors import CatalogError, ServiceUnavailableError

LOOK_S = 1.0
"""How often to look while waiting, in seconds."""
HEAD = ("#", "state", "run", "sample", "recipe", "seconds", "message")


class Batch(NodeView):
    """A batch: its items, how they fare, and what can be done with all of them.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    node : tiled Container
        The batch's node.
    """

    def __init__(self, root: Any, node: Any) -> None:
        super().__init__(node)
        self._root = root
        self._samples = SampleNames(root)

    def __repr__(self) -> str:
        look = self._look()
        name = f" {look.record.metadata.name!r}" if look.record.metadata.name else ""
        return f"<Batch {self.id}{name}: {_state_of(look).value}; {summary_of(look.statuses)}>"

    def _repr_html_(self) -> str:
        return self.items._repr_html_()

    @property
    def id(self) -> str:
        """Key of the batch."""
        return str(self._node.path_parts[-1])

    @property
    def record(self) -> BatchRecord:
        """What was asked for, and what has been added by now."""
        return batch_record(self._node)

    @property
    def items(self) -> Table[ItemStatus]:
        """Its items and how they fare now, in the order of work; a table in a notebook."""
        look = self._look()
        names = look.record.recipe_names
        return Table(look.statuses, HEAD, lambda item: self._cells(item, names))

    @property
    def jobs(self) -> list[Job]:
        """The reconstructions that are there, in the order in which they are worked on."""
        nodes = item_nodes(self._root, self.record)
        return [Job(nodes[number]) for number in order_of(self._node).sort(list(nodes))]

    def job(self, number: int) -> Job:
        """Return one reconstruction by the number of its item, from 1.

        Raises
        ------
        CatalogError
            There is no such item, or the service has not made it yet.
        """
        record = self.record
        found = next((item for item in record.items if item.number == number), None)
        if found is None:
            raise CatalogError(f"{self.path} has no item {number!r}; there are 1 to {record.last}")
        return Job(child(self._root, *found.path.split("/")))

    @property
    def summary(self) -> BatchSummary:
        """How it went, as far as it has: how many are done, how long that took, why others failed."""
        return summary_of(self._look().statuses)

    @property
    def state(self) -> BatchState:
        """Where it stands as a whole."""
        return _state_of(self._look())

    def add(
        self,
        runs: str | Scan | Sequence[str | Scan],
        recipes: RecipeLike | Sequence[RecipeLike] | None = None,
    ) -> list[int]:
        """Add runs, by each of some recipes; the batch may be paused or finished.

        Parameters
        ----------
        runs : str, Scan, or a sequence of these
            The scans, or their uids.
        recipes : Recipe, mapping, Path, str, or a list of these, optional
            What to do with each run; by default what the batch began with.

        Returns
        -------
        list of int
            Numbers of the new items. The service makes a hundred every few seconds.

        Raises
        ------
        IllegalTransitionError
            The batch was cancelled, stopped or refused: ask for another one.
        NotFoundError, NotAllowedError
            There is no such run, or it is not for the people that the batch is for.
        ConflictError
            An item is in the batch already.
        RecipeError, CatalogError
            What is to be added is wrong in itself; says what.
        """
        contents = None if recipes is None else _contents(self._root, recipes)
        added = add_to_batch(self._root, self._node, uids_of(runs), contents, getpass.getuser())
        return [added.metadata.first + index for index in range(added.metadata.size)]

    def wait(self, timeout: float | None = None, *, show_progress: bool | None = None) -> BatchSummary:
        """Wait until every item is done, failed or cancelled, and return how it went.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.
        show_progress : bool, optional
            Whether to show a progress bar; by default if there is a terminal.

        Raises
        ------
        CatalogError
            The service refuses to make its items; says why.
        TimeoutError
            It is not finished after `timeout` seconds. It goes on.
        """
        show = sys.stderr.isatty() if show_progress is None else show_progress
        if show:
            return self._wait_with_bar(timeout)
        return self._wait(timeout, lambda _: None)

    def pause(self) -> None:
        """Begin no item until `resume`; what is being computed is put aside, with its slabs kept."""
        self._steer(Verb.PAUSE)

    def resume(self) -> None:
        """Go on."""
        resume_batch(self._node)

    def cancel(self) -> None:
        """End everything that is not finished."""
        self._steer(Verb.CANCEL)

    def stop(self) -> None:
        """End everything that is not finished, and keep what there is of the volumes readable."""
        self._steer(Verb.STOP)

    def retry(self) -> list[str]:
        """Queue the failed items again, and return their paths; slabs that exist are used.

        If the batch was cancelled or stopped, those that this ended are queued again, too.
        """
        return retry_batch(self._root, self._node)

    def move(self, item: int, to: int) -> None:
        """Move an item to another place in the order.

        Parameters
        ----------
        item : int
            Number of the item, as `items` shows it.
        to : int
            Its new place: 1 is worked on first.
        """
        move_item(self._node, item, to)

    def reorder(self, items: Sequence[int]) -> None:
        """Work on some items first, in this order; the others follow as they stood.

        Parameters
        ----------
        items : sequence of int
            Numbers of items, as `items` shows them.
        """
        reorder_items(self._node, items)

    def _steer(self, verb: Verb) -> None:
        steer_batch(self._root, self._node, verb, requested_by=getpass.getuser())

    def _look(self) -> BatchLook:
        return look_at_batch(self._root, self._node)

    def _cells(self, status: ItemStatus, recipe_names: Sequence[str]) -> tuple[str, ...]:
        item = status.item
        return (
            str(item.number),
            WAITING if status.state is None else status.state.value,
            item.run_uid[:8],
            self._samples(item.run_uid),
            recipe_names[item.recipe],
            "" if status.seconds is None else f"{status.seconds:.1f}",
            status.message,
        )

    def _wait(self, timeout: float | None, tell: Callable[[BatchSummary], None]) -> BatchSummary:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                look = self._look()
                summary, message = summary_of(look.statuses), look.record.metadata.message
                if message:
                    raise CatalogError(f"{self.path} was {message}")
                tell(summary)
                if summary.finished == summary.items:
                    return summary
            except ServiceUnavailableError:
                # It goes on without us, and so does waiting for it.
                pass
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.path} is not finished after {timeout:g} s")
            time.sleep(LOOK_S)

    def _wait_with_bar(self, timeout: float | None) -> BatchSummary:
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(self.path, total=None)

            def tell(summary: BatchSummary) -> None:
                # Somebody may add to it meanwhile.
                done, all_of_it = summary.finished, summary.items
                bar.update(task, description=str(summary), completed=done, total=all_of_it)

            return self._wait(timeout, tell)


def _state_of(look: BatchLook) -> BatchState:
    verbs = look.order.verbs
    return state_of(
        look.record,
        [item.state for item in look.statuses],
        is_paused=Verb.PAUSE in verbs,
        is_ending=bool(verbs & ENDING),
    )


BATCH_HEAD = ("batch", "name", "state", "items", "done", "failed", "priority", "by")


def batch_row(batch: Batch) -> tuple[str, ...]:
    """Return what stands below the titles in `BATCH_HEAD`."""
    look = batch._look()
    said, summary = look.record.metadata, summary_of(look.statuses)
    counts = (str(summary.items), str(summary.done), str(summary.failed))
    return batch.id, said.name, _state_of(look).value, *counts, said.priority.value, said.requested_by


def submit_batch(
    root: Any,
    runs: str | Scan | Sequence[str | Scan],
    recipes: RecipeLike | Sequence[RecipeLike],
    name: str,
    priority: JobPriority | str,
) -> Batch:
    """Ask for every run to be reconstructed by every recipe.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    runs : str, Scan, or a sequence of these
        The scans, or their uids.
    recipes
        A recipe, or several: recipes, contents, files, or names.
    name : str
        What people call the batch.
    priority : JobPriority or str
        How urgent it is.
    """
    wanted = checked_batch(
        {
            "runs": uids_of(runs),
            "recipes": _contents(root, recipes),
            "name": name,
            "priority": priority,
            "requested_by": getpass.getuser(),
        }
    )
    with translated("asking for a batch"):
        return Batch(root, request_batch(root, wanted))


def uids_of(runs: str | Scan | Sequence[str | Scan]) -> list[str]:
    """Return the uids of scans that are given as such, or as they are."""
    several = [runs] if isinstance(runs, str | Scan) else runs
    return [run.uid if isinstance(run, Scan) else run for run in several]


def _contents(root: Any, recipes: RecipeLike | Sequence[RecipeLike]) -> list[dict[str, Any]]:
    """Return the contents of one recipe or several."""
    several: list[Any] = list(recipes) if isinstance(recipes, list | tuple) else [recipes]
    known = Recipes(root)
    return [known.resolve(recipe).dump() for recipe in several]
