"""Scans that are reconstructed while they go on, from a notebook or a beamline session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.catalog.live_nodes import find_live, live_runs, wish
from tomoservice.catalog.live_records import LiveMetadata, LivePicture, LiveState
from tomoservice.catalog.nodes import reread
from tomoservice.catalog.transport import NotFoundError, child, translated
from tomoservice.client.node_view import NodeView
from tomoservice.errors import CatalogError


class LiveView(NodeView):
    """The live reconstruction of one scan; every look is a new one."""

    def __repr__(self) -> str:
        said = self.metadata
        return (
            f"<LiveView {said.raw_uid[:8]} {said.state.value}: {said.frames_used} of "
            f"{said.frames_expected or '?'} frames, axis {said.rotation_axis.value}>"
        )

    @property
    def metadata(self) -> LiveMetadata:
        """Return what the reconstruction says of itself now.

        Raises
        ------
        NotFoundError
            It has been deleted: only the latest are kept.
        """
        reread(self._node)
        return LiveMetadata.of(self._node)

    @property
    def state(self) -> LiveState:
        """Where it stands."""
        return self.metadata.state

    @property
    def frames_used(self) -> int:
        """Projections that are in the slices."""
        return self.metadata.frames_used

    @property
    def rotation_axis(self) -> float | None:
        """Detector column of the axis that is used."""
        return self.metadata.rotation_axis.value

    def slice(self, which: LivePicture | str = LivePicture.XY) -> NDArray[np.float32]:
        """Return a picture as it is now.

        Parameters
        ----------
        which : LivePicture or str
            ``"xy"`` (y, x), ``"xz"`` (z, x), ``"yz"`` (z, y), or ``"volume"`` (z, y, x) of larger voxels.

        Returns
        -------
        float32 array
            Linear attenuation per pixel.

        Raises
        ------
        CatalogError
            There is no such picture.
        NotFoundError
            No projection has come yet.
        """
        try:
            picture = LivePicture(which)
        except ValueError as error:
            known = ", ".join(LivePicture)
            raise CatalogError(f"there is no live picture {which!r}, only {known}") from error
        try:
            found = child(self._node, picture.value)
        except NotFoundError as error:
            raise NotFoundError(f"{self.path} shows nothing yet: no projection has come") from error
        with translated(f"reading {self.path}/{picture.value}"):
            return np.asarray(found.read(), np.float32)

    def move(self, *, z: int | None = None, y: int | None = None, x: int | None = None) -> None:
        """Wish for other slices; the next updates show them.

        Parameters
        ----------
        z, y, x : int, optional
            Number of the slice (y, x), (z, x) and (z, y) in the whole volume; those not given stay.

        Raises
        ------
        CatalogError
            A number is none; says which.
        """
        asked = {name: value for name, value in (("z", z), ("y", y), ("x", x)) if value is not None}
        self.wish(slices=asked)

    def use_axis(self, rotation_axis: float | None) -> None:
        """Wish for an axis instead of what is found; None for what is found.

        Raises
        ------
        CatalogError
            It is no column.
        """
        self.wish(rotation_axis=rotation_axis)

    def use_delta_beta(self, delta_beta: float | None) -> None:
        """Wish for the phase to be retrieved by Paganin's method; None for no retrieval.

        All projections are done again, which takes a moment. Energy, distance and pixel size are those that
        the scan says; the message says so if it says none.

        Raises
        ------
        CatalogError
            It is no ratio of delta to beta.
        """
        self.wish(delta_beta=delta_beta)

    def stop(self) -> None:
        """Have the scan left alone from now on; what there is stays readable."""
        self.wish(stop=True)

    def wish(self, **wishes: Any) -> None:
        """Change what is wished; see `LiveWishes`."""
        wish(self._node, wishes)


class LiveViews(Mapping[str, LiveView]):
    """The live reconstructions, by the uid of the run; the latest last.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    """

    def __init__(self, root: Any) -> None:
        self._root = root

    def __repr__(self) -> str:
        return f"<LiveViews {', '.join(uid[:8] for uid in self) or 'none'}>"

    def __getitem__(self, run_uid: str) -> LiveView:
        """Return the live reconstruction of a run, by its uid or a unique beginning.

        Raises
        ------
        NotFoundError
            There is none, or more than one.
        """
        found = [uid for uid in self if uid.startswith(run_uid)]
        if run_uid in found:
            found = [run_uid]
        if not run_uid or len(found) != 1:
            known = ", ".join(uid[:8] for uid in self) or "none"
            raise NotFoundError(
                f"{len(found)} live reconstructions belong to a run {run_uid!r}; there are {known}"
            )
        return LiveView(find_live(self._root, found[0]))

    def __iter__(self) -> Iterator[str]:
        return iter(live_runs(self._root))

    def __len__(self) -> int:
        return len(live_runs(self._root))

    def current(self) -> LiveView | None:
        """Return the latest live reconstruction that is not over, or None."""
        for uid in reversed(live_runs(self._root)):
            try:
                view = self[uid]
                if not view.state.is_over:
                    return view
            except NotFoundError:
                # Deleted meanwhile.
                continue
        return None
