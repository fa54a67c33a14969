"""The file side of the simulated camera: HDF5 written as areaDetector's NDFileHDF5 writes it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from profiles.sim.frames import Frame, FrameSource
from tomoservice.phantom import FrameKind

logger = logging.getLogger(__name__)

DATASET: Final = "/entry/data/data"
ATTRIBUTES: Final = "/entry/instrument/NDAttributes"


@dataclass(frozen=True)
class Exposure:
    """One frame that the camera has taken and that is still to be made and written.

    Parameters
    ----------
    kind
        What stood in the beam.
    angle_deg
        Rotation stage at the middle of the exposure.
    timestamp
        Seconds since 1970 at the middle of the exposure.
    unique_id
        Number of the frame since the IOC started.
    """

    kind: FrameKind
    angle_deg: float
    timestamp: float
    unique_id: int


class StackFile:
    """One HDF5 file that grows frame by frame.

    Parameters
    ----------
    path
        File to create; must not exist.
    shape
        Rows and columns of a frame.
    dtype
        Of a pixel.
    swmr
        Let others read while it grows.
    """

    def __init__(self, path: Path, shape: tuple[int, int], dtype: np.dtype[Any], *, swmr: bool) -> None:
        self.path = path
        self.count = 0
        self._file = h5py.File(path, "w-", libver="latest" if swmr else None)
        self._data = self._file.create_dataset(
            DATASET, (0, *shape), dtype, maxshape=(None, *shape), chunks=(1, *shape)
        )
        self._data.attrs["signal"] = 1
        self._attributes = {
            name: self._file.create_dataset(
                f"{ATTRIBUTES}/{name}", (0,), kind, maxshape=(None,), chunks=(256,)
            )
            for name, kind in (("Angle", "f8"), ("TimeStamp", "f8"), ("UniqueId", "i4"))
        }
        for name, group in (
            ("/entry", "NXentry"),
            ("/entry/data", "NXdata"),
            ("/entry/instrument", "NXinstrument"),
        ):
            self._file[name].attrs["NX_class"] = group
        if swmr:
            self._file.swmr_mode = True

    def append(self, frame: Frame, exposure: Exposure) -> None:
        """Write one frame, (row, column), and its attributes."""
        values = {
            "Angle": exposure.angle_deg,
            "TimeStamp": exposure.timestamp,
            "UniqueId": exposure.unique_id,
        }
        # the image comes last: whoever sees it finds its angle there
        for name, dataset in self._attributes.items():
            dataset.resize((self.count + 1,))
            dataset[self.count] = values[name]
        self._data.resize(self.count + 1, axis=0)
        self._data[self.count] = frame
        self.count += 1

    def flush(self) -> None:
        """Show readers everything that was appended."""
        for dataset in (*self._attributes.values(), self._data):
            dataset.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Recorder:
    """Makes the camera's frames and writes them, in one thread of its own.

    Parameters
    ----------
    source
        What the camera sees.
    on_written
        Called in the recorder's thread when `visible` has grown.
    """

    def __init__(self, source: FrameSource, on_written: Callable[[], None]) -> None:
        self.visible = 0
        """Frames in the present file that readers can see."""
        self._source = source
        self._on_written = on_written
        self._file: StackFile | None = None
        self._frames_per_flush = 1
        self._numbers = dict.fromkeys(FrameKind, 0)
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="recorder")
        self._thread.start()

    def open(self, path: Path, *, swmr: bool, frames_per_flush: int) -> None:
        """Start a new file; raises OSError if it cannot be created. Called between acquisitions."""
        self.close_file()
        source = self._source
        self.visible = 0
        self._frames_per_flush = max(frames_per_flush, 1)
        self._file = StackFile(path, (source.rows, source.columns), source.dtype, swmr=swmr)

    def record(self, exposure: Exposure) -> None:
        """Queue one exposure; returns at once."""
        self._jobs.put(lambda: self._record(exposure))

    def wait(self) -> None:
        """Return when everything queued so far is in the file."""
        done = threading.Event()
        self._jobs.put(done.set)
        done.wait()

    def close_file(self) -> None:
        """Finish what is queued and close the file, if there is one."""
        self.wait()
        if self._file is not None:
            self._file.close()
            self._file = None

    def stop(self) -> None:
        """Finish the file and end the thread."""
        self.close_file()
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # the thread's boundary: a full disk must not end the IOC
                logger.exception("a frame could not be written")

    def _record(self, exposure: Exposure) -> None:
        number = self._numbers[exposure.kind]
        self._numbers[exposure.kind] += 1
        frame = self._make(exposure, number)
        if self._file is None:
            return
        self._file.append(frame, exposure)
        if self._file.count % self._frames_per_flush == 0 or self._jobs.empty():
            self._file.flush()
            self.visible = self._file.count
            self._on_written()

    def _make(self, exposure: Exposure, number: int) -> Frame:
        if exposure.kind is FrameKind.DARK:
            return self._source.dark(number)
        if exposure.kind is FrameKind.FLAT:
            return self._source.flat(number)
        return self._source.projection(exposure.angle_deg, number)
