"""Zarr arrays that Tiled serves by its Zarr routes, too.

Tiled 0.2.20 asks the adapter for a chunk by a plain tuple of slices, which its own adapter of Zarr arrays
takes for an index: every chunk below ``/zarr/v2`` and ``/zarr/v3`` is answered with status 500.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiled.adapters.zarr import ZarrAdapter, ZarrArrayAdapter
from tiled.ndslice import NDSlice
from tiled.structures.array import ArrayStructure
from tiled.structures.core import StructureFamily
from tiled.structures.data_source import DataSource
from tiled.utils import path_from_uri


class ChunkedArrayAdapter(ZarrArrayAdapter):
    """A Zarr array that can be read by any tuple of slices."""

    def read(self, slice: tuple[Any, ...] = NDSlice(...)) -> NDArray[Any]:  # noqa: A002  (Tiled's name)
        """Return a part of the array."""
        return np.asarray(super().read(NDSlice(*slice)))


class ServedZarrAdapter(ZarrAdapter):
    """Opens what is registered as ``application/x-zarr``: files as arrays, everything else as Tiled does."""

    @classmethod
    def from_catalog(cls, data_source: DataSource[ArrayStructure], node: Any, /, **parameters: Any) -> Any:
        """Return the adapter of a node.

        Parameters
        ----------
        data_source : DataSource
            Where the array is, and its structure.
        node : Node
            Its entry in the catalogue.
        **parameters
            What the data source says further.
        """
        uri = data_source.assets[0].data_uri
        if node.structure_family == StructureFamily.container or not uri.startswith("file:"):
            return super().from_catalog(data_source, node, **parameters)
        import zarr

        # For writing, too: clients upload into arrays that the server has made.
        array = zarr.open_array(path_from_uri(uri), mode="r+")
        return ChunkedArrayAdapter(
            array, structure=data_source.structure, metadata=node.metadata_, specs=node.specs
        )
