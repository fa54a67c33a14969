"""What is asked for through the control PVs: kept in Tiled, so that an IOC that starts again shows the same.

::

    /setpoints/{key}     metadata: recipe, rotation_axis, delta_beta, slices,
                         requested (path of a reconstruction)

While a scan is reconstructed live, what concerns it becomes a wish in ``/live/{run_uid}/wishes`` as well.
"""

from __future__ import annotations

import re
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tomoservice.catalog.live_records import LiveWishes, WishedSlices
from tomoservice.catalog.nodes import ensure_container
from tomoservice.catalog.record import first_problem, plain
from tomoservice.catalog.transport import NotFoundError, child, translated
from tomoservice.errors import CatalogError

SETPOINTS: Final = "setpoints"


class Setpoints(BaseModel):
    """What the control PVs were set to."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    recipe: str = "default"
    """Name of the recipe by which the next reconstruction is asked for."""
    rotation_axis: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Detector column; None for what the recipe says."""
    delta_beta: float | None = Field(None, gt=0, allow_inf_nan=False)
    """δ/β of phase retrieval; None for what the recipe says."""
    slices: WishedSlices = WishedSlices()
    """Which slices are shown; null for those in the middle."""
    requested: str = ""
    """Path of the reconstruction that was asked for last."""

    def with_wishes(self, wishes: LiveWishes) -> Self:
        """Return the setpoints with what somebody, a page perhaps, wishes of the live reconstruction."""
        axis, ratio = wishes.rotation_axis, wishes.delta_beta
        wished = {
            "rotation_axis": self.rotation_axis if axis is None else axis,
            "delta_beta": ratio or self.delta_beta,
            "slices": wishes.slices,
        }
        return self.model_copy(update=wished)


def setpoints_key(prefix: str) -> str:
    """Return the key of the node for an IOC whose PVs begin with `prefix`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", prefix).strip("-._") or "ioc"


def read_setpoints(root: Any, key: str) -> Setpoints:
    """Return the setpoints as they are in Tiled; the defaults if nobody has set any."""
    try:
        return Setpoints.model_validate(plain(child(root, SETPOINTS, key).metadata))
    except NotFoundError:
        return Setpoints()
    except ValidationError as error:
        name, reason = first_problem(error)
        raise CatalogError(f"{SETPOINTS}/{key}: {name}: {reason}; delete the node to begin anew") from error


def write_setpoints(root: Any, key: str, **changes: Any) -> Setpoints:
    """Change some of the setpoints, and return all.

    Raises
    ------
    CatalogError
        A value makes no sense; says why.
    """
    now = read_setpoints(root, key)
    try:
        changed = Setpoints.model_validate({**now.model_dump(), **changes})
    except ValidationError as error:
        name, reason = first_problem(error)
        raise CatalogError(f"{name}: {reason}") from error
    node = ensure_container(ensure_container(root, SETPOINTS), key)
    content = changed.model_dump(mode="json")
    with translated(f"writing {SETPOINTS}/{key}"):
        node.update_metadata(metadata={name: content[name] for name in changes}, drop_revision=True)
    return changed
