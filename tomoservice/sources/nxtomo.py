"""NXtomo HDF5 files, as Diamond and the ESRF write them.

All frames lie in one data set in the order of acquisition; `image_key` says of each what it shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError, MissingDataError
from tomoservice.scan import ImageKey, ScanOrigin, TomoScan
from tomoservice.sources.angles import angles_from_dataset
from tomoservice.sources.beam_monitor import Readings, as_readings, readings_of
from tomoservice.sources.frames import LazyFrames, take
from tomoservice.sources.hdf5 import files_behind, find_dataset, find_node, has, open_frames, open_hdf5
from tomoservice.sources.hdf5_metadata import Places, read_metadata, text

SEARCH_DEPTH = 3
ALIGNMENT = -1
"""What the ESRF writes to `image_key_control` for frames taken to find the sample's drift."""
MONITOR = "control/data"
"""What a monitor of the beam read at each frame, by the definition of NXtomo."""


def find_entries(file: h5py.Group, *, follow_links: bool = False) -> list[h5py.Group]:
    """Return the groups that hold a tomogram, by their definition or an `image_key`.

    Parameters
    ----------
    file : h5py.Group
        Where to search, a few levels deep.
    follow_links : bool
        Whether to search behind soft and external links too; every group is found once.

    Raises
    ------
    MissingDataError
        If nothing is found, and a link leads nowhere behind which an entry may have been.
    """
    search = _Search(follow_links)
    search.visit(file, SEARCH_DEPTH)
    if not search.found and search.dangling:
        raise search.dangling[0]
    return search.found


@dataclass(frozen=True, slots=True)
class _Search:
    follow_links: bool
    found: list[h5py.Group] = field(default_factory=list)
    dangling: list[MissingDataError] = field(default_factory=list)
    visited: set[tuple[int, int]] = field(default_factory=set)

    def visit(self, group: h5py.Group, depth: int) -> None:
        """Search a group, unless that has been done."""
        info = h5py.h5o.get_info(group.id)
        if (info.fileno, info.addr) in self.visited:
            return
        self.visited.add((info.fileno, info.addr))
        if _is_entry(group):
            self.found.append(group)
        elif depth:
            for name in self._names(group):
                child = self._child(group, name)
                if isinstance(child, h5py.Group):
                    self.visit(child, depth - 1)

    def _names(self, group: h5py.Group) -> list[str]:
        links = {name: group.get(name, getlink=True) for name in sorted(group)}
        hard = [name for name, link in links.items() if isinstance(link, h5py.HardLink)]
        # Links last, so that an entry has the name that it was written under.
        return hard + [name for name in links if self.follow_links and name not in hard]

    def _child(self, group: h5py.Group, name: str) -> Any:
        try:
            return find_node(group, name)
        except MissingDataError as error:
            self.dangling.append(error)
            return None


def _is_entry(group: h5py.Group) -> bool:
    if text(group, ["definition"]) == "NXtomo":
        return True
    return any(has(group, f"{place}/image_key") for place in ("instrument/detector", "data"))


def open_nxtomo(path: str | Path, *, angles_deg: NDArray[np.float64] | None = None) -> TomoScan:
    """Open an NXtomo file.

    Parameters
    ----------
    path : str or Path
        HDF5 file.
    angles_deg : ndarray of float64, optional
        One angle per frame or per projection in degrees, instead of those in the file.

    Raises
    ------
    InputError
        If the file is damaged, a link or virtual source in it leads nowhere, or angles are missing.
    """
    file = open_hdf5(Path(path))
    try:
        entry, notes = _choose_entry(file)
        return _scan(file, entry, angles_deg, notes)
    except BaseException:
        file.close()
        raise


def _choose_entry(file: h5py.File) -> tuple[h5py.Group, list[str]]:
    entries = find_entries(file) or find_entries(file, follow_links=True)
    if not entries:
        raise MissingDataError(file.filename, "the file has no NXtomo entry")
    others = ", ".join(str(entry.name) for entry in entries[1:])
    return entries[0], [f"{entries[0].name} is read; the file also has {others}"] if others else []


def _scan(
    file: h5py.File, entry: h5py.Group, given: NDArray[np.float64] | None, notes: list[str]
) -> TomoScan:
    detector = _detector(entry)
    data = _first(entry, (f"{detector}/data", "data/data"), "the frames")
    if data.ndim != 3:
        raise InputError(
            file.filename, f"must be (frame, row, column), has shape {data.shape}", dataset=data.name
        )
    frames = open_frames(data)
    keys_dataset = _first(entry, (f"{detector}/image_key", "data/image_key"), "the kind of each frame")
    keys = _image_keys(entry, detector, keys_dataset, notes)
    per_frame, where_angles = _angles(entry, given, keys, notes)
    count = min(frames.shape[0], keys.size, per_frame.size)
    if count < max(frames.shape[0], keys.size, per_frame.size):
        notes.append(
            f"{frames.shape[0]} frames, {keys.size} image keys and {per_frame.size} angles: "
            f"the first {count} of each are used"
        )
    keys = keys[:count]
    stacks = {key: np.flatnonzero(keys == key) for key in ImageKey}
    projections = stacks[ImageKey.PROJECTION]
    if not projections.size:
        raise MissingDataError(
            file.filename, "no frame has image key 0 (projection)", dataset=keys_dataset.name
        )
    name = str(data.name)
    datasets = {"projections": name, "angles": where_angles, "image_keys": str(keys_dataset.name)}
    files = tuple(dict.fromkeys([str(file.filename), str(entry.file.filename), *files_behind(data)]))
    metadata = read_metadata(entry, _places(detector), notes)
    if view := text(entry, [f"{detector}/field_of_view"]):
        notes.append(f"field of view: {view}")
    monitor, flat_monitor = _monitor(entry, keys, datasets, notes)
    return TomoScan(
        projections=take(frames, projections),
        angles_deg=per_frame[projections],
        origin=ScanOrigin("nxtomo", str(file.filename), datasets, files=files),
        flats=_stack(frames, stacks[ImageKey.FLAT], "flats", name, datasets, notes),
        darks=_stack(frames, stacks[ImageKey.DARK], "darks", name, datasets, notes),
        image_keys=keys,
        monitor=monitor,
        flat_monitor=flat_monitor,
        pixel_size_um=metadata.pixel_size_um,
        energy_kev=metadata.energy_kev,
        distance_mm=metadata.distance_mm,
        sample_name=metadata.sample_name,
        notes=tuple(notes),
        closer=partial(_close, (data, entry, file)),
    )


def _monitor(
    entry: h5py.Group, keys: NDArray[np.int8], datasets: dict[str, str], notes: list[str]
) -> tuple[Readings | None, Readings | None]:
    """Return what the monitor read at projections and at flats, as far as there are readings."""
    if not has(entry, MONITOR):
        return None, None
    name = f"{str(entry.name).rstrip('/')}/{MONITOR}"
    try:
        dataset = find_dataset(entry, MONITOR)
        readings = as_readings(dataset.shape, lambda: dataset[()], keys.size, name, notes)
    except InputError as error:
        notes.append(f"{name} cannot be read, so there is no beam monitor: {error.cause}")
        return None, None
    # One that is written in every file, a mean say, tells nothing of single frames.
    if readings is None or readings.size <= 1:
        return None, None
    chosen = [np.flatnonzero(keys == key) for key in (ImageKey.PROJECTION, ImageKey.FLAT)]
    if readings.size == chosen[0].size != keys.size:
        datasets["monitor"] = name
        return readings, None
    whole = readings_of(readings, keys.size, name, notes)
    if whole is None:
        return None, None
    datasets["monitor"] = name
    at_projections, at_flats = (whole[numbers] for numbers in chosen)
    return at_projections, at_flats if at_flats.size else None


def _close(nodes: tuple[h5py.Group | h5py.Dataset, ...]) -> None:
    """Close the files that these lie in; behind an external link it is another one."""
    for node in nodes:
        if node:
            node.file.close()


def _stack(
    frames: LazyFrames,
    indices: NDArray[np.int64],
    what: str,
    name: str,
    datasets: dict[str, str],
    notes: list[str],
) -> LazyFrames | None:
    """Return the flats or darks; `datasets` or `notes` say where they are, or that there are none."""
    if not indices.size:
        notes.append(f"no frame has the image key of {what}: no {what}")
        return None
    datasets[what] = name
    return take(frames, indices)


def _detector(entry: h5py.Group) -> str:
    """Return the group with the image keys, relative to the entry."""
    if has(entry, "instrument/detector/image_key"):
        return "instrument/detector"
    instrument = entry.get("instrument")
    if isinstance(instrument, h5py.Group):
        for name in sorted(instrument):
            if has(instrument, f"{name}/image_key"):
                return f"instrument/{name}"
    return "instrument/detector"


def _first(entry: h5py.Group, names: tuple[str, ...], what: str) -> h5py.Dataset:
    for name in names:
        if has(entry, name):
            return find_dataset(entry, name)
    raise MissingDataError(
        entry.file.filename,
        f"{what} must be in one of {', '.join(names)}, and none exists",
        dataset=str(entry.name),
    )


def _image_keys(
    entry: h5py.Group, detector: str, dataset: h5py.Dataset, notes: list[str]
) -> NDArray[np.int8]:
    values = np.asarray(dataset[()]).reshape(-1)
    control = f"{detector}/image_key_control"
    if has(entry, control):
        alignment = np.asarray(find_dataset(entry, control)[()]).reshape(-1) == ALIGNMENT
        size = min(values.size, alignment.size)
        values = np.where(alignment[:size], ALIGNMENT, values[:size])
    known = np.isin(values, [int(key) for key in ImageKey])
    keys = np.where(known, values, int(ImageKey.INVALID)).astype(np.int8)
    if (aligned := int((values == ALIGNMENT).sum())) > 0:
        notes.append(f"{aligned} alignment projections (image key -1) are left out")
    if (strange := int((~known & (values != ALIGNMENT)).sum())) > 0:
        notes.append(f"{strange} frames with an unknown image key are left out")
    return keys


def _angles(
    entry: h5py.Group, given: NDArray[np.float64] | None, keys: NDArray[np.int8], notes: list[str]
) -> tuple[NDArray[np.float64], str]:
    """Return one angle per frame, and the data set they are from."""
    if given is not None:
        values, name = np.asarray(given, np.float64), "given"
    else:
        places = ("sample/rotation_angle", "data/rotation_angle")
        found: Any = next((place for place in places if has(entry, place)), None)
        if found is None:
            raise MissingDataError(
                entry.file.filename,
                "the entry holds no angles",
                dataset=f"{entry.name}/{places[0]}",
                hint="Write one angle per frame there in degrees, or give the angles separately",
            )
        dataset = find_dataset(entry, found)
        values, name = angles_from_dataset(dataset), str(dataset.name)
    projections = np.flatnonzero(keys == ImageKey.PROJECTION)
    if values.size == projections.size != keys.size:
        notes.append(f"{name} has one angle per projection, none for flats and darks")
        per_frame = np.zeros(keys.size)
        per_frame[projections] = values
        return per_frame, name
    return values, name


def _places(detector: str) -> Places:
    return Places(
        pixel_size=(
            "sample/x_pixel_size",
            f"{detector}/x_pixel_size",
            f"{detector}/real_x_pixel_size",
        ),
        energy=("beam/energy", "instrument/beam/energy", "instrument/monochromator/energy"),
        distance=(f"{detector}/distance", "sample/distance"),
        sample_name=("sample/name", "title"),
    )
