"""HDF5 files: opening them, finding data sets in them, and reading frames from them.

HDF5 answers many kinds of damage with silence (a virtual data set whose sources are gone reads as
zeros) or with an error that names no file. Everything here says which file, data set and cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError, MissingDataError
from tomoservice.sources.frames import LazyFrames, flattened_shape, leading_selections, pixel_type

FEWEST_AXES = 3
"""Axes of a stack of frames."""
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Return whether the file begins as an HDF5 file does, be it damaged or not."""
    with path.open("rb") as stream:
        for offset in (0, 512, 1024, 2048):
            stream.seek(offset)
            if stream.read(len(SIGNATURE)) == SIGNATURE:
                return True
    return False


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading, one that a writer in SWMR mode is still filling too.

    Raises
    ------
    InputError
        If it cannot be opened: missing, not HDF5, truncated, locked by its writer.
    """
    # Registers the compression filters that detectors use (Blosc, LZ4, Bitshuffle).
    import hdf5plugin  # noqa: F401

    try:
        return h5py.File(path, "r")
    except OSError as error:
        if not _is_open_elsewhere(error):
            raise _cannot_open(path, error) from error
    try:
        return h5py.File(path, "r", libver="latest", swmr=True)
    except OSError as error:
        raise InputError(
            path,
            f"is still open for writing, and not in SWMR mode ({error})",
            hint="Wait until its writer has closed it; if the writer died, `h5clear -s` clears the mark",
        ) from error


def _is_open_elsewhere(error: OSError) -> bool:
    text = str(error)
    return "unable to lock" in text or "for write" in text or "consistency flags" in text


def _cannot_open(path: Path, error: OSError) -> InputError:
    if not path.exists():
        return MissingDataError(path, "no such file")
    if path.is_dir():
        return InputError(path, "is a directory, not an HDF5 file")
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == 13:
        return InputError(path, "may not be read by this user (permission denied)")
    if not is_hdf5(path):
        return InputError(path, "is not an HDF5 file: its signature is missing")
    if found := re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", str(error)):
        return InputError(
            path,
            f"is truncated: {found[1]} of {found[2]} bytes are there",
            hint="Copy it again, or wait until it is written",
        )
    return InputError(path, f"cannot be opened: {error}")


def find_dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return a data set, following links.

    Raises
    ------
    MissingDataError
        If there is no such data set, or a link on the way leads nowhere.
    """
    node = find_node(group, name)
    if not isinstance(node, h5py.Dataset):
        where, full = place(group, name)
        raise MissingDataError(where, "is a group, not a data set", dataset=full)
    return node


def find_node(group: h5py.Group, name: str) -> Any:
    """Return a group or data set, following links.

    Raises
    ------
    MissingDataError
        If it does not exist, or a link on the way leads nowhere.
    """
    where, full = place(group, name)
    node: Any = group.file if name.startswith("/") else group
    for part in [piece for piece in name.split("/") if piece]:
        if not isinstance(node, h5py.Group):
            raise MissingDataError(where, f"{node.name} is a data set, not a group", dataset=full)
        link = node.get(part, getlink=True)
        if link is None:
            there = ", ".join(sorted(node)) or "nothing"
            raise MissingDataError(where, f"does not exist; {node.name} holds {there}", dataset=full)
        group = node
        try:
            node = group[part]
            if _is_cached_in_vain(node):
                # Closed first: HDF5 takes no notice of how a data set is to be opened that is open already.
                del node
                node = _uncached(group, part)
        except (KeyError, OSError) as error:
            raise MissingDataError(where, dangling(link, group.file.filename), dataset=full) from error
    return node


def _is_cached_in_vain(node: Any) -> bool:
    """Return whether HDF5 would read whole chunks of frames, of which parts can be read where they stand.

    That is so with chunks that fit into its cache, which is too small for more than a few of them: to read a
    block of rows of all frames takes five times as long, and one row nine times.
    """
    if not isinstance(node, h5py.Dataset) or node.chunks is None or node.ndim < FEWEST_AXES:
        return False
    return not node.id.get_create_plist().get_nfilters()


def _uncached(group: h5py.Group, name: str) -> h5py.Dataset:
    """Open a data set whose chunks are not kept."""
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(1, 0, 1.0)
    return h5py.Dataset(h5py.h5d.open(group.id, name.encode(), access))


def has(group: h5py.Group, name: str) -> bool:
    """Return whether there is such a link, be it dangling or not."""
    node: Any = group
    for part in name.strip("/").split("/"):
        if not isinstance(node, h5py.Group) or node.get(part, getlink=True) is None:
            return False
        try:
            node = node[part]
        except (KeyError, OSError):
            return True
    return True


def place(group: h5py.Group, name: str) -> tuple[str, str]:
    """Return file and full name of what `name` means in a group."""
    full = name if name.startswith("/") else f"{(group.name or '/').rstrip('/')}/{name}"
    return group.file.filename, full


def dangling(link: Any, where: str) -> str:
    """Return why a link in the file `where` leads nowhere."""
    if isinstance(link, h5py.ExternalLink):
        target = locate(link.filename, Path(where).parent)
        if target is None:
            return f"external link to {link.filename}, which does not exist"
        return f"external link to {target}: {link.path}, which cannot be read there"
    if isinstance(link, h5py.SoftLink):
        return f"soft link to {link.path}, which does not exist"
    return "cannot be opened: the file is damaged"


def locate(name: str, directory: Path) -> Path | None:
    """Return the file that a link or virtual source names, looked for where HDF5 looks."""
    given = Path(name)
    # HDF5 drops the folder of a name only if it is absolute.
    candidates = (given, directory / given.name) if given.is_absolute() else (directory / given, given)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def open_frames(dataset: h5py.Dataset, *, max_axes: int = 3) -> LazyFrames:
    """Return a data set as frames, after checking that all of it can be read.

    Parameters
    ----------
    dataset : h5py.Dataset
        (frame, row, column), or with more axes before the row if `max_axes` allows; a single frame
        (row, column) is a stack of one.
    max_axes : int
        Largest number of axes.

    Raises
    ------
    InputError
        If it is no stack of frames, is virtual and its sources are missing, or is compressed with
        a filter that is not installed.
    """
    where, name = dataset.file.filename, str(dataset.name)
    if dataset.shape is None or not 2 <= dataset.ndim <= max_axes:
        raise InputError(where, f"shape {dataset.shape} is no stack (frame, row, column)", dataset=name)
    shape = flattened_shape(dataset.shape, where, name)
    dtype = pixel_type(dataset.dtype, where, name)
    check_filters(dataset)
    check_virtual(dataset)
    # A part of a compressed chunk cannot be read without the rest of it.
    compressed = dataset.chunks is not None and dataset.id.get_create_plist().get_nfilters() > 0
    together = min(dataset.chunks[-2], shape[1]) if compressed else 1
    return LazyFrames(Hdf5Reader(dataset, where, name), shape, dtype, together)


@dataclass(frozen=True, slots=True)
class Hdf5Reader:
    """Frames in one data set; only the selected part is read."""

    dataset: h5py.Dataset
    """Open data set, rows and columns last."""
    where: str
    """Its file."""
    name: str
    """Its name in the file."""

    def read(self, frames: range, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the block (frame, row, column)."""
        if not self.dataset:
            raise InputError(self.where, "the scan has been closed", dataset=self.name)
        lead = self.dataset.shape[:-2]
        blocks = []
        for index, count in leading_selections(lead, frames):
            try:
                block = self.dataset[(*index, rows, columns)]
            except OSError as error:
                raise InputError(
                    self.where,
                    f"frames {frames.start} to {frames[-1]} cannot be read: {error}",
                    dataset=self.name,
                    hint="The file is damaged or truncated",
                ) from error
            blocks.append(block.reshape(count, *block.shape[-2:]))
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def check_filters(dataset: h5py.Dataset) -> None:
    """Raise `InputError` if the data set is compressed with a filter that is not installed."""
    properties = dataset.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code, _, _, name = properties.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            raise InputError(
                dataset.file.filename,
                f"compressed with HDF5 filter {code} ({as_name(name)}), which is not installed",
                dataset=dataset.name,
                hint="Install the plugin and name its folder in HDF5_PLUGIN_PATH",
            )


def as_name(name: bytes | str) -> str:
    """Return a filter's name as text."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def check_virtual(dataset: h5py.Dataset) -> None:
    """Raise `InputError` if a virtual data set's sources cannot be read; HDF5 would give zeros."""
    sources = list(virtual_sources(dataset))
    problems = [problem for source in sources if (problem := _source_problem(*source, dataset))]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InputError(
            dataset.file.filename,
            f"virtual data set, {len(problems)} of whose {len(sources)} sources cannot be read"
            f" and would silently be zeros: {'; '.join(problems[:3])}{more}",
            dataset=dataset.name,
            hint="Put the source files back where the virtual data set expects them",
        )


def virtual_sources(dataset: h5py.Dataset) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield file, data set and smallest shape that will do of each source of a virtual data set."""
    if not dataset.is_virtual:
        return
    needed: dict[tuple[str, str], tuple[int, ...]] = {}
    for mapping in dataset.virtual_sources():
        key = (mapping.file_name.replace("%b", "0"), mapping.dset_name.replace("%b", "0"))
        shape = _shape_needed(mapping.src_space)
        needed[key] = tuple(map(max, needed.get(key, shape), shape))
    for (file_name, name), shape in needed.items():
        yield file_name, name, shape


def _shape_needed(space: Any) -> tuple[int, ...]:
    """Return how much of its source a mapping needs along each axis; 0 where that grows with the source."""
    if space.get_simple_extent_ndims() == 0:
        return ()
    if space.get_select_type() == h5py.h5s.SEL_HYPERSLABS and space.is_regular_hyperslab():
        return tuple(
            0 if h5py.h5s.UNLIMITED in (count, block) else start + (count - 1) * stride + block
            for start, stride, count, block in zip(*space.get_regular_hyperslab(), strict=True)
        )
    return tuple(last + 1 for last in space.get_select_bounds()[1])


def _source_problem(file_name: str, name: str, needed: tuple[int, ...], dataset: h5py.Dataset) -> str:
    if file_name == ".":
        path: Path | None = Path(dataset.file.filename)
    else:
        path = locate(file_name, Path(dataset.file.filename).parent)
    if path is None:
        return f"{file_name} does not exist"
    try:
        with open_hdf5(path) as file:
            source = find_dataset(file, name)
            check_filters(source)
            check_virtual(source)
            if needed and len(source.shape) != len(needed):
                return f"{path}: {name} has {len(source.shape)} axes, {len(needed)} are needed"
            if any(there < wanted for there, wanted in zip(source.shape, needed, strict=False)):
                wanted_shape = tuple(map(max, source.shape, needed))
                return f"{path}: {name} has shape {source.shape}, {wanted_shape} is needed"
    except InputError as error:
        return str(error)
    return ""


def files_behind(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Return the files that hold the data set's pixels, the virtual ones' own file first."""
    own = Path(dataset.file.filename)
    found = [str(own)]
    for file_name, name, _ in virtual_sources(dataset):
        path = own if file_name == "." else locate(file_name, own.parent)
        if path is None or path == own:
            continue
        with open_hdf5(path) as file:
            found.extend(files_behind(find_dataset(file, name)))
    return tuple(dict.fromkeys(found))
