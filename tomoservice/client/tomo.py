"""The service as seen from a notebook or a beamline session."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tiled.utils import OneShotCachedMap

from tomoservice.catalog import names
from tomoservice.catalog.batches import find_batches
from tomoservice.catalog.finding import find_jobs, resolve_batch, resolve_job
from tomoservice.catalog.ingest import ScanFacts, ingest
from tomoservice.catalog.nodes import (
    find_reconstructions,
    find_run,
)
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import NotFoundError, child, disconnect, translated
from tomoservice.catalog.transport import connect as connect_to_tiled
from tomoservice.client.batches import BATCH_HEAD, Batch, batch_row, submit_batch
from tomoservice.client.job_table import counted_states
from tomoservice.client.jobs import Job, job_list
from tomoservice.client.live import LiveViews
from tomoservice.client.recipes import RecipeLike, Recipes
from tomoservice.client.scan_list import Scans
from tomoservice.client.scans import Scan
from tomoservice.client.sweeps import Span, SweepView
from tomoservice.client.tables import Table


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

    def _repr_html_(self) -> str:
        jobs = find_jobs(self._root, State.QUEUED, State.RUNNING, State.PAUSED)
        at_work = counted_states(node.metadata["status"]["state"] for node in jobs)
        facts = (
            ("scans", str(len(self.scans))),
            ("reconstructions that are not finished", at_work or "none"),
            ("recipes", ", ".join(self.recipes) or "none saved yet"),
        )
        return Table(facts, ("service", str(self._root.context.api_uri)), lambda fact: fact)._repr_html_()

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
        """Tiled client for the raw runs; Bluesky's TiledWriter writes here.

        Its ``v1`` and ``v2`` are databroker's ways of showing runs. They change the table by which Tiled
        chooses the class of a client, of which one is shared by everything in a process: this client has
        its own.
        """
        raw = child(self._root, names.RAW)
        shared = raw.structure_clients
        own = OneShotCachedMap({spec: partial(shared.__getitem__, spec) for spec in shared})
        return raw.new_variation(structure_clients=own)

    @property
    def runs(self) -> list[str]:
        """Uids of the raw runs, oldest first."""
        with translated("listing the runs"):
            return list(self.raw)

    @property
    def scans(self) -> Scans:
        """The scans, newest first: ``scans[0]``, ``scans["4f1c"]``; a table in a notebook."""
        return Scans(self._root)

    @property
    def live(self) -> LiveViews:
        """The scans that are reconstructed while they go on: ``live.current()``, ``live["4f1c"]``."""
        return LiveViews(self._root)

    @property
    def recipes(self) -> Recipes:
        """The saved recipes: save, load, search, propose."""
        return Recipes(self._root)

    def reconstruct(
        self,
        run_uid: str,
        recipe: RecipeLike = "default",
        *,
        priority: JobPriority | str = "normal",
        virtual: bool = False,
    ) -> Job:
        """Queue a reconstruction of a run, or only describe it.

        Parameters
        ----------
        run_uid : str
            The run, as listed by `runs`.
        recipe : Recipe, mapping, Path or str
            What to do: a recipe, its content, a file, or the name of a saved or a shipped one.
        priority : JobPriority or str
            ``"normal"``, or ``"background"``: after everything else.
        virtual : bool
            Whether it is not queued: its volume can be read all the same, and only what somebody reads is
            computed. `Job.queue_again` has the rest computed.

        Raises
        ------
        NotFoundError
            There is no such run.
        RecipeError
            The recipe is wrong; says which field and why.
        CatalogError
            There is no such priority.
        """
        return self._scan(run_uid).reconstruct(recipe, priority=priority, virtual=virtual)

    def batch(
        self,
        runs: Sequence[str | Scan],
        recipes: RecipeLike | Sequence[RecipeLike] = "default",
        *,
        name: str = "",
        priority: JobPriority | str = "background",
    ) -> Batch:
        """Queue reconstructions of many runs, by one recipe or by each of several.

        Parameters
        ----------
        runs : sequence of str or Scan
            The scans, or their uids: ``tomo.scans[:5]``.
        recipes : Recipe, mapping, Path, str, or a list of these
            What to do with each run.
        name : str
            What to call the batch.
        priority : JobPriority or str
            ``"background"``: after everything else; or ``"normal"``.

        Returns
        -------
        Batch
            The service makes a hundred items every few seconds, whatever becomes of this session.

        Raises
        ------
        NotFoundError
            There is no such run, or this key may not read it.
        RecipeError
            A recipe is wrong; says which field and why.
        CatalogError
            The batch is wrong in itself: a run stands there twice, say.
        """
        return submit_batch(self._root, runs, recipes, name, priority)

    @property
    def batches(self) -> Table[Batch]:
        """All batches, the newest first; a table in a notebook."""
        return Table([Batch(self._root, node) for node in find_batches(self._root)], BATCH_HEAD, batch_row)

    def find_batch(self, reference: str) -> Batch:
        """Return a batch by its id or name, of which a unique beginning is enough; ``last`` is the newest.

        Raises
        ------
        NotFoundError
            None fits, or more than one; lists them.
        """
        return Batch(self._root, resolve_batch(self._root, reference))

    def ingest(self, path: Path | str, *, copy_to: Path | None = None, **facts: Any) -> str:
        """Publish a scan file as a run, and return its uid; the same content makes the same run.

        Parameters
        ----------
        path : Path or str
            HDF5 file (DXchange or NXtomo), in a folder that the service reads.
        copy_to : Path, optional
            Folder that the service reads, into which the file is copied first.
        **facts
            What goes before what the file says: `sample_name`, `energy_kev`, `pixel_size_um`,
            `distance_mm`.

        Raises
        ------
        InputError
            The file is no scan, or a fact is none; says which.
        CatalogError
            The service cannot read the file; says which setting to change.
        """
        return ingest(self._root, Path(path), ScanFacts.checked(facts), copy_to=copy_to).run_uid

    def sweep(  # noqa: PLR0913 - what is compared of which run, and where one looks at it
        self,
        run_uid: str,
        parameter: str,
        values: Sequence[Any],
        *,
        recipe: RecipeLike = "default",
        z: int = 0,
        rows: Span | None = None,
        columns: Span | None = None,
    ) -> SweepView:
        """Make one slice by several recipes that differ in one thing.

        Parameters
        ----------
        run_uid : str
            The run, as listed by `runs`.
        parameter : str
            What differs: ``"rotation_axis"``, ``"reconstruction.filter_cutoff"``, ``"stripes"``...
        values : sequence
            Numbers, choices, or whole stages; `spread` makes evenly spaced numbers.
        recipe : Recipe, mapping, Path or str
            What all of them share.
        z : int
            Slice of the volume.
        rows : (int, int), optional
            Rows of the slice that are shown: the first, and the first that is not shown any more, or None for
            all that follow. By default all rows.
        columns : (int, int), optional
            Columns of the slice that are shown, likewise.

        Returns
        -------
        SweepView
            Its pictures are made when they are looked at.

        Raises
        ------
        NotFoundError
            There is no such run.
        RecipeError
            A value does not fit the recipe, or rows or columns are no such pair; says why.
        """
        scan = self._scan(run_uid)
        return scan.sweep(parameter, values, recipe=recipe, z=z, rows=rows, columns=columns)

    def reconstructions(self, run_uid: str) -> Table[Job]:
        """Return the reconstructions of a run, oldest first."""
        return job_list(self._root, (node for node, _ in find_reconstructions(self._root, run_uid)))

    def jobs(self, *states: State | str, run_uid: str | None = None, most: int | None = None) -> Table[Job]:
        """Return reconstructions of all runs, the newest request first; a table in a notebook.

        Parameters
        ----------
        *states : State or str
            Only those in one of these states: ``tomo.jobs("queued", "running")``.
        run_uid : str, optional
            Only those of this run.
        most : int, optional
            No more than so many.
        """
        wanted = [State(state) for state in states]
        return job_list(self._root, find_jobs(self._root, *wanted, run_uid=run_uid, most=most))

    def job(self, reference: str) -> Job:
        """Return one reconstruction.

        Parameters
        ----------
        reference : str
            Path, ``run/id`` or ``id``, of which a unique beginning is enough; ``last`` is the newest.

        Raises
        ------
        NotFoundError
            None fits, or more than one; lists them.
        """
        return Job(resolve_job(self._root, reference))

    def rerun(self, job: Job | str) -> Job:
        """Do a reconstruction once more, from the same raw data by the same values.

        Parameters
        ----------
        job : Job or str
            The reconstruction, or what `job` takes to find it.

        Returns
        -------
        Job
            The new one; once it is done, its `comparison` says whether it came out the same.

        Raises
        ------
        InputError
            The raw data have changed; says which file, and what of it.
        CatalogError
            The reconstruction is not done.
        """
        return (job if isinstance(job, Job) else self.job(job)).rerun()

    def _scan(self, run_uid: str) -> Scan:
        try:
            return Scan(self._root, find_run(self._root, run_uid))
        except NotFoundError as error:
            raise NotFoundError(f"there is no run {run_uid!r}; `scans` lists those there are") from error
