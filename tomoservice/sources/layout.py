"""Scan layouts: how a facility's Bluesky runs are read as tomography scans.

There is no standard for where a run keeps projections, flats, darks and angles, so a YAML file says
it; `docs/reference/scan-layouts.md` explains every field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tomoservice.errors import InputError, MissingDataError

SHIPPED = ("tomoservice", "fxi", "hex", "htss", "aps_dxchange")
UNIX_MINUS_EPICS_S = 631152000.0
"""Seconds from 1970 to 1990, where EPICS begins to count."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Recognition(_Part):
    """What a run must have to be of this layout; everything that is given must hold."""

    streams: tuple[str, ...] = ()
    """Streams that the run must have."""
    start_keys: tuple[str, ...] = ()
    """Keys that the start document must have; a dot goes down."""
    start_values: dict[str, tuple[str | int | bool, ...]] = {}
    """Keys of the start document, and the values one of which they must have."""

    def describe(self) -> str:
        """Return what is required, in words."""
        parts = [f"streams {', '.join(self.streams)}"] if self.streams else []
        parts += [f"start key {key}" for key in self.start_keys]
        parts += [f"{key} in {', '.join(map(str, allowed))}" for key, allowed in self.start_values.items()]
        return " and ".join(parts) or "named in scan_layout"


class Images(_Part):
    """Where a stack of frames is."""

    stream: str
    """Stream of the run."""
    data_key: tuple[str, ...]
    """Data keys of the detector, the first that exists is taken; `{detector}` is its name."""
    dataset: str | None = None
    """Data set to read in the file behind the data key, instead of the one that the key means."""
    run: str | None = None
    """Key of the start document with the uid of another run that has the stream."""


class BeamMonitor(_Part):
    """Where the readings of a monitor of the beam are, one per event or per frame."""

    data_key: tuple[str, ...]
    """Data keys, the first that exists is taken; the same beside projections and beside flats."""
    stream: str | None = None
    """Stream with the readings at the projections, if not theirs."""
    flats_stream: str | None = None
    """Stream with the readings at the flats, if not theirs."""


class Values(_Part):
    """Angles that the run recorded, one per event or per frame."""

    kind: Literal["values"]
    """Name of this way."""
    data_key: tuple[str, ...]
    """Data keys, the first that exists is taken."""
    stream: str | None = None
    """Stream, if not that of the projections."""
    unit: str = "deg"
    """Unit of the values."""
    scale: float = 1.0
    """Degrees (or `unit`) per unit of the recorded value, of an encoder that counts."""


class Linspace(_Part):
    """Angles at equal distances, from the start document."""

    kind: Literal["linspace"]
    """Name of this way."""
    start: str | float
    """First angle, or the key that has it."""
    stop: str | float
    """Last angle, or the key that has it."""
    num: str | int
    """Number of angles, or the key that has it."""
    endpoint: bool = True
    """Whether the last angle is one of them."""
    unit: str = "deg"
    """Unit of the values."""


class Monitor(_Part):
    """Angles of a motor that was watched during the scan, at the times of the frames."""

    kind: Literal["monitor"]
    """Name of this way."""
    stream: str
    """Stream of the monitored motor."""
    data_key: str
    """Data key of its position."""
    frame_times: tuple[str, ...]
    """Data keys of the frames' times in the projections' stream, in seconds."""
    clock: Literal["unix", "epics"] = "unix"
    """Whether the frames' times count from 1970 (unix) or from 1990 (epics)."""
    unit: str = "deg"
    """Unit of the position."""


class AngleDataset(_Part):
    """Angles in a data set of the file with the projections."""

    kind: Literal["dataset"]
    """Name of this way."""
    dataset: str
    """Data set with one angle per projection."""


AngleSource = Annotated[Values | Linspace | Monitor | AngleDataset, Field(discriminator="kind")]


class MetadataValue(_Part):
    """Where one value of the metadata is."""

    key: str
    """Key of the start document (a dot goes down), or data key if `stream` is given."""
    stream: str | None = None
    """Stream whose first event has the value (`baseline`, say)."""
    unit: str | None = None
    """Unit of the value; not for names and columns."""
    scale: float = 1.0
    """Further factor."""


class MetadataPlaces(_Part):
    """Where the metadata are, the best place first."""

    pixel_size: tuple[MetadataValue, ...] = ()
    """Size of a pixel at the sample."""
    energy: tuple[MetadataValue, ...] = ()
    """Photon energy."""
    distance: tuple[MetadataValue, ...] = ()
    """Distance from sample to detector."""
    sample_name: tuple[MetadataValue, ...] = ()
    """Name of the sample."""
    rotation_axis: tuple[MetadataValue, ...] = ()
    """Column of the rotation axis in the full frame, an integer being a pixel's centre."""


class ScanLayout(_Part):
    """How runs of one facility are read as tomography scans."""

    name: str
    """Name, as in the start document's `scan_layout`."""
    title: str
    """Facility and what else helps to tell layouts apart."""
    recognised_by: Recognition | None = None
    """What tells a run of this layout; without it, only its name does."""
    detector: str | None = None
    """Key of the start document with the detector's name, for `{detector}` in data keys."""
    projections: Images
    """Projections."""
    flats: Images | None = None
    """Open-beam frames."""
    darks: Images | None = None
    """Frames without beam."""
    angles: tuple[AngleSource, ...] = Field(min_length=1)
    """Ways to the angles; the first whose parts the run has is taken."""
    beam_monitor: BeamMonitor | None = None
    """Readings of a monitor of the beam."""
    metadata: MetadataPlaces = MetadataPlaces()
    """Where the metadata are."""

    def matches(self, start: Mapping[str, Any], streams: Sequence[str]) -> bool:
        """Return whether a run with this start document and these streams is of this layout."""
        rule = self.recognised_by
        if rule is None:
            return False
        return (
            set(rule.streams) <= set(streams)
            and all(look_up(start, key) is not None for key in rule.start_keys)
            and all(look_up(start, key) in allowed for key, allowed in rule.start_values.items())
        )


def look_up(document: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key (`plan_args.start`, `detectors.0`), or None."""
    value: Any = document
    for part in key.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, Sequence) and not isinstance(value, str) and part.isdigit():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def load_layout(name: str | Path, directories: Sequence[Path] = ()) -> ScanLayout:
    """Load a layout by name or from a YAML file.

    Parameters
    ----------
    name : str or Path
        Path of a YAML file, or name of a layout in `directories` or shipped with the package.
    directories : sequence of Path
        Folders with further layouts, which come before the shipped ones.

    Raises
    ------
    InputError
        If there is none, or its content is wrong; names the fields.
    """
    path = Path(name)
    if path.suffix in {".yml", ".yaml"}:
        if not path.is_file():
            raise MissingDataError(path, "no such scan layout file")
        return _parse(path.read_text(encoding="utf-8"), str(path))
    for directory in directories:
        for suffix in (".yml", ".yaml"):
            candidate = directory / f"{name}{suffix}"
            if candidate.is_file():
                return _parse(candidate.read_text(encoding="utf-8"), str(candidate))
    if str(name) not in SHIPPED:
        known = ", ".join(item.name for item in layouts(directories))
        raise MissingDataError(f"scan layout {name}", "no such layout", hint=f"Known are {known}")
    shipped = resources.files("tomoservice.sources") / "layouts" / f"{name}.yml"
    return _parse(shipped.read_text(encoding="utf-8"), f"{name}.yml")


def layouts(directories: Sequence[Path] = ()) -> list[ScanLayout]:
    """Return all layouts: those in `directories`, then the shipped ones they do not replace."""
    found: dict[str, ScanLayout] = {}
    for directory in directories:
        for path in sorted(directory.glob("*.y*ml")):
            layout = load_layout(path)
            found.setdefault(layout.name, layout)
    for name in SHIPPED:
        if name not in found:
            found[name] = load_layout(name)
    return list(found.values())


def choose_layout(
    start: Mapping[str, Any], streams: Sequence[str], where: str, directories: Sequence[Path] = ()
) -> ScanLayout:
    """Return the layout of a run, by the start document's `scan_layout` or by what the run has.

    Raises
    ------
    InputError
        If no layout fits, or several do; lists the candidates.
    """
    named = start.get("scan_layout")
    if named is not None:
        # A name only: a start document must not make anybody read a file of its choice.
        if not str(named).isidentifier():
            raise InputError(where, f"scan_layout is {named!r}, which is no layout's name")
        return load_layout(str(named), directories)
    return recognise_layout(start, streams, where, layouts(directories))


def recognise_layout(
    start: Mapping[str, Any], streams: Sequence[str], where: str, known: Sequence[ScanLayout]
) -> ScanLayout:
    """Return that one of some layouts which a run is of, by what it has; raises as `choose_layout`."""
    fitting = [layout for layout in known if layout.matches(start, streams)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(layout.name for layout in fitting)
        cause = f"fits several scan layouts: {names}"
    else:
        needs = "; ".join(
            f"{layout.name}: {layout.recognised_by.describe() if layout.recognised_by else 'only by name'}"
            for layout in known
        )
        cause = f"streams {', '.join(streams) or 'none'} fit no scan layout ({needs})"
    raise InputError(
        where, cause, hint="Write scan_layout into the start document, or say which layout to use"
    )


def _parse(text: str, name: str) -> ScanLayout:
    try:
        return ScanLayout.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise InputError(name, f"is no YAML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'top level'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise InputError(name, f"is no scan layout: {problems}") from error
