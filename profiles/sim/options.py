"""What the simulated beamline can be told: one model, from which the IOC's command line is made."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from tomoservice.phantom import Imperfections

LOOPBACK: Final = "127.0.0.1"
SECOND_LOOPBACK: Final = "127.0.0.2"
"""Of a second IOC on this machine: of two on one address and port only one hears who searches for PVs."""


class SimulationOptions(BaseModel):
    """Settings of the simulated beamline's IOC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = Field("TOMO:", min_length=1, description="what every PV's name begins with")
    rows: int = Field(64, ge=1, description="detector rows")
    columns: int = Field(256, ge=16, description="detector columns")
    rotation_axis: float | None = Field(
        None, description="detector column of the rotation axis; default: middle"
    )
    noise: float = Field(0.0, ge=0, description="relative noise of a pixel of the open beam, e.g. 0.01")
    beam_profile: float = Field(0.0, ge=0, lt=1, description="how much weaker the beam is at the corners")
    dead_pixels: float = Field(0.0, ge=0, lt=1, description="fraction of dead pixels")
    zingers: float = Field(0.0, ge=0, description="saturated pixels per frame, on average")
    stripes: float = Field(0.0, ge=0, description="column gain errors that are not in the flats, e.g. 0.02")
    seed: int = Field(0, ge=0, description="of everything random")
    replay: Path | None = Field(None, description="recorded scan to show in place of the phantom")
    rotation_velocity: float = Field(
        180.0, gt=0, description="of the rotation stage at start, degrees per second"
    )
    rotation_acceleration_s: float = Field(
        0.05, ge=0, description="time the rotation takes to reach its velocity"
    )
    sample_velocity: float = Field(50.0, gt=0, description="of the sample translation, mm per second")
    energy_kev: float = Field(25.0, ge=0, description="photon energy; 0: not known")
    pixel_size_um: float = Field(3.25, ge=0, description="at the sample; 0: not known")
    distance_mm: float = Field(50.0, ge=0, description="from sample to detector")
    sample_name: str = Field("phantom", max_length=40, description="name of the sample")
    proposal: str = Field("demo", max_length=40, description="proposal number")

    @property
    def axis(self) -> float:
        """Detector column of the rotation axis."""
        return (self.columns - 1) / 2 if self.rotation_axis is None else self.rotation_axis

    def imperfections(self) -> Imperfections:
        """Return what is wrong with the camera."""
        return Imperfections(
            noise=self.noise,
            beam_profile=self.beam_profile,
            dead_pixels=self.dead_pixels,
            zingers=self.zingers,
            stripes=self.stripes,
            seed=self.seed,
        )

    def to_arguments(self) -> list[str]:
        """Return the command line that gives these options again."""
        given = self.model_dump(mode="json", exclude_defaults=True)
        return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]

    @classmethod
    def from_arguments(cls, arguments: Sequence[str] | None = None) -> SimulationOptions:
        """Read a command line.

        Raises
        ------
        pydantic.ValidationError
            A value is out of range.
        """
        parser = argparse.ArgumentParser(prog="python -m profiles.sim.ioc", description=__doc__)
        for name, field in cls.model_fields.items():
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                default=argparse.SUPPRESS,
                help=f"{field.description} (default: {field.default})",
            )
        return cls.model_validate(vars(parser.parse_args(arguments)))
