"""Volumes that a service has, for whoever wants one as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tiled.utils import path_from_uri

from tomoservice.catalog import names
from tomoservice.catalog.nodes import is_reconstruction, read_record
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import child
from tomoservice.errors import CatalogError, OutputError
from tomoservice.export import VolumeForm
from tomoservice.export.sources import Box, StoredVolume, stored_volume
from tomoservice.sources.run_view import read_array
from tomoservice.store import SlabStore


def service_volume(node: Any, *, direct: bool = True) -> StoredVolume:
    """Return the volume of a reconstruction that is done.

    Parameters
    ----------
    node : tiled Container
        The reconstruction.
    direct : bool, default True
        Whether its files are read directly where this machine has them; otherwise through the service.

    Raises
    ------
    CatalogError
        The node is no reconstruction, or not done.
    InputError, ServiceUnavailableError
        Later, when it is read and the service refuses, or does not answer.
    """
    path = "/".join(node.path_parts)
    if not is_reconstruction(node):
        raise CatalogError(f"{path} is no reconstruction")
    metadata = read_record(node).metadata
    if metadata.status.state is not State.DONE:
        raise CatalogError(
            f"{path} is {metadata.status.state.value}; only complete volumes are read as a whole. "
            "`wait` returns when it is done"
        )
    volume = child(node, names.VOLUME)
    record = metadata.file_record
    if not record:
        raise CatalogError(f"{path} does not say how it was made")
    location = f"{node.context.api_uri}{path}"
    store = _store_here(volume, record) if direct else None
    if store is not None:
        return stored_volume(store, record, location)
    z, y, x = volume.shape
    depth, height, width = (steps[0] for steps in volume.chunks)
    form = VolumeForm.described((z, y, x), (depth, height, width), str(volume.dtype), record["geometry"])

    def read(box: Box) -> NDArray[Any]:
        return read_array(volume, box, location, names.VOLUME)

    return StoredVolume(location, form, record, read)


def _store_here(volume: Any, record: Mapping[str, Any]) -> SlabStore | None:
    """Return the store of a volume if this machine has the very same one."""
    for source in volume.data_sources() or ():
        for asset in source.assets:
            if not asset.data_uri.startswith("file:"):
                continue
            try:
                store = SlabStore.open(Path(path_from_uri(asset.data_uri)).parent)
                # Another machine's path may exist here, too.
                if store.checksum() == record["volume_checksum"]:
                    return store
            except OutputError:
                continue
    return None
