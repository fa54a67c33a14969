"""What routes answer: scans and reconstructions as people see them in a list."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tomoservice.catalog import names
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import FollowUpState, State
from tomoservice.sources.run_outline import RunOutline
from tomoservice.sources.summary import AngleSummary, StackSummary

EXAMPLE_RUN = "0b4d6b1e-6c1d-4f7e-9a53-0d2a3c1f7e11"
EXAMPLE_PATH = f"{names.PROCESSED}/{EXAMPLE_RUN}/3f9c2b7a1d04"


class Acquisition(StrEnum):
    """Whether a run is over, and how it ended."""

    RUNNING = "running"
    """It has no stop document: it goes on, or its session was killed."""
    COMPLETE = "complete"
    """It ended well."""
    FAILED = "failed"
    """It was stopped or failed; what there is can be used."""

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        """Return that of a run's metadata."""
        stop = metadata.get("stop")
        if not isinstance(stop, Mapping) or not stop:
            return cls("running")
        return cls("complete" if stop.get("exit_status") == "success" else "failed")


class Answer(BaseModel):
    """What a route answers."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Asked(BaseModel):
    """What a request says; what it says beside is refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ProgressAnswer(Answer):
    """How far a reconstruction is."""

    stage: str = ""
    """What is being done, in words."""
    percent: float = 0.0
    """Share of the volume that is stored, in percent."""
    slabs_done: int = 0
    """Slabs of the volume that are stored."""
    slabs_total: int = 0
    """Slabs of the volume."""
    seconds_left: float | None = None
    """Estimate of the seconds until it is done; null while there is nothing to base it on."""

    @classmethod
    def of(cls, metadata: Mapping[str, Any] | None) -> Self | None:
        """Read it from the metadata of its node; None if there is none, or somebody spoilt it."""
        if not metadata:
            return None
        known = {name: metadata[name] for name in cls.model_fields if metadata.get(name) is not None}
        try:
            return cls(**known)
        except ValidationError:
            return None


def percent_of(state: str | None, progress: ProgressAnswer | None) -> float | None:
    """Return how far a reconstruction is, in percent; None before somebody works on it.

    One that is done is complete, though its progress is told a moment later.
    """
    if state == State.DONE:
        return 100.0
    return None if progress is None else progress.percent


class ReconstructionSummary(Answer):
    """A reconstruction, as it stands in a list."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "run_uid": EXAMPLE_RUN,
                "id": "3f9c2b7a1d04",
                "path": EXAMPLE_PATH,
                "state": "running",
                "message": "",
                "changed_at": 1796000123.4,
                "attempt": 1,
                "recipe_name": "bone",
                "recipe_hash": "5e0a...",
                "requested_by": "alice",
                "requested_at": 1796000100.0,
                "sample_name": "tooth",
                "progress": {
                    "stage": "computing",
                    "percent": 37.5,
                    "slabs_done": 6,
                    "slabs_total": 16,
                    "seconds_left": 21.0,
                },
                "pyramid": None,
            }
        }
    )

    run_uid: str
    """Run that is reconstructed."""
    id: str
    """Key of the reconstruction."""
    path: str
    """Path of its node in Tiled; its volume is at `{path}/volume`."""
    state: State
    """Where it stands."""
    message: str = ""
    """What a user should know: why it failed, what it waits for."""
    changed_at: float = 0.0
    """When the state was entered, in seconds since 1970."""
    attempt: int = 0
    """How often somebody has begun to work on it."""
    recipe_name: str | None = None
    """Name of its recipe, if it has one."""
    recipe_hash: str | None = None
    """SHA-256 of everything in the recipe that determines the result."""
    requested_by: str | None = None
    """Who or what asked for it."""
    requested_at: float | None = None
    """When, in seconds since 1970."""
    sample_name: str | None = None
    """Name of the sample, if it is known."""
    progress: ProgressAnswer | None = None
    """How far it is; null before somebody works on it."""
    pyramid: FollowUpState | None = None
    """Whether the volume at lower resolutions is there, at `{path}/pyramid`; null if none is made."""
    priority: JobPriority = JobPriority.NORMAL
    """How urgent it is; in lists, how urgent it was when it was asked for."""
    batch: str | None = None
    """Key of the batch that it belongs to, if any."""
    kept: list[tuple[int, int]] | None = None
    """Slices that exist of a volume that was stopped and kept: first, and the one after the last."""

    @classmethod
    def of(
        cls,
        record: ReconstructionRecord,
        progress: Mapping[str, Any] | None = None,
        sample_name: str | None = None,
    ) -> Self:
        """Return the summary of a reconstruction."""
        return cls(**_summary(record, progress, sample_name))


def _summary(
    record: ReconstructionRecord, progress: Mapping[str, Any] | None, sample_name: str | None
) -> dict[str, Any]:
    said = record.metadata
    return {
        "run_uid": record.run_uid,
        "id": record.reconstruction_id,
        "path": record.path,
        "state": said.status.state,
        "message": said.status.message,
        "changed_at": said.status.time,
        "attempt": said.status.attempt,
        "recipe_name": said.recipe_name,
        "recipe_hash": said.recipe_hash,
        "requested_by": said.requested_by,
        "requested_at": said.requested_at,
        "sample_name": sample_name,
        "progress": ProgressAnswer.of(progress),
        "pyramid": None if said.pyramid is None else said.pyramid.state,
        "priority": said.priority,
        "batch": None if said.batch is None else said.batch.id,
        "kept": None if said.kept is None else [list(part) for part in said.kept.slices],
    }


class VolumeAnswer(Answer):
    """The volume of a reconstruction, which can be read through Tiled, or the images of a sweep."""

    path: str
    """Path of its node in Tiled: `/api/v1/array/full/{path}?slice=...` reads it."""
    shape: tuple[int, ...]
    """(z, y, x); of a sweep (value, y, x)."""
    chunks: tuple[int, ...]
    """Shape of a chunk: its first number is the thickness of a slab."""
    dtype: str
    """Type of a voxel, as NumPy writes it."""
    metadata: dict[str, Any]
    """Units of the grey values, voxel size, axes."""


class ReconstructionDetail(ReconstructionSummary):
    """A reconstruction with all that is known of it."""

    recipe: dict[str, Any]
    """The recipe as it was asked for."""
    resolved_recipe: dict[str, Any] | None = None
    """The recipe with every automatic value filled in; null before it is decided."""
    geometry: dict[str, Any] | None = None
    """Rotation axis, rows, columns and angles that were used, voxel size."""
    notes: list[str] = Field(default_factory=list)
    """What had to be decided, in sentences."""
    provenance: dict[str, Any] | None = None
    """Raw files and their checksums, versions, machine, timings; null before it is done."""
    volume: VolumeAnswer | None = None
    """The volume; null until it has been described."""
    quality: list[str] = Field(default_factory=list)
    """Tables about its quality, at `{path}/quality/{name}` in Tiled."""

    @classmethod
    def detailed(
        cls,
        record: ReconstructionRecord,
        progress: Mapping[str, Any] | None,
        sample_name: str | None,
        **more: Any,
    ) -> Self:
        """Return all that is known of a reconstruction; `more` is what stands in nodes below it."""
        known = record.metadata.model_extra or {}
        return cls(
            **_summary(record, progress, sample_name),
            recipe=record.metadata.recipe,
            **{key: known.get(key) for key in ("resolved_recipe", "geometry", "provenance")},
            notes=known.get("notes") or [],
            **more,
        )


class ReconstructionPage(Answer):
    """Reconstructions, the newest request first."""

    reconstructions: list[ReconstructionSummary]
    """Those of this page."""
    total: int
    """How many there are on all pages."""


class LatestReconstruction(Answer):
    """The newest reconstruction of a scan."""

    id: str
    """Its key."""
    path: str
    """Path of its node in Tiled."""
    state: State
    """Where it stands."""
    percent: float | None = None
    """How far it is, in percent; null before somebody works on it."""


class ReconstructionCounts(Answer):
    """How many reconstructions of a scan are in which state."""

    virtual: int = 0
    """Described, and computed when somebody looks."""
    queued: int = 0
    """Waiting."""
    running: int = 0
    """Being computed."""
    paused: int = 0
    """Stopped for the time being."""
    done: int = 0
    """Complete."""
    failed: int = 0
    """Given up."""
    cancelled: int = 0
    """Stopped by a user."""
    latest: LatestReconstruction | None = None
    """The newest; null if there is none."""


class ScanAnswer(Answer):
    """A scan, as it stands in a list. What is not known is null."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "run_uid": EXAMPLE_RUN,
                "sample_name": "tooth",
                "title": "tomo_scan 214",
                "started": 1796000000.0,
                "acquisition": "complete",
                "exit_status": "success",
                "layout": "tomoservice",
                "projections": 721,
                "rows": 1024,
                "columns": 1024,
                "flats": 20,
                "darks": 10,
                "size_bytes": 1575000000,
                "pixel_size_um": 0.65,
                "energy_kev": 25.0,
                "distance_mm": 40.0,
                "problem": "",
                "reconstructions": {
                    "done": 1,
                    "latest": {"id": "3f9c2b7a1d04", "path": EXAMPLE_PATH, "state": "done", "percent": 100.0},
                },
            }
        }
    )

    run_uid: str
    """Uid of the Bluesky run."""
    sample_name: str | None = None
    """Name of the sample."""
    title: str = ""
    """What the run is called: its title, its plan and number, or its file."""
    started: float | None = None
    """When it began, in seconds since 1970."""
    acquisition: Acquisition
    """Whether it is over, and how it ended."""
    exit_status: str | None = None
    """What its stop document says: success, abort or fail."""
    layout: str | None = None
    """Scan layout by which it is read."""
    projections: int | None = None
    """Projections that are recorded by now."""
    rows: int | None = None
    """Detector rows."""
    columns: int | None = None
    """Detector columns."""
    flats: int | None = None
    """Open-beam frames of the run itself."""
    darks: int | None = None
    """Frames without beam of the run itself."""
    size_bytes: int | None = None
    """Size of all frames in bytes, uncompressed."""
    pixel_size_um: float | None = None
    """Size of a pixel at the sample in micrometres."""
    energy_kev: float | None = None
    """Photon energy in keV."""
    distance_mm: float | None = None
    """Distance from sample to detector in millimetres."""
    problem: str = ""
    """Why the run cannot be read as a scan; empty if it can."""
    reconstructions: ReconstructionCounts = Field(default_factory=ReconstructionCounts)
    """What has been made of it."""


def scan_values(run_uid: str, metadata: Mapping[str, Any], outline: RunOutline) -> dict[str, Any]:
    """Return what is said of a scan in a list, but its reconstructions."""
    start, stop = metadata.get("start") or {}, metadata.get("stop") or {}
    known = {name: getattr(outline, name) for name in RunOutline.__dataclass_fields__}
    started = start.get("time")
    return {
        **known,
        "run_uid": run_uid,
        "title": _title(start),
        "started": float(started) if isinstance(started, int | float) else None,
        "acquisition": Acquisition.of(metadata),
        "exit_status": stop.get("exit_status"),
    }


def _title(start: Mapping[str, Any]) -> str:
    if start.get("title"):
        return str(start["title"])
    ingested = start.get("ingest")
    if isinstance(ingested, Mapping) and ingested.get("path"):
        return str(ingested["path"]).rpartition("/")[2]
    parts = (start.get("plan_name"), start.get("scan_id"))
    return " ".join(str(part) for part in parts if part is not None)


class ScanPage(Answer):
    """Scans, in the order that was asked for."""

    scans: list[ScanAnswer]
    """Those of this page."""
    total: int
    """How many there are on all pages."""


class SweepLink(Answer):
    """A sweep of a scan."""

    id: str
    """Its key."""
    path: str
    """Path of its node in Tiled."""
    parameter: str
    """What differs between its pictures."""
    count: int
    """Number of its pictures."""
    z: int
    """Slice that they show."""
    requested_at: float | None = None
    """When it was asked for, in seconds since 1970."""


class ScanDetail(ScanAnswer):
    """A scan with all that is known of it. What takes opening the run is null if it cannot be opened."""

    plan_name: str | None = None
    """Bluesky plan that took it."""
    beamline: str | None = None
    """Name of the beamline, if the start document says it."""
    dtype: str | None = None
    """Type of a pixel, as NumPy writes it."""
    rotation_axis: float | None = None
    """Detector column of the rotation axis that the run states, 0-based; null if it does not."""
    angles: AngleSummary | None = None
    """The angles, in degrees."""
    flat_stack: StackSummary | None = None
    """Open-beam frames that are used, wherever they lie."""
    dark_stack: StackSummary | None = None
    """Frames without beam that are used, wherever they lie."""
    notes: list[str] = Field(default_factory=list)
    """What had to be decided to read it, in sentences."""
    start: dict[str, Any]
    """Start document of the run."""
    stop: dict[str, Any] | None = None
    """Stop document of the run; null while it goes on."""
    latest_reconstructions: list[ReconstructionSummary] = Field(default_factory=list)
    """The newest reconstructions of the scan."""
    sweeps: list[SweepLink] = Field(default_factory=list)
    """The newest sweeps of the scan."""
