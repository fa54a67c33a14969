"""Batches as seen from a notebook: many runs by one recipe or several, watched and steered as one."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tomoservice.catalog.batch_records import (
    WAITING,
    BatchRecord,
    BatchState,
    BatchSummary,
    ItemStatus,
    checked_batch,
    state_of,
    summary_of,
)
from tomoservice.catalog.batches import (
    item_nodes,
    item_statuses,
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
        record, items = self.record, item_statuses(self._root, self._node)
        name = f" {record.metadata.name!r}" if record.metadata.name else ""
        return f"<Batch {record.batch_id}{name}: {self._state(items).value}; {summary_of(items)}>"

    def _repr_html_(self) -> str:
        return self.items._repr_html_()

    @property
    def id(self) -> str:
        """Key of the batch."""
        return str(self._node.path_parts[-1])

    @property
    def record(self) -> BatchRecord:
        """What was asked for."""
        return BatchRecord.from_node(self._node)

    @property
    def items(self) -> Table[ItemStatus]:
        """Its items and how they fare now, in the order of work; a table in a notebook."""
        names = self.record.metadata.recipe_names
        items = item_statuses(self._root, self._node)
        return Table(items, HEAD, lambda item: self._cells(item, names))

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
        items = self.record.items
        if not 1 <= number <= len(items):
            raise CatalogError(f"{self.path} has no item {number!r}; there are 1 to {len(items)}")
        return Job(child(self._root, *items[number - 1].path.split("/")))

    @property
    def summary(self) -> BatchSummary:
        """How it went, as far as it has: how many are done, how long that took, why others failed."""
        return summary_of(item_statuses(self._root, self._node))

    @property
    def state(self) -> BatchState:
        """Where it stands as a whole."""
        return self._state(item_statuses(self._root, self._node))

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

    def _state(self, items: Sequence[ItemStatus]) -> BatchState:
        verbs = order_of(self._node).verbs
        return state_of(
            self.record.metadata,
            [item.state for item in items],
            is_paused=Verb.PAUSE in verbs,
            is_ending=bool(verbs & ENDING),
        )

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
                summary = self.summary
                if self.record.metadata.message:
                    raise CatalogError(f"{self.path} was {self.record.metadata.message}")
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
            task = bar.add_task(self.path, total=len(self.record.items))

            def tell(summary: BatchSummary) -> None:
                bar.update(task, description=str(summary), completed=summary.finished)

            return self._wait(timeout, tell)


BATCH_HEAD = ("batch", "name", "state", "items", "done", "failed", "priority", "by")


def batch_row(batch: Batch) -> tuple[str, ...]:
    """Return what stands below the titles in `BATCH_HEAD`."""
    said, summary = batch.record.metadata, batch.summary
    counts = (str(summary.items), str(summary.done), str(summary.failed))
    return batch.id, said.name, batch.state.value, *counts, said.priority.value, said.requested_by


def submit_batch(
    root: Any,
    runs: Sequence[str],
    recipes: RecipeLike | Sequence[RecipeLike],
    name: str,
    priority: JobPriority | str,
) -> Batch:
    """Ask for every run to be reconstructed by every recipe.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    runs : sequence of str
        Uids of the runs.
    recipes
        A recipe, or several: recipes, contents, files, or names.
    name : str
        What people call the batch.
    priority : JobPriority or str
        How urgent it is.
    """
    several: list[Any] = list(recipes) if isinstance(recipes, list | tuple) else [recipes]
    known = Recipes(root)
    wanted = checked_batch(
        {
            "runs": [runs] if isinstance(runs, str) else list(runs),
            "recipes": [known.resolve(recipe).dump() for recipe in several],
            "name": name,
            "priority": priority,
            "requested_by": getpass.getuser(),
        }
    )
    with translated("asking for a batch"):
        return Batch(root, request_batch(root, wanted))
