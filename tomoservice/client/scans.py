"""Scans as people use them: look at one, find its rotation axis, sweep a parameter, reconstruct."""

from __future__ import annotations

import getpass
import json
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np

from tomoservice.catalog import names
from tomoservice.catalog.nodes import (
    find_reconstructions,
    find_sweeps,
    request_reconstruction,
    request_sweep,
)
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.proposals import Proposal
from tomoservice.catalog.steering import checked_priority
from tomoservice.catalog.transport import child
from tomoservice.client.asking import ask
from tomoservice.client.job_table import counted_states
from tomoservice.client.jobs import Job, job_list
from tomoservice.client.pictures import AxisSearch, Picture
from tomoservice.client.recipes import RecipeLike, Recipes
from tomoservice.client.sweeps import Span, SweepView, as_range, checked_values, spread
from tomoservice.client.tables import Table
from tomoservice.errors import RecipeError, TomoserviceError
from tomoservice.recipe import Recipe, parse_sweep
from tomoservice.recipe.shortened import StageName
from tomoservice.recipe.stages.rotation_axis import AxisValue
from tomoservice.sources import open_run
from tomoservice.sources.summary import ScanSummary, StackSummary, describe

TITLES = {"xz": "Plane x, z at y =", "yz": "Plane y, z at x ="}
"""Views whose names say too little."""


class Scan:
    """A scan: a raw run in Tiled, and what can be made of it.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    node : tiled Container
        The raw run.
    """

    def __init__(self, root: Any, node: Any) -> None:
        self._root = root
        self._node = node

    def __repr__(self) -> str:
        sample = f" of {self.sample_name}" if self.sample_name else ""
        return f"<Scan {self.uid[:8]}{sample}, {self.begun}, {self.acquisition}>"

    def _repr_html_(self) -> str:
        found = find_reconstructions(self._root, self.uid)
        facts = [
            *(("sample", self.sample_name), ("begun", self.begun), ("plan", self.plan_name)),
            ("acquisition", self.acquisition),
            *self._facts(),
            ("reconstructions", counted_states(record.state for _, record in found) or "none"),
        ]
        return Table(facts, ("scan", self.uid), lambda fact: fact)._repr_html_()

    def _facts(self) -> list[tuple[str, str]]:
        """Return what the scan is in numbers, or why it is no scan, as titles and texts."""
        try:
            details = self.details
        except TomoserviceError as error:
            return [("cannot be reconstructed", str(error))]
        return [
            ("projections", f"{details.projections} of {details.rows} x {details.columns} pixels"),
            ("angles", f"{details.angles.range_deg:.2f} degrees"),
            ("flats, darks", f"{_count(details.flats)}, {_count(details.darks)}"),
            ("pixel size", _with_unit(details.pixel_size_um, "µm")),
            ("energy", _with_unit(details.energy_kev, "keV")),
            ("distance", _with_unit(details.distance_mm, "mm")),
        ]

    @property
    def uid(self) -> str:
        """Uid of the run."""
        return str(self._node.path_parts[-1])

    @property
    def run(self) -> Any:
        """Tiled client of the raw run."""
        return self._node

    @property
    def sample_name(self) -> str:
        """What was on the stage; empty if nobody said it."""
        return str(self._start.get("sample_name") or "")

    @property
    def plan_name(self) -> str:
        """Plan that took it; empty if nobody said it."""
        return str(self._start.get("plan_name") or "")

    @property
    def begun(self) -> str:
        """When it was begun, local time."""
        seconds = self._start.get("time")
        return (
            f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
            if isinstance(seconds, int | float)
            else "at an unknown time"
        )

    @property
    def acquisition(self) -> str:
        """``running``, ``complete`` or ``failed``, as it was when the scan was looked up."""
        stop = self._node.metadata.get("stop")
        if not stop:
            return "running"
        return "complete" if stop.get("exit_status") == "success" else "failed"

    @property
    def _start(self) -> dict[str, Any]:
        return dict(self._node.metadata.get("start") or {})

    @cached_property
    def details(self) -> ScanSummary:
        """What the scan is in numbers: frames, angles, pixel size, energy. No pixel is read.

        Raises
        ------
        InputError
            The run cannot be read as a scan; says why.
        """
        with open_run(self._node, catalog=child(self._root, names.RAW)) as scan:
            return describe(scan)

    @property
    def proposal(self) -> Proposal:
        """The recipe that was accepted last for a scan like this one, with the reason; else the default."""
        return Recipes(self._root).propose(self.uid)

    @property
    def reconstructions(self) -> Table[Job]:
        """All reconstructions of the scan, oldest first; a table in a notebook."""
        return job_list(self._root, (node for node, _ in find_reconstructions(self._root, self.uid)))

    @property
    def sweeps(self) -> list[SweepView]:
        """All sweeps of the scan, oldest first."""
        return [SweepView(node) for node in find_sweeps(self._root, self.uid)]

    def preview(
        self,
        z: int | None = None,
        *,
        recipe: RecipeLike = "default",
        rotation_axis: float | AxisSearch | None = None,
        view: str = "slice",
        after: StageName | str | None = None,
        max_width: int | None = None,
    ) -> Picture:
        """Return one slice by a recipe, made now; a notebook shows it.

        What an earlier preview has computed is kept: another rotation axis costs one back-projection.

        Parameters
        ----------
        z : int, optional
            Slice of the volume; the middle one by default. For planes their place along y or x, by default
            the middle of the detector's width; for projections the number of one.
        recipe : Recipe, mapping, Path or str
            What to do: a recipe, its content, a file, or the name of a saved or a shipped one.
        rotation_axis : float or AxisSearch, optional
            Detector column of the axis, instead of what the recipe says.
        view : str
            ``slice``, ``sinogram``, ``recorded-sinogram``, ``projection`` or ``recorded-projection``; ``xz``
            or ``yz`` for a plane along the rotation axis, of larger voxels.
        after : StageName or str, optional
            Stage of the recipe after which to look at a slice or sinogram: ``flat_field``, ``outliers``,
            ``stripes``, ``phase``, ``beam_hardening``, ``reconstruction`` or ``rings``. Optional stages that
            follow are left out. What stands before a stage is what comes after the one before it. By default,
            all of them.
        max_width : int, optional
            Columns of the picture, at most; pixels are averaged until it is so. By default all of them, of
            planes 256.

        Raises
        ------
        CatalogError
            The recipe does not fit the scan, or there is no such slice or stage; says which there are.
        ServiceUnavailableError
            Nobody computes.
        """
        chosen = self._recipe(recipe, rotation_axis)
        number = self._middle(chosen, view) if z is None else z
        content = {
            "recipe": chosen.dump(),
            "view": view,
            "number": number,
            "after": after,
            "max_width": max_width,
        }
        answer = ask(
            self._root, f"scans/{self.uid}/preview", content, f"previewing {view} {number} of {self}"
        )
        shape = [int(size) for size in answer.headers["X-Tomo-Shape"].split(",")]
        axis = answer.headers["X-Tomo-Rotation-Axis"]
        binning = int(answer.headers["X-Tomo-Binning"])
        kind = TITLES.get(view, view.replace("-", " ").capitalize())
        return Picture(
            image=np.frombuffer(answer.content, answer.headers["X-Tomo-Dtype"]).reshape(shape),
            title=f"{kind} {number}" + (f" (binned {binning} times)" if binning > 1 else ""),
            units=answer.headers["X-Tomo-Units"],
            rotation_axis=float(axis) if axis and view == "slice" else None,
            seconds=json.loads(answer.headers["X-Tomo-Seconds"]),
        )

    def sinogram(
        self,
        z: int | None = None,
        *,
        recipe: RecipeLike = "default",
        corrected: bool = True,
        after: StageName | str | None = None,
    ) -> Picture:
        """Return the sinogram (angle, column) behind a slice.

        Parameters
        ----------
        z : int, optional
            Slice of the volume; the middle one by default.
        recipe : Recipe, mapping, Path or str
            What was done to it.
        corrected : bool
            Whether all stages have been applied, or just the flat field and the logarithm.
        after : StageName or str, optional
            The last stage that is applied, as `preview` takes it.
        """
        view = "sinogram" if corrected else "recorded-sinogram"
        return self.preview(z, recipe=recipe, view=view, after=after)

    def projection(
        self, number: int | None = None, *, recipe: RecipeLike = "default", corrected: bool = True
    ) -> Picture:
        """Return a projection (row, column) in full.

        Parameters
        ----------
        number : int, optional
            Which of those that the recipe keeps, in the order of their angles; the middle one by default.
        recipe : Recipe, mapping, Path or str
            Its stages up to the logarithm matter.
        corrected : bool
            Whether to divide by the beam and take the logarithm; otherwise it is as recorded.
        """
        return self.preview(number, recipe=recipe, view="projection" if corrected else "recorded-projection")

    def find_axis(
        self,
        method: str | None = None,
        *,
        search: tuple[float, float] | None = None,
        tilt: bool = False,
        recipe: RecipeLike = "default",
    ) -> AxisSearch:
        """Search the rotation axis; a notebook plots the curve.

        Parameters
        ----------
        method : str, optional
            ``auto``, ``fourier``, ``phase_correlation``, ``entropy`` or ``overlap``; by default as the recipe
            says.
        search : (float, float), optional
            First and last column to look at.
        tilt : bool
            Whether to search its tilt, too.
        recipe : Recipe, mapping, Path or str
            What is done to the projections before.

        Raises
        ------
        CatalogError
            There is no such method, or it does not fit the scan; says why.
        ServiceUnavailableError
            Nobody computes.
        """
        asked = Recipes(self._root).resolve(recipe)
        stage: dict[str, Any] = asked.rotation_axis.model_dump(mode="json")
        if method is not None or isinstance(asked.rotation_axis, AxisValue):
            stage = {"method": method or "auto"}
        if search is not None:
            stage["search"] = list(search)
        if tilt:
            stage["tilt"] = True
        content = {"recipe": asked.changed(rotation_axis=stage).dump()}
        found = ask(
            self._root, f"scans/{self.uid}/axis", content, f"searching the rotation axis of {self}"
        ).json()
        return AxisSearch(
            value=found["rotation_axis"],
            confidence=found["confidence"],
            method=found["method"],
            note=found["note"],
            at_window_edge=found["at_window_edge"],
            candidates=np.asarray(found["candidates"], np.float64),
            metric=np.asarray([np.nan if value is None else value for value in found["metric"]], np.float64),
            tilt_deg=found["tilt_deg"],
        )

    def sweep(
        self,
        parameter: str,
        *values: Any,
        recipe: RecipeLike = "default",
        z: int | None = None,
        rows: Span | None = None,
        columns: Span | None = None,
    ) -> SweepView:
        """Make one slice by several recipes that differ in one thing.

        Parameters
        ----------
        parameter : str
            What differs: ``"rotation_axis"``, ``"reconstruction.filter_cutoff"``, ``"stripes"``...
        *values
            First, last and step (``46, 49, 0.5``), or one list of numbers, choices or whole stages.
        recipe : Recipe, mapping, Path or str
            What all of them share.
        z : int, optional
            Slice of the volume; the middle one by default.
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
        RecipeError
            A value does not fit the recipe, or rows or columns are no such pair; says why.
        """
        chosen = Recipes(self._root).resolve(recipe)
        content = {
            "recipe": chosen.dump(),
            "parameter": parameter,
            "values": _values(values),
            "z": self._middle(chosen, "slice") if z is None else z,
            "rows": as_range("rows", rows),
            "columns": as_range("columns", columns),
        }
        node, _ = request_sweep(self._root, self.uid, parse_sweep(content), requested_by=getpass.getuser())
        return SweepView(node)

    def reconstruct(
        self,
        recipe: RecipeLike = "default",
        *,
        rotation_axis: float | AxisSearch | None = None,
        priority: JobPriority | str = "normal",
        virtual: bool = False,
    ) -> Job:
        """Queue a reconstruction of the scan, or only describe it.

        Parameters
        ----------
        recipe : Recipe, mapping, Path or str
            What to do: a recipe, its content, a file, or the name of a saved or a shipped one.
        rotation_axis : float or AxisSearch, optional
            Detector column of the axis, instead of what the recipe says.
        priority : JobPriority or str
            ``"normal"``, or ``"background"``: after everything else.
        virtual : bool
            Whether it is not queued: its volume can be read all the same, and only what somebody reads is
            computed. `Job.queue_again` has the rest computed.

        Raises
        ------
        RecipeError
            The recipe is wrong; says which field and why.
        CatalogError
            There is no such priority.
        """
        urgency = checked_priority(priority)
        chosen = self._recipe(recipe, rotation_axis)
        node, _ = request_reconstruction(
            self._root,
            self.uid,
            chosen,
            requested_by=getpass.getuser(),
            priority=urgency,
            virtual=virtual,
        )
        return Job(node)

    def _recipe(self, given: RecipeLike, rotation_axis: float | AxisSearch | None) -> Recipe:
        recipe = Recipes(self._root).resolve(given)
        if rotation_axis is None:
            return recipe
        if isinstance(rotation_axis, AxisSearch):
            return recipe.changed(rotation_axis=rotation_axis.stage)
        return recipe.changed(rotation_axis={"method": "value", "value": rotation_axis})

    def _middle(self, recipe: Recipe, view: str) -> int:
        """Return the number of the picture in the middle."""
        kept, details = recipe.frames, self.details
        if "projection" in view:
            left = set(range(details.projections)[kept.angles.start : kept.angles.stop : kept.angles.step])
            return len(left.difference(kept.exclude)) // 2
        if view in ("xz", "yz"):
            columns = range(details.columns)[kept.columns.start : kept.columns.stop]
            crop = recipe.output.crop.rows if view == "xz" else recipe.output.crop.columns
            return len(range(len(columns) // kept.binning)[crop.start : crop.stop]) // 2
        rows = range(details.rows)[kept.rows.start : kept.rows.stop]
        return len(rows) // kept.binning // 2


def _values(given: tuple[Any, ...]) -> list[Any]:
    if len(given) == 1 and isinstance(given[0], list | tuple | range | np.ndarray):
        return checked_values(list(given[0]))
    if len(given) == 3 and all(isinstance(value, int | float | np.number) for value in given):
        return spread(*(float(value) for value in given))
    raise RecipeError(
        f"values: got {', '.join(map(repr, given)) or 'none'}, want first, last and step "
        '(scan.sweep("rotation_axis", 46, 49, 0.5)), or one list of values',
        name="sweep",
    )


def _count(stack: StackSummary | None) -> str:
    return "none" if stack is None else str(stack.count)


def _with_unit(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:g} {unit}"
