"""The PVs of an areaDetector camera and its HDF5 plugin: what ophyd's own classes read and write.

Names, types and initial values only; `profiles.sim.camera` makes them do something.
"""

from __future__ import annotations

from typing import Any, Final

from caproto import ChannelType
from caproto.server import PVGroup, get_pv_pair_wrapper, pvproperty

from profiles.sim.frames import PIXEL_TYPES

# areaDetector's habit: NAME is written, NAME_RBV is read
setting = get_pv_pair_wrapper(setpoint_suffix="", readback_suffix="_RBV")

NO_YES: Final = ("No", "Yes")
DISABLE_ENABLE: Final = ("Disable", "Enable")
OFF_ON: Final = ("Off", "On")
TEXT: Final = {"dtype": str, "max_length": 256}


def _choice(name: str, strings: tuple[str, ...], value: str, **keywords: object) -> Any:
    return setting(name=name, value=value, enum_strings=strings, dtype=ChannelType.ENUM, **keywords)


def _text(name: str, value: str = "") -> Any:
    return setting(name=name, value=value, **TEXT)


class CameraPVs(PVGroup):
    """``cam1:`` of areaDetector."""

    port_name = pvproperty(name="PortName_RBV", value="CAM", dtype=ChannelType.STRING, read_only=True)
    manufacturer = pvproperty(
        name="Manufacturer_RBV", value="tomoservice", dtype=ChannelType.STRING, read_only=True
    )
    model = pvproperty(name="Model_RBV", value="simulated camera", dtype=ChannelType.STRING, read_only=True)
    acquire = setting(name="Acquire", value=0)
    acquire_time = setting(name="AcquireTime", value=0.01)
    acquire_period = setting(name="AcquirePeriod", value=0.02)
    image_mode = _choice("ImageMode", ("Single", "Multiple", "Continuous"), "Multiple")
    trigger_mode = _choice("TriggerMode", ("Internal", "External"), "Internal")
    num_images = setting(name="NumImages", value=1)
    num_exposures = setting(name="NumExposures", value=1)
    array_counter = setting(name="ArrayCounter", value=0)
    array_callbacks = _choice("ArrayCallbacks", DISABLE_ENABLE, "Enable")
    data_type = _choice("DataType", tuple(PIXEL_TYPES.values()), "UInt16", readback_kw={"record": "mbbi"})
    array_size_x = pvproperty(name="ArraySizeX_RBV", value=0, read_only=True)
    array_size_y = pvproperty(name="ArraySizeY_RBV", value=0, read_only=True)
    array_size_z = pvproperty(name="ArraySizeZ_RBV", value=0, read_only=True)
    detector_state = pvproperty(
        name="DetectorState_RBV",
        value="Idle",
        enum_strings=("Idle", "Acquire"),
        dtype=ChannelType.ENUM,
        read_only=True,
    )


class Hdf5PVs(PVGroup):
    """``HDF1:`` of areaDetector: NDFileHDF5."""

    plugin_type = pvproperty(
        name="PluginType_RBV", value="NDFileHDF5", dtype=ChannelType.STRING, read_only=True
    )
    port_name = pvproperty(name="PortName_RBV", value="HDF1", dtype=ChannelType.STRING, read_only=True)
    nd_array_port = setting(name="NDArrayPort", value="CAM", dtype=ChannelType.STRING)
    enable_callbacks = _choice("EnableCallbacks", DISABLE_ENABLE, "Disable")
    blocking_callbacks = _choice("BlockingCallbacks", NO_YES, "No")
    array_counter = setting(name="ArrayCounter", value=0)
    array_size_0 = pvproperty(name="ArraySize0_RBV", value=0, read_only=True)
    array_size_1 = pvproperty(name="ArraySize1_RBV", value=0, read_only=True)
    array_size_2 = pvproperty(name="ArraySize2_RBV", value=0, read_only=True)

    file_path = _text("FilePath")
    file_path_exists = pvproperty(name="FilePathExists_RBV", value=0, read_only=True)
    create_directory = setting(name="CreateDirectory", value=0)
    file_name = _text("FileName")
    file_number = setting(name="FileNumber", value=0)
    file_template = _text("FileTemplate", "%s%s_%6.6d.h5")
    full_file_name = pvproperty(name="FullFileName_RBV", value="", read_only=True, **TEXT)
    file_write_mode = _choice("FileWriteMode", ("Single", "Capture", "Stream"), "Stream")
    file_format = setting(name="FileFormat", value=0)
    auto_increment = _choice("AutoIncrement", NO_YES, "Yes")
    auto_save = _choice("AutoSave", NO_YES, "Yes")
    delete_driver_file = _choice("DeleteDriverFile", NO_YES, "No")
    num_capture = setting(name="NumCapture", value=0)
    num_captured = pvproperty(name="NumCaptured_RBV", value=0, read_only=True)
    capture = setting(name="Capture", value=0)
    write_status = pvproperty(name="WriteStatus", value=0, read_only=True)
    write_message = pvproperty(name="WriteMessage", value="", read_only=True, **TEXT)

    swmr_mode = _choice("SWMRMode", OFF_ON, "Off")
    swmr_active = pvproperty(name="SWMRActive_RBV", value=0, read_only=True)
    num_frames_flush = setting(name="NumFramesFlush", value=1)
    nd_attribute_chunk = setting(name="NDAttributeChunk", value=256)
    store_attributes = _choice("StoreAttr", NO_YES, "Yes")
    store_performance = _choice("StorePerform", NO_YES, "No")
    compression = setting(name="Compression", value=0)
    lazy_open = _choice("LazyOpen", NO_YES, "No")
