"""The status and control PVs: names, types and what they mean; docs/reference/pvs.md is made from them.

Where tomostream has a PV for the same thing, it has the same name: Center, OrthoX, ReconStatus, ...
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from caproto import ChannelType, SkipWrite
from caproto.server import PVGroup, SubGroup, pvproperty

from tomoservice.catalog.live_records import LiveState
from tomoservice.catalog.states import State

RECON_STATES: Final = ("none", *State)
LIVE_STATES: Final = ("none", *LiveState)
DISCONNECTED: Final = "disconnected"
STATES: Final = tuple(dict.fromkeys((DISCONNECTED, "idle", *LiveState, *State)))
"""No more than sixteen, as Channel Access has it."""
NO_YES: Final = ("No", "Yes")
TEXT_LENGTH: Final = 256
MOST_PIXELS: Final = 4096 * 4096

Order = Callable[[str, Any], Awaitable[None]]
"""Carries out what was written to a PV, and shows what came of it."""


def _text(name: str, doc: str, **keywords: Any) -> Any:
    return pvproperty(
        name=name, value="", dtype=str, max_length=TEXT_LENGTH, read_only=True, doc=doc, **keywords
    )


def _number(name: str, value: float, doc: str, **keywords: Any) -> Any:
    return pvproperty(name=name, value=value, read_only=True, doc=doc, **keywords)


def _choice(name: str, strings: tuple[str, ...], doc: str, record: str = "mbbi") -> Any:
    return pvproperty(
        name=name,
        value=strings[0],
        enum_strings=strings,
        dtype=ChannelType.ENUM,
        record=record,
        read_only=True,
        doc=doc,
    )


class ImagePVs(PVGroup):
    """An image in the form of areaDetector's NDPluginStdArrays."""

    plugin_type = pvproperty(
        name="PluginType_RBV",
        value="NDPluginStdArrays",
        dtype=ChannelType.STRING,
        read_only=True,
        doc="kind of plugin",
    )
    port_name = pvproperty(
        name="PortName_RBV", value="TOMO", dtype=ChannelType.STRING, read_only=True, doc="name of the port"
    )
    array_data = pvproperty(
        name="ArrayData",
        value=[0.0],
        dtype=ChannelType.FLOAT,
        max_length=MOST_PIXELS,
        read_only=True,
        doc="grey values, row after row",
    )
    array_size0 = _number("ArraySize0_RBV", 0, "columns")
    array_size1 = _number("ArraySize1_RBV", 0, "rows")
    array_size2 = _number("ArraySize2_RBV", 0, "always 0: one slice")
    array_size = _number("ArraySize_RBV", 0, "bytes")
    dimensions = _number("NDimensions_RBV", 2, "number of dimensions")
    data_type = _choice("DataType_RBV", ("Float32",), "type of a grey value")
    color_mode = _choice("ColorMode_RBV", ("Mono",), "colours")
    unique_id = _number("UniqueId_RBV", 0, "number of the update that the image belongs to")
    array_counter = _number("ArrayCounter_RBV", 0, "images since the IOC started")
    time_stamp = _number("TimeStamp_RBV", 0.0, "when it came, seconds since 1990 as areaDetector counts")


class StatusPVs(PVGroup):
    """The service, the scan that is reconstructed live, and the newest reconstruction."""

    def __init__(self, prefix: str, order: Order) -> None:
        super().__init__(prefix)
        self._order = order

    server_running = _choice(
        "ServerRunning", ("Stopped", "Running"), "whether the service answers", record="bi"
    )
    heartbeat = _number("Heartbeat", 0, "counts seconds while the IOC runs, with a service or without")
    state = _choice("State", STATES, f"what goes on, or what came of it; `{DISCONNECTED}` without a service")
    recon_status = _text("ReconStatus", "the same as a sentence")
    error_message = _text("ErrorMessage", "what is wrong: the service is away, a reconstruction failed")
    write_message = _text(
        "WriteMessage", "why the last write to a control PV was refused, after its name; empty if it was not"
    )
    run_uid = _text("RunUid", "scan that this is about")
    progress = _number("Progress", 0.0, "how far that is", units="%", precision=1)
    live_state = _choice("LiveState", LIVE_STATES, "the newest live reconstruction")
    frames_expected = _number("FramesExpected", -1, "projections that the plan announced; -1 if it did not")
    frames_seen = _number("FramesSeen", 0, "projections that have come")
    frames_used = _number("FramesUsed", 0, "projections in the live slices")
    frames_invalid = _number("FramesInvalid", 0, "projections left out, without beam say")
    recon_rate = _number("ReconRate", 0.0, "updates of the live slices", units="Hz", precision=2)
    center_found = _number(
        "CenterFound", float("nan"), "rotation axis that is used, a detector column", precision=2
    )
    center_confidence = _number(
        "CenterConfidence", float("nan"), "0, a guess, to 1, beyond doubt; NaN if not searched", precision=2
    )
    center_provisional = _choice(
        "CenterProvisional", NO_YES, "whether the live axis may still change", record="bi"
    )
    recon_state = _choice(
        "ReconState", RECON_STATES, "the reconstruction that was asked for last, batches apart"
    )
    recon_path = _text("ReconPath", "its path in Tiled")
    last_recon_path = _text("LastReconPath", "path of the reconstruction that was finished last")
    request_state = _choice("RequestState", RECON_STATES, "the reconstruction that a PV asked for last")
    request_path = _text("RequestPath", "its path in Tiled")
    request_message = _text("RequestMessage", "what its status says: why it failed, say")

    center = pvproperty(
        name="Center",
        value=float("nan"),
        precision=2,
        doc="rotation axis to use, a detector column; NaN: what the recipe says or is found",
    )
    delta_beta = pvproperty(
        name="DeltaBeta",
        value=float("nan"),
        precision=1,
        doc="δ/β of phase retrieval; NaN: what the recipe says, and none of live slices",
    )
    ortho_x = pvproperty(name="OrthoX", value=-1, doc="x of the live slice (z, y); -1: the middle")
    ortho_y = pvproperty(name="OrthoY", value=-1, doc="y of the live slice (z, x); -1: the middle")
    ortho_z = pvproperty(name="OrthoZ", value=-1, doc="z of the live slice (y, x); -1: the middle")
    recipe = pvproperty(
        name="Recipe",
        value="default",
        dtype=str,
        max_length=TEXT_LENGTH,
        doc="name of the recipe of what is asked for next, a saved or a shipped one",
    )
    start_recon = pvproperty(
        name="StartRecon",
        value=0,
        doc="1 asks for a reconstruction of the newest scan that has ended, by Recipe, Center and DeltaBeta",
    )
    stop_recon = pvproperty(
        name="StopRecon",
        value=0,
        doc="1 ends the live reconstruction, else what was asked for last; what there is stays readable",
    )
    retake_recon = pvproperty(
        name="RetakeRecon", value=0, doc="1 does what was asked for last again, by the same values"
    )

    image1 = SubGroup(ImagePVs, prefix="image1:", doc="live slice (y, x)")
    image2 = SubGroup(ImagePVs, prefix="image2:", doc="live slice (z, x)")
    image3 = SubGroup(ImagePVs, prefix="image3:", doc="live slice (z, y)")

    def suffix(self, attribute: str) -> str:
        """Return what the name of a PV ends with."""
        return str(self._pvs_[attribute].pvspec.name)

    async def _ordered(self, instance: Any, value: Any) -> Any:
        """Carry out what a client wrote; the PV then shows what is so, which need not be what was written."""
        await self._order(instance.pvspec.attr, value)
        raise SkipWrite

    for _setting in (center, delta_beta, ortho_x, ortho_y, ortho_z, recipe):
        _setting.putter(_ordered)
    for _command in (start_recon, stop_recon, retake_recon):
        _command.putter(_ordered)
    del _setting, _command


def described_pvs(group: type[PVGroup], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Return name, type, whether it can be written, and meaning of the PVs of a group."""
    rows = []
    for attribute, prop in group._pvs_.items():
        if "." in attribute:
            continue
        spec = prop.pvspec
        kind = _kind(spec)
        rows.append((f"{prefix}{spec.name}", kind, "" if spec.read_only else "yes", str(spec.doc or "")))
    return rows


def _kind(spec: Any) -> str:
    strings = (spec.cls_kwargs or {}).get("enum_strings")
    if strings:
        return " / ".join(strings)
    if spec.dtype is str or spec.dtype is ChannelType.STRING:
        return "text"
    if spec.dtype is ChannelType.FLOAT:
        return "array of numbers"
    return "whole number" if isinstance(spec.value, int) else "number"
