"""The simulated beamline's IOC: ``python -m profiles.sim.ioc --prefix TOMO: --rows 64 --columns 256``.

It answers on loopback only, writes the line ``ready`` to standard output when its PVs can be reached, and
ends on SIGTERM, SIGINT, or when its standard input closes (so it never outlives who started it).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Sequence
from typing import Any

import caproto.sync.repeater
from caproto import ChannelType
from caproto.server import PVGroup, pvproperty
from pydantic import ValidationError

from profiles.serving import serve
from profiles.sim.camera import CameraIOC
from profiles.sim.frames import FrameSource, PhantomFrames, ReplayFrames
from profiles.sim.motor import SimulatedMotor
from profiles.sim.options import LOOPBACK, SimulationOptions
from tomoservice.errors import TomoserviceError
from tomoservice.phantom import FrameKind

SAMPLE_OUT_MM = 1.0
SHUTTER_DELAY_S = 0.05

logger = logging.getLogger(__name__)


class BeamlinePVs(PVGroup):
    """Shutter, ring and what a scan's metadata come from."""

    async def _move_blades(self, instance: Any, value: str) -> None:  # noqa: ARG002
        asyncio.get_running_loop().call_later(
            SHUTTER_DELAY_S, lambda: asyncio.ensure_future(self.shutter_status.write(value))
        )

    async def _decay(self, instance: Any, async_lib: Any) -> None:
        while True:
            await async_lib.library.sleep(1.0)
            current = instance.value - 0.01
            lost = self.beam.value == "Lost"
            await instance.write(0.0 if lost else current if current > 298.0 else 300.0)

    async def _lose_beam(self, instance: Any, value: str | int) -> str:
        # Clients write either of both.
        name = value if isinstance(value, str) else instance.enum_strings[value]
        await self.ring_current.write(0.0 if name == "Lost" else 300.0)
        return str(name)

    beam = pvproperty(
        name="Beam",
        value="Present",
        enum_strings=("Lost", "Present"),
        dtype=ChannelType.ENUM,
        record="bo",
        put=_lose_beam,
        doc="written Lost, the stored beam is gone: frames go dark, and the ring's current drops to nothing",
    )
    shutter = pvproperty(
        name="Shutter:Set",
        value="Closed",
        enum_strings=("Closed", "Open"),
        dtype=ChannelType.ENUM,
        record="bo",
        put=_move_blades,
    )
    shutter_status = pvproperty(
        name="Shutter:Status",
        value="Closed",
        enum_strings=("Closed", "Open"),
        dtype=ChannelType.ENUM,
        read_only=True,
    )
    energy = pvproperty(name="Energy", value=0.0, precision=3, units="keV")
    pixel_size = pvproperty(name="PixelSize", value=0.0, precision=4, units="um")
    distance = pvproperty(name="Distance", value=0.0, precision=2, units="mm")
    sample_name = pvproperty(name="SampleName", value="", dtype=ChannelType.STRING)
    proposal = pvproperty(name="Proposal", value="", dtype=ChannelType.STRING)
    ring_current = pvproperty(
        name="RingCurrent", value=300.0, precision=2, units="mA", read_only=True, startup=_decay
    )


class SimulatedBeamline:
    """Every PV of the simulated beamline, and the devices behind them.

    Parameters
    ----------
    options
        What to simulate.
    source
        What the camera sees.
    """

    def __init__(self, options: SimulationOptions, source: FrameSource) -> None:
        prefix = options.prefix
        self._options = options
        self.beamline = BeamlinePVs(prefix)
        self.rotation = SimulatedMotor(
            f"{prefix}Rotation",
            velocity=options.rotation_velocity,
            acceleration_s=options.rotation_acceleration_s,
        )
        self.sample = SimulatedMotor(
            f"{prefix}SampleX", velocity=options.sample_velocity, limits=(-50.0, 50.0), units="mm"
        )
        self.camera = CameraIOC(prefix, source, self.rotation.position, self.scene)
        self.pvdb: dict[str, Any] = {
            **self.beamline.pvdb,
            **self.rotation.pvdb,
            **self.sample.pvdb,
            **self.camera.pvdb,
        }

    def scene(self) -> FrameKind:
        """Say what the camera would see now."""
        if self.beamline.shutter_status.value == "Closed" or self.beamline.beam.value == "Lost":
            return FrameKind.DARK
        if abs(float(self.sample.motor.field_inst.user_readback_value.value)) > SAMPLE_OUT_MM:
            return FrameKind.FLAT
        return FrameKind.PROJECTION

    async def start(self) -> None:
        """Give the PVs their first values."""
        options, pvs = self._options, self.beamline
        await pvs.energy.write(options.energy_kev)
        await pvs.pixel_size.write(options.pixel_size_um)
        await pvs.distance.write(options.distance_mm)
        await pvs.sample_name.write(options.sample_name)
        await pvs.proposal.write(options.proposal)
        await self.camera.start()


def make_source(options: SimulationOptions) -> FrameSource:
    """Make what the camera sees: a recorded scan if there is one, else the phantom."""
    if options.replay is not None:
        return ReplayFrames(options.replay)
    return PhantomFrames.default(options.rows, options.columns, options.axis, options.imperfections())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the IOC; return its exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        options = SimulationOptions.from_arguments(arguments)
        source = make_source(options)
    except (ValidationError, TomoserviceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    # a client that finds no repeater tries to start one; EPICS's own is not in the Python packages
    threading.Thread(
        target=caproto.sync.repeater.run, args=(LOOPBACK,), name="ca-repeater", daemon=True
    ).start()
    simulated = SimulatedBeamline(options, source)
    try:
        asyncio.run(serve(simulated.pvdb, [LOOPBACK], simulated.start))
    finally:
        simulated.camera.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
