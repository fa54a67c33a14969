"""A connected beamline: the devices that the plans move and read."""

from __future__ import annotations

import atexit
import time
from dataclasses import dataclass

import ophyd
from ophyd import EpicsMotor, EpicsSignalRO

from profiles.config import BeamlineConfig
from profiles.devices import Camera, Shutter, metadata_signals
from profiles.flyer import FlyCamera
from tomoservice.errors import BeamlineError


@dataclass(frozen=True, eq=False)
class Beamline:
    """Devices of a tomography beamline.

    Parameters
    ----------
    config
        What they were made from.
    rotation
        Rotation stage, degrees.
    sample
        Translation that takes the sample out of the beam.
    shutter
        Set to ``"open"`` or ``"closed"``.
    camera
        For step scans.
    fly_camera
        The same camera for continuous scans.
    metadata
        Signal and factor by the name that the value gets in the start document.
    """

    config: BeamlineConfig
    rotation: EpicsMotor
    sample: EpicsMotor
    shutter: Shutter
    camera: Camera
    fly_camera: FlyCamera
    metadata: dict[str, tuple[EpicsSignalRO, float]]

    def disconnect(self) -> None:
        """Close every Channel Access connection; the beamline cannot be used afterwards."""
        atexit.unregister(_leave)
        for device in (self.rotation, self.sample, self.shutter, self.camera):
            device.destroy()
        for signal, _ in self.metadata.values():
            signal.destroy()


def connect(config: BeamlineConfig) -> Beamline:
    """Make the devices of a beamline and wait until all of them answer.

    Parameters
    ----------
    config
        Names of PVs and devices.

    Returns
    -------
    Beamline

    Raises
    ------
    BeamlineError
        PVs that do not answer, by name.
    """
    _check(required_pvs(config), config)
    rotation = EpicsMotor(config.rotation.pv, name=config.rotation.name)
    sample = EpicsMotor(config.sample.pv, name=config.sample.name)
    shutter = Shutter(config.shutter)
    camera = Camera(config.camera)
    metadata = metadata_signals(config.metadata)
    timeout_s = config.connection_timeout_s
    for device in (rotation, sample, shutter, camera):
        device.wait_for_connection(timeout=timeout_s)
    for signal, _ in metadata.values():
        signal.wait_for_connection(timeout=timeout_s)
    beamline = Beamline(config, rotation, sample, shutter, camera, FlyCamera(camera), metadata)
    atexit.register(_leave, beamline)
    return beamline


def _leave(beamline: Beamline) -> None:
    """Close the connections of a process that ends without having done so.

    Only after ophyd's threads have stopped: one that still talks to a channel crashes the process.
    """
    ophyd.cl.get_dispatcher().stop()
    beamline.disconnect()


def required_pvs(config: BeamlineConfig) -> list[str]:
    """Return the PVs without which no scan can run."""
    camera = config.camera
    driver, plugin = f"{camera.pv}{camera.cam_suffix}", f"{camera.pv}{camera.hdf5_suffix}"
    motors = [config.rotation.pv, config.sample.pv]
    metadata = config.metadata
    sources = [metadata.energy_kev, metadata.pixel_size_um, metadata.distance_mm, metadata.sample_name]
    sources += [metadata.proposal, *metadata.extra.values()]
    return [
        *(f"{motor}{field}" for motor in motors for field in (".VAL", ".RBV", ".DMOV", ".VELO", ".ACCL")),
        config.shutter.set_pv,
        config.shutter.status_pv,
        *(f"{driver}{name}" for name in ("Acquire", "AcquireTime", "NumImages", "ArraySizeX_RBV")),
        *(f"{plugin}{name}" for name in ("Capture", "NumCaptured_RBV", "FilePath", "SWMRMode")),
        *(source.pv for source in sources),
    ]


def _check(names: list[str], config: BeamlineConfig) -> None:
    """Raise if any PV does not answer in time: all are asked at once."""
    deadline = time.monotonic() + config.connection_timeout_s
    # ophyd's signals and not pyepics' own channels: those are shared by name, and closing one closes all
    signals = [EpicsSignalRO(name, name=name) for name in names]
    try:
        while (missing := [signal.pvname for signal in signals if not signal.connected]) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.01)
    finally:
        for signal in signals:
            signal.destroy()
    if missing:
        message = (
            f"{config.name}: {len(missing)} of {len(names)} PVs do not answer within "
            f"{config.connection_timeout_s:g} s: {', '.join(missing)}. "
            "Check that the IOC runs, the names in the beamline's table, and EPICS_CA_ADDR_LIST"
        )
        raise BeamlineError(message)
