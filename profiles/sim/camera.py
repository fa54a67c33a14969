"""The simulated areaDetector camera: exposes on time, records without holding up Channel Access."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from profiles.sim.camera_pvs import CameraPVs, Hdf5PVs
from profiles.sim.frames import PIXEL_TYPES, FrameSource
from profiles.sim.recorder import Exposure, Recorder
from tomoservice.phantom import FrameKind

logger = logging.getLogger(__name__)


class CameraIOC:
    """A camera and its HDF5 plugin behind areaDetector's PVs.

    Frames are exposed at exact intervals; the angle of each is that of the rotation stage at the middle of
    its exposure, however late the frame is computed and written. None is ever dropped.

    Parameters
    ----------
    prefix
        Of the camera's PVs; ``cam1:`` and ``HDF1:`` follow.
    source
        What the camera sees.
    angle_at
        Stage angle in degrees at a time in seconds since 1970.
    scene
        What stands in the beam now.
    """

    def __init__(
        self,
        prefix: str,
        source: FrameSource,
        angle_at: Callable[[float], float],
        scene: Callable[[], FrameKind],
    ) -> None:
        self.cam = CameraPVs(f"{prefix}cam1:")
        self.hdf = Hdf5PVs(f"{prefix}HDF1:")
        self.pvdb: dict[str, Any] = {**self.cam.pvdb, **self.hdf.pvdb}
        self._source = source
        self._angle_at = angle_at
        self._scene = scene
        self._unique_id = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._acquisition: asyncio.Task[None] | None = None
        self._recorder = Recorder(source, self._announce)
        self._hook(self.cam.acquire, self._on_acquire)
        self._hook(self.hdf.capture, self._on_capture)
        self._hook(self.hdf.file_path, self._on_file_path)

    async def start(self) -> None:
        """Publish what the sensor is like; call once the server runs."""
        self._loop = asyncio.get_running_loop()
        rows, columns = self._source.rows, self._source.columns
        await self.cam.array_size_x.write(columns)
        await self.cam.array_size_y.write(rows)
        await self.hdf.array_size_0.write(columns)
        await self.hdf.array_size_1.write(rows)
        await self.cam.data_type.setpoint.write(PIXEL_TYPES[self._source.dtype.name])

    def stop(self) -> None:
        """Finish the file and end the recorder's thread; blocks."""
        self._recorder.stop()

    @staticmethod
    def _hook(pair: Any, handler: Callable[[Any], Any]) -> None:
        async def put(_instance: Any, value: Any) -> Any:
            return await handler(value)

        # on the instance: a putter in the class body of the PVs would not know this camera
        pair.setpoint.putter = put

    async def _on_acquire(self, value: int) -> None:
        running = self._acquisition is not None and not self._acquisition.done()
        if value and not running:
            await self.cam.acquire.readback.write(1)
            self._acquisition = asyncio.create_task(self._acquire())
        elif not value and not running:
            await self.cam.acquire.readback.write(0)

    async def _acquire(self) -> None:
        await self.cam.detector_state.write("Acquire")
        exposure_s = float(self.cam.acquire_time.readback.value)
        period_s = max(float(self.cam.acquire_period.readback.value), exposure_s)
        mode = self.cam.image_mode.readback.value
        wanted = {"Single": 1, "Multiple": int(self.cam.num_images.readback.value)}.get(mode)
        began = time.time()
        for number in itertools.count():
            if number == wanted:
                break
            end = began + number * period_s + exposure_s
            await asyncio.sleep(max(end - time.time(), 0.0))
            if not self.cam.acquire.setpoint.value:
                break
            await self._expose(end - exposure_s / 2)
        if self.hdf.blocking_callbacks.readback.value == "Yes":
            await asyncio.to_thread(self._recorder.wait)
            await self._show_written()
        await self.cam.detector_state.write("Idle")
        await self.cam.acquire.setpoint.write(0, verify_value=False)
        await self.cam.acquire.readback.write(0)

    async def _expose(self, when: float) -> None:
        self._unique_id += 1
        hdf = self.hdf
        counter = int(self.cam.array_counter.readback.value) + 1
        await self.cam.array_counter.setpoint.write(counter)
        limit = int(hdf.num_capture.readback.value)
        if not hdf.capture.readback.value or hdf.enable_callbacks.readback.value != "Enable":
            return
        if 0 < limit <= int(hdf.array_counter.readback.value):
            return
        await hdf.array_counter.setpoint.write(int(hdf.array_counter.readback.value) + 1)
        self._recorder.record(
            Exposure(
                kind=self._scene(), angle_deg=self._angle_at(when), timestamp=when, unique_id=self._unique_id
            )
        )

    async def _on_file_path(self, value: str) -> str:
        path = value if value.endswith("/") else value + "/"
        if int(self.hdf.create_directory.readback.value) < 0:
            with contextlib.suppress(OSError):  # FilePathExists tells
                Path(path).mkdir(parents=True, exist_ok=True)
        await self.hdf.file_path_exists.write(int(Path(path).is_dir()))
        await self.hdf.file_path.readback.write(path)
        return path

    async def _on_capture(self, value: int) -> None:
        hdf = self.hdf
        if not value:
            await asyncio.to_thread(self._recorder.close_file)
            await hdf.swmr_active.write(0)
            await hdf.capture.readback.write(0)
            return
        number = int(hdf.file_number.readback.value)
        template = str(hdf.file_template.readback.value)
        path = template % (hdf.file_path.readback.value, hdf.file_name.readback.value, number)
        swmr = hdf.swmr_mode.readback.value == "On"
        flush = int(hdf.num_frames_flush.readback.value)
        try:
            await asyncio.to_thread(self._recorder.open, Path(path), swmr=swmr, frames_per_flush=flush)
        except OSError as error:
            logger.warning("cannot create %s: %s", path, error)
            await hdf.write_status.write(1)
            await hdf.write_message.write(str(error)[:200])
            return
        await hdf.write_status.write(0)
        await hdf.write_message.write("")
        await hdf.full_file_name.write(path)
        await hdf.num_captured.write(0)
        await hdf.array_counter.setpoint.write(0)
        if hdf.auto_increment.readback.value == "Yes":
            await hdf.file_number.setpoint.write(number + 1)
        await hdf.swmr_active.write(int(swmr))
        await hdf.capture.readback.write(1)

    def _announce(self) -> None:
        """Tell the server's thread that frames were written; called in the recorder's."""
        if self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._show_written(), self._loop)

    async def _show_written(self) -> None:
        visible = self._recorder.visible
        if visible > int(self.hdf.num_captured.value):
            await self.hdf.num_captured.write(visible)
        limit = int(self.hdf.num_capture.readback.value)
        if 0 < limit <= visible and self.hdf.capture.readback.value:
            await self.hdf.capture.setpoint.write(0)
