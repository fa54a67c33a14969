"""Which PVs make up a tomography beamline: one table, the only thing that a real beamline fills in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tomoservice.errors import SettingsError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RotationConfig(_Section):
    """The rotation stage."""

    pv: str = Field(description="motor record of the rotation stage, degrees")
    name: str = Field("rotation", description="device name, and the data key of its readback")


class SampleConfig(_Section):
    """The translation that takes the sample out of the beam."""

    pv: str = Field(description="motor record of the sample translation")
    name: str = Field("sample_x", description="device name")
    in_position: float = Field(0.0, description="where the sample stands in the beam, motor units")
    out_position: float = Field(description="where it stands beside the beam, motor units")


class ShutterConfig(_Section):
    """The shutter, a binary output and a binary input."""

    set_pv: str = Field(description="written to move the shutter")
    status_pv: str = Field(description="read to know where it is")
    name: str = Field("shutter", description="device name")
    open_value: int = Field(1, description="written to open")
    closed_value: int = Field(0, description="written to close")
    status_open: int = Field(1, description="read when open")
    status_closed: int = Field(0, description="read when closed")
    timeout_s: float = Field(10.0, gt=0, description="longest time it may take to move")


class CameraConfig(_Section):
    """An areaDetector camera and its HDF5 plugin."""

    pv: str = Field(description="prefix of the areaDetector IOC; cam_suffix and hdf5_suffix follow")
    name: str = Field("camera", description="device name; frames come under NAME_image, angles NAME_angle")
    cam_suffix: str = Field("cam1:", description="of the driver")
    hdf5_suffix: str = Field("HDF1:", description="of the NDFileHDF5 plugin")
    write_path: Path = Field(description="folder for files as the IOC sees it; strftime codes are filled in")
    read_path: Path | None = Field(None, description="the same folder as readers see it; default: the same")
    dataset: str = Field("/entry/data/data", description="images in the file")
    angle_dataset: str = Field(
        "/entry/instrument/NDAttributes/Angle", description="rotation angle of each frame in the file"
    )
    swmr: bool = Field(True, description="files can be read while they are written")
    frames_per_flush: int = Field(1, ge=1, description="frames after which the plugin flushes the file")
    readout_s: float = Field(0.0, ge=0, description="dead time between exposures")


class MetadataSource(_Section):
    """A number or text that goes into every scan's start document."""

    pv: str = Field(description="process variable")
    scale: float = Field(1.0, description="factor to the unit wanted here, e.g. 0.001 for a PV in eV")


class MetadataConfig(_Section):
    """Where a scan's metadata are read."""

    energy_kev: MetadataSource = Field(description="photon energy")
    pixel_size_um: MetadataSource = Field(description="pixel size at the sample")
    distance_mm: MetadataSource = Field(description="sample to detector")
    sample_name: MetadataSource = Field(description="text")
    proposal: MetadataSource = Field(description="text")
    extra: dict[str, MetadataSource] = Field({}, description="anything else, by the name it gets")


class BeamlineConfig(_Section):
    """Everything that the devices and plans need to know about a beamline."""

    name: str = Field(description="of the beamline")
    rotation: RotationConfig
    sample: SampleConfig
    shutter: ShutterConfig
    camera: CameraConfig
    metadata: MetadataConfig
    connection_timeout_s: float = Field(5.0, gt=0, description="longest time until every PV answers")


def load_config(path: Path, **replacements: object) -> BeamlineConfig:
    """Read a beamline's configuration.

    Parameters
    ----------
    path
        YAML file.
    **replacements
        Each ``{name}`` in a text of the file becomes the value given under that name.

    Raises
    ------
    SettingsError
        The file cannot be read, or a field is missing, unknown or wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        message = f"{path}: cannot be read as YAML: {error}"
        raise SettingsError(message) from error
    try:
        return BeamlineConfig.model_validate(_fill_in(content, replacements))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        )
        message = f"{path}: {problems}"
        raise SettingsError(message) from error


def _fill_in(content: Any, replacements: dict[str, object]) -> Any:
    if isinstance(content, dict):
        return {key: _fill_in(value, replacements) for key, value in content.items()}
    if isinstance(content, str):
        for name, value in replacements.items():
            content = content.replace(f"{{{name}}}", str(value))
    return content
