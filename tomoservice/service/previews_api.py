"""HTTP routes for whoever refines parameters: previews and searches for the axis, under ``/api/v1/tomo``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field

from tomoservice.compute.base import Priority
from tomoservice.compute.showing import PreviewOrder, Shown, View, search_axis, show
from tomoservice.recipe import parse_recipe
from tomoservice.recipe.shortened import StageName, up_to
from tomoservice.service.answers import REFUSALS, TAG, WORKING
from tomoservice.service.callers import COMPUTE, TheRun, needs
from tomoservice.service.models import Answer, Asked
from tomoservice.service.office import TheOffice
from tomoservice.service.pixels import PixelFormat, encoded

PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}, "image/png": {}}}
}
router = APIRouter(prefix="/tomo", tags=[TAG], responses={**REFUSALS, **WORKING})

NARROWEST, WIDEST = 16, 16384


class PreviewRequest(Asked):
    """A picture of a scan by a recipe that need not be stored anywhere."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "recipe": {"rotation_axis": {"method": "value", "value": 295.5}},
                "view": "slice",
                "number": 1,
                "format": "png",
            }
        },
    )

    recipe: dict[str, Any] = Field(default_factory=dict)
    """The recipe; what it leaves out is default."""
    view: View = View.SLICE
    """What to show: `slice` (y, x) of the volume in the recipe's units; `xz` (z, x) and `yz` (z, y), planes
    along the rotation axis; `sinogram` (angle, column) as it is
    reconstructed, and `recorded-sinogram` after the flat field alone; `projection` (row, column) after the
    flat field, and `recorded-projection` as the detector counted it."""
    number: int = Field(0, ge=0)
    """Slice (z); of `xz` the place along y, of `yz` that along x; of projections the line of the sinograms:
    those that are kept, sorted by angle."""
    after: StageName | None = None
    """Stage of the recipe after which to look at a slice or sinogram: optional stages that follow are left
    out. What stands before a stage is what comes after the one before it. By default, all of them."""
    max_width: int | None = Field(None, ge=NARROWEST, le=WIDEST)
    """Columns of the picture, at most: squares of pixels are averaged until it is so, for a screen or a slow
    line. By default, all of them. Planes along the rotation axis are made of frames that are binned until it
    is so, by default to 256 columns: the time goes with the fourth power."""
    format: PixelFormat = PixelFormat.FLOAT32
    """`float32`: exact values, little endian, in C order. `uint16` and `uint8`: the same quantised, between
    the values in the headers `X-Tomo-Low` and `X-Tomo-High`. `png`: a picture of 256 shades of grey."""
    low: float | None = Field(None, allow_inf_nan=False)
    """Value that becomes 0, or black; by default the lowest, of a picture the percentile 0.5."""
    high: float | None = Field(None, allow_inf_nan=False)
    """Value that becomes the largest number, or white; by default the highest, or the percentile 99.5."""


class AxisRequest(Asked):
    """A search for the rotation axis."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"recipe": {"rotation_axis": {"method": "auto"}}}}
    )

    recipe: dict[str, Any] = Field(default_factory=dict)
    """The recipe; its rotation_axis says how."""


class AxisAnswer(Answer):
    """A rotation axis, and the evidence for it."""

    rotation_axis: float
    """Detector column of the full frame, 0-based."""
    confidence: float
    """0 (a guess) to 1 (beyond doubt)."""
    method: str
    """How it was found."""
    note: str
    """What to know of it, in a sentence."""
    at_window_edge: bool
    """Whether the best was at the border of what was tried: it may lie beyond."""
    candidates: list[float]
    """Columns that were tried."""
    metric: list[float | None]
    """How badly each fits; the smaller, the better."""
    tilt_deg: float | None = None
    """Tilt of the axis in degrees, if the recipe had it searched."""


@router.post(
    "/scans/{run_uid}/preview", responses=PICTURE, response_class=Response, dependencies=[needs(COMPUTE)]
)
async def preview(run: TheRun, wanted: PreviewRequest, request: Request, office: TheOffice) -> Response:
    """Return a slice, plane, sinogram or projection of a run by a recipe.

    A change of the recipe computes only what depends on it. A request that is given up by its client is
    given up by the workers as well. Shape, type, units, the rotation axis and the seconds of each stage
    are in the headers.

    All slices have a part in a plane along the rotation axis, so previews of it show larger voxels
    (`X-Tomo-Binning` of them along each axis have become one). To see it as it is, queue the reconstruction,
    and read it from the volume (`/api/v1/array/full/{path}/volume?slice=:,256,:`) as it fills, or from its
    pyramid.
    """
    recipe = parse_recipe(wanted.recipe)
    if wanted.after is not None:
        recipe = up_to(recipe, wanted.after)
    readers = office.readers
    order = PreviewOrder(
        *(run, recipe.dump(), wanted.view, wanted.number, wanted.max_width),
        *(readers.memory_bytes, readers.device),
    )
    shown = await readers.desk.ask(Priority.INTERACTIVE, request.is_disconnected, show, order)
    # Megapixels keep a core busy for a while, during which others are answered.
    content, levels = await asyncio.to_thread(encoded, shown.image, wanted.format, wanted.low, wanted.high)
    return Response(
        content, media_type=wanted.format.media_type, headers=_headers(shown, wanted.format, levels)
    )


@router.post("/scans/{run_uid}/axis", dependencies=[needs(COMPUTE)])
async def find_axis(run: TheRun, wanted: AxisRequest, request: Request, office: TheOffice) -> AxisAnswer:
    """Search the rotation axis of a run, and return it with its curve and how far it can be trusted."""
    parse_recipe(wanted.recipe)
    readers = office.readers
    found = await readers.desk.ask(
        Priority.INTERACTIVE,
        request.is_disconnected,
        search_axis,
        run,
        wanted.recipe,
        readers.memory_bytes,
    )
    return AxisAnswer(
        rotation_axis=found.rotation_axis,
        confidence=found.confidence,
        method=found.method,
        note=found.note,
        at_window_edge=found.at_window_edge,
        candidates=found.candidates.tolist(),
        metric=[float(value) if np.isfinite(value) else None for value in found.metric],
        tilt_deg=found.tilt_deg,
    )


def _headers(shown: Shown, form: PixelFormat, levels: tuple[float, float] | None) -> Mapping[str, str]:
    axis = shown.recipe["rotation_axis"]
    timings = {stage: round(seconds, 4) for stage, seconds in shown.timings_s.items()}
    headers = {
        "X-Tomo-Shape": _written(shown.image.shape),
        "X-Tomo-Full-Shape": _written(shown.full_shape),
        "X-Tomo-Binning": str(shown.binning),
        "X-Tomo-Dtype": form.dtype,
        "X-Tomo-Units": shown.units,
        "X-Tomo-Rotation-Axis": str(axis.get("value", "")),
        "X-Tomo-Seconds": json.dumps(timings),
    }
    if levels is not None:
        headers |= {"X-Tomo-Low": repr(levels[0]), "X-Tomo-High": repr(levels[1])}
    return {**headers, "Access-Control-Expose-Headers": ", ".join(headers)}


def _written(shape: tuple[int, ...]) -> str:
    return ",".join(str(size) for size in shape)
