"""One reconstruction as seen from a notebook: its state, its volume, and what can be done with it."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomoservice.catalog import names, steering
from tomoservice.catalog.controls import read_wishes
from tomoservice.catalog.nodes import read_record, reread
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.record import PartialVolume, ReconstructionRecord, Status
from tomoservice.catalog.reruns import Comparison, compare, request_rerun
from tomoservice.catalog.states import FINAL_STATES, FollowUpState, State
from tomoservice.catalog.transport import NotFoundError, child, root_of, translated
from tomoservice.client.job_table import HEAD, JobRow, Outlook, SampleNames, job_row
from tomoservice.client.node_view import NodeView
from tomoservice.client.tables import Table
from tomoservice.errors import CatalogError, ServiceUnavailableError

if TYPE_CHECKING:
    from tomoservice.export import ExportOptions

LOOK_S = 0.5
DESCRIBE_LOOK_S = 0.1
DESCRIBED_S = 10.0
"""How long after a request its volume is waited for."""
ENDED = FINAL_STATES | {State.VIRTUAL}
"""States that last until somebody does something."""


class Job(NodeView):
    """One reconstruction: where it stands, and its volume.

    Parameters
    ----------
    node : tiled Container
        The reconstruction's node.
    """

    def __repr__(self) -> str:
        return f"<Job {self.path}: {self.state.value}>"

    def _repr_html_(self) -> str:
        reread(self._node)
        root = root_of(self._node)
        row = self.row(SampleNames(root), Outlook(root))
        facts = [(title, cell) for title, cell in zip(HEAD[1:], row.cells()[1:], strict=True) if cell]
        bar = ""
        if row.state == State.RUNNING:
            percent = self.progress.get("percent", 0.0)
            bar = f'<progress max="100" value="{percent:.1f}" style="width: 24em"></progress>'
        return Table(facts, ("reconstruction", self.path), lambda fact: fact)._repr_html_() + bar

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

    def row(self, samples: SampleNames, outlook: Outlook) -> JobRow:
        """Return what a list says of it, from what was read last; only progress is asked for.

        Parameters
        ----------
        samples : SampleNames
            Knows what the samples are called.
        outlook : Outlook
            Knows what is wanted of those that are not finished.
        """
        running = self._node.metadata.get("status", {}).get("state") == State.RUNNING
        progress = self.progress if running else {}
        return job_row(self._node, progress, samples(self._node.path_parts[-2]), outlook(self._node))

    @property
    def volume(self) -> Any:
        """Lazy array (z, y, x), float32: index it to read a part.

        The service describes it within a second or so of the request, which is waited for.

        Raises
        ------
        CatalogError
            It is not there yet, or never will be; says why.
        """
        while True:
            try:
                return child(self._node, names.VOLUME)
            except NotFoundError as error:
                self._wait_for_description(error)

    def _wait_for_description(self, error: NotFoundError) -> None:
        """Return in a moment if it has just been asked for; else say why there is no volume."""
        metadata = self.record.metadata
        status = metadata.status
        age_s = time.time() - (metadata.requested_at or 0.0)
        if status.state in FINAL_STATES or age_s > DESCRIBED_S:
            raise CatalogError(
                f"{self.path} has no volume: it is {status.state.value}"
                + (f" ({status.message})" if status.message else "")
                + _what_to_await(status.state)
            ) from error
        time.sleep(DESCRIBE_LOOK_S)

    @property
    def pyramid(self) -> Any:
        """The volume at ever lower resolutions: arrays (z, y, x) 0, 1, ... from fine to coarse.

        Raises
        ------
        CatalogError
            It is not there; says why.
        """
        status = self.record.metadata.pyramid
        if status is None or status.state is not FollowUpState.COMPLETE:
            why = "none was asked for" if status is None else f"{status.state.value} {status.message}".strip()
            raise CatalogError(f"{self.path} is {self.state.value} and has no pyramid: {why}")
        return child(self._node, names.PYRAMID)

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
            It failed or was cancelled; says why. Or it is virtual, and nobody is going to complete it.
        TimeoutError
            It is not finished after `timeout` seconds. It goes on.
        """
        show = sys.stderr.isatty() if show_progress is None else show_progress
        if show:
            self._wait_with_bar(timeout)
        else:
            self._wait(timeout)
        status = self.status
        if status.state is State.VIRTUAL:
            raise CatalogError(
                f"{self.path} is virtual: it is computed only where somebody looks, and never done; read its "
                "`volume` slice by slice, or have all of it computed with `queue_again` (`tomoservice retry`)"
            )
        if status.state is not State.DONE:
            raise CatalogError(f"{self.path} is {status.state.value}: {status.message}")
        return self

    def export(
        self, path: Path | str, options: ExportOptions | None = None, *, show_progress: bool | None = None
    ) -> Path:
        """Write the volume to a file or folder whose ending names the format, and return its path.

        Parameters
        ----------
        path : Path or str
            ``.h5`` (NXtomoproc), ``.ome.zarr`` (OME-Zarr), ``.zarr`` or ``.tiff`` (a folder of slices).
        options : ExportOptions, optional
            Another type of numbers, a part of the volume, whether to replace what stands there
            (``from tomoservice.export import ExportOptions``).
        show_progress : bool, optional
            Whether to show a progress bar; by default if there is a terminal.

        Raises
        ------
        CatalogError
            It is not done.
        OutputError
            Something stands there already, or cannot be written.
        """
        from tomoservice.client.exporting import export_node

        show = sys.stderr.isatty() if show_progress is None else show_progress
        return export_node(self._node, Path(path), options, show_progress=show)

    def cancel(self) -> None:
        """Ask for the reconstruction to be stopped; slabs that exist are kept on disk."""
        steering.cancel(self._node, requested_by=getpass.getuser())

    def stop(self) -> None:
        """Ask for the reconstruction to be ended, and for what there is of its volume to stay readable.

        Slices that were not computed read as NaN; `kept` says which were.
        """
        steering.stop(self._node, requested_by=getpass.getuser())

    def pause(self) -> None:
        """Ask for the reconstruction to be left alone until `resume`; takes effect within a slab.

        Raises
        ------
        CatalogError
            It is finished.
        """
        steering.pause(self._node, requested_by=getpass.getuser())

    def resume(self) -> None:
        """Go on with a paused reconstruction, from the slabs that exist."""
        steering.resume(self._node)

    @property
    def priority(self) -> JobPriority:
        """How urgent it is now."""
        return read_wishes(self._node).priority or self.record.metadata.priority

    def set_priority(self, priority: JobPriority | str) -> None:
        """Make it more or less urgent, also while it is being computed.

        Parameters
        ----------
        priority : JobPriority or str
            ``"normal"``, or ``"background"``: after everything else.
        """
        steering.change_priority(self._node, priority, requested_by=getpass.getuser())

    @property
    def kept(self) -> PartialVolume | None:
        """What there is of the volume if it was stopped and kept."""
        return self.record.metadata.kept

    def queue_again(self) -> None:
        """Queue a failed or cancelled reconstruction once more, or a virtual one; slabs that exist are used.

        Raises
        ------
        CatalogError
            It is in another state, or somebody is at work on it.
        """
        steering.requeue(self._node)

    def rerun(self) -> Job:
        """Queue the reconstruction once more, every automatic value as it came out, and return the new one.

        It is refused, or fails before anything is computed, if the raw data have changed. Once it is done,
        `comparison` says whether it came out the same.

        Raises
        ------
        InputError
            The raw data have changed; says which file, and what of it.
        CatalogError
            This one is not done.
        """
        return Job(request_rerun(self._node, getpass.getuser()))

    @property
    def comparison(self) -> Comparison | None:
        """Whether a rerun came out the same, and what may be why not; None of what is no rerun.

        Raises
        ------
        CatalogError
            It is not done.
        """
        return compare(self.record)

    def delete(self) -> None:
        """Delete the reconstruction; whoever works on it stops.

        Its volume stays on disk until a conductor sweeps it, a day later unless the settings say
        otherwise; until then, `tomoservice catalog rebuild` brings both back if a conductor has worked on
        it. Another reconstruction under the same key begins anew, and shows nothing of this one.
        """
        with translated(f"deleting {self.path}"):
            self._node.delete(recursive=True, external_only=False)

    def _wait(self, timeout: float | None, tell: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Return when there is nothing to wait for; with `tell`, somebody is told how far it is."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                state = self.state
                if state in ENDED:
                    return
                if tell is not None:
                    tell(self.progress if state is State.RUNNING else {"stage": state.value})
            except ServiceUnavailableError as error:
                if tell is not None:
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


def _what_to_await(state: State) -> str:
    """Return what there may still be of a volume that has not been described, as the end of a sentence."""
    if state in FINAL_STATES:
        return ""
    # Its run is not there yet, or its shape depends on an axis that is searched for.
    return "; ask again in a while" if state is State.VIRTUAL else "; `wait` returns when it is done"


def job_list(root: Any, nodes: Iterable[Any]) -> Table[Job]:
    """Return reconstructions as a list that shows itself as a table.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    nodes : iterable of tiled Container
        Their nodes.
    """
    samples, outlook = SampleNames(root), Outlook(root)
    return Table([Job(node) for node in nodes], HEAD, lambda job: job.row(samples, outlook).cells())
