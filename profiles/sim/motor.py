"""A motor record whose position is an exact function of time, so that a camera can ask where it was."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from caproto.server import PVGroup, pvproperty


@dataclass(frozen=True)
class Move:
    """A trapezoidal move; before and after it the stage stands still.

    Parameters
    ----------
    began
        Seconds since 1970.
    start, target
        Position, engineering units.
    velocity
        Greatest speed, units per second.
    acceleration_s
        Time to reach it.
    """

    began: float
    start: float
    target: float
    velocity: float
    acceleration_s: float

    @property
    def peak_velocity(self) -> float:
        """Speed that the move reaches: a short one never gets up to `velocity`."""
        if self.acceleration_s <= 0:
            return self.velocity
        return min(self.velocity, math.sqrt(self.distance * self.velocity / self.acceleration_s))

    @property
    def distance(self) -> float:
        """Path length, units."""
        return abs(self.target - self.start)

    @property
    def ramp_s(self) -> float:
        """Time spent on accelerating, and again on braking."""
        return self.acceleration_s * self.peak_velocity / self.velocity

    @property
    def duration(self) -> float:
        """Seconds from start to standstill."""
        return self.ramp_s + self.distance / self.peak_velocity if self.distance > 0 else 0.0

    def position(self, when: float) -> float:
        """Return where the stage is at `when` (seconds since 1970)."""
        elapsed, duration = when - self.began, self.duration
        if elapsed <= 0 or duration == 0:
            return self.start if elapsed <= 0 else self.target
        if elapsed >= duration:
            return self.target
        peak, ramp = self.peak_velocity, self.ramp_s
        if elapsed < ramp:
            gone = peak * elapsed**2 / (2 * ramp)
        elif elapsed > duration - ramp:
            gone = self.distance - peak * (duration - elapsed) ** 2 / (2 * ramp)
        else:
            gone = peak * (elapsed - ramp / 2)
        return self.start + math.copysign(gone, self.target - self.start)


class SimulatedMotor(PVGroup):
    """The PVs of a motor record and the stage behind them.

    Parameters
    ----------
    velocity
        Units per second.
    acceleration_s
        Seconds to reach the velocity.
    limits
        Soft limits, units.
    units
        Engineering units.
    tick_s
        Seconds between readback updates while moving.
    """

    async def _follow(self, instance: Any, async_lib: Any) -> None:  # noqa: ARG002
        """Move whenever the set point is written."""
        fields = instance.field_inst
        for name, value in self._defaults.items():
            await getattr(fields, name).write(value)
        low, high = self._limits
        units = str(self._defaults["engineering_units"])
        await instance.write_metadata(lower_ctrl_limit=low, upper_ctrl_limit=high, precision=5, units=units)
        await fields.user_readback_value.write_metadata(precision=5, units=units)
        fields.value_write_hook = self._on_set_point
        while True:
            await self._command.wait()
            self._command.clear()
            await self._run(instance)

    motor = pvproperty(value=0.0, name="", record="motor", precision=5, startup=_follow)

    def __init__(
        self,
        prefix: str,
        *,
        velocity: float,
        acceleration_s: float = 0.1,
        limits: tuple[float, float] = (-3600.0, 3600.0),
        units: str = "deg",
        tick_s: float = 0.02,
    ) -> None:
        super().__init__(prefix)
        self._defaults = {
            "velocity": velocity,
            "max_velocity": 10 * velocity,
            "seconds_to_velocity": acceleration_s,
            "motor_step_size": 1e-5,
            "user_low_limit": limits[0],
            "user_high_limit": limits[1],
            "engineering_units": units,
            "limit_violation": 0,
        }
        self._limits = limits
        self._tick_s = tick_s
        self._command = asyncio.Event()
        self._moves: deque[Move] = deque([Move(0.0, 0.0, 0.0, velocity, acceleration_s)], maxlen=16)

    def position(self, when: float) -> float:
        """Return where the stage is, or was within its last few moves, at `when` (seconds since 1970)."""
        for move in reversed(self._moves):
            if move.began <= when:
                return move.position(when)
        return self._moves[0].start

    async def _on_set_point(self, fields: Any, value: float) -> None:  # noqa: ARG002
        self._command.set()

    async def _run(self, instance: Any) -> None:
        fields = instance.field_inst
        now = time.time()
        move = Move(
            began=now,
            start=self.position(now),
            target=float(instance.value),
            velocity=max(float(fields.velocity.value), 1e-6),
            acceleration_s=max(float(fields.seconds_to_velocity.value), 0.0),
        )
        self._moves.append(move)
        await fields.stop.write(0)
        await fields.direction_of_travel.write(int(move.target >= move.start))
        await fields.done_moving_to_value.write(0)
        await fields.motor_is_moving.write(1)
        while (now := time.time()) < move.began + move.duration and not self._command.is_set():
            if fields.stop.value:
                here = move.position(now)
                self._moves.append(Move(now, here, here, move.velocity, move.acceleration_s))
                await instance.write(here)
                self._command.clear()
                break
            await self._show(fields, move.position(now), now)
            await asyncio.sleep(min(self._tick_s, move.began + move.duration - now + 1e-4))
        await self._show(fields, self.position(time.time()), time.time())
        if not self._command.is_set():
            await fields.motor_is_moving.write(0)
            await fields.done_moving_to_value.write(1)

    @staticmethod
    async def _show(fields: Any, position: float, when: float) -> None:
        await fields.user_readback_value.write(position, timestamp=when)
        await fields.dial_readback_value.write(position, timestamp=when)
