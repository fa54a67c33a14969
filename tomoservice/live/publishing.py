"""Writes what a live reconstruction shows into its node, in a thread of its own, and reads what is wished."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.catalog.live_nodes import LiveNode
from tomoservice.catalog.live_records import LiveMetadata, LivePicture, LiveWishes
from tomoservice.catalog.transport import NotFoundError
from tomoservice.errors import CatalogError, ServiceUnavailableError

logger = logging.getLogger(__name__)

RATE_OVER = 8
"""Updates over which their rate is told."""
SLOW_S = 0.7
"""An update that takes longer is told of in the log."""


@dataclass(frozen=True)
class Snapshot:
    """What there is to be shown at a moment.

    Parameters
    ----------
    metadata
        What to say; its number, time and rate are filled in.
    images
        What to show.
    about
        What to say of each image.
    """

    metadata: LiveMetadata
    images: Mapping[LivePicture, NDArray[np.float32]]
    about: Mapping[LivePicture, Mapping[str, Any]]


class Publisher:
    """Writes snapshots one after the other; the next is asked for when the last has been written.

    Parameters
    ----------
    node : LiveNode
        Where to write.
    """

    def __init__(self, node: LiveNode) -> None:
        self._node = node
        self._snapshot: Snapshot | None = None
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._finishing = self._stopped = False
        self._beside = ThreadPoolExecutor(1, "live-volume")
        self._volume: Future[None] | None = None
        self._updates = 0
        self._times: deque[float] = deque(maxlen=RATE_OVER)
        self.wishes = LiveWishes()
        """What was wished when it was last looked."""
        self.gone = False
        """Whether somebody has deleted the node."""
        self._thread = threading.Thread(target=self._work, name="live-publisher", daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether the last snapshot has been written."""
        return self._idle.is_set()

    def publish(self, snapshot: Snapshot) -> None:
        """Have a snapshot written; returns at once."""
        self._idle.clear()
        self._snapshot = snapshot
        self._wake.set()

    def finish(self, snapshot: Snapshot, timeout_s: float) -> None:
        """Write a last snapshot, and end."""
        self._idle.wait(timeout_s)
        self._finishing = True
        self.publish(snapshot)
        self._idle.wait(timeout_s)
        self.stop()
        self._thread.join(timeout_s)

    def stop(self) -> None:
        """End without writing any more."""
        self._stopped = True
        self._beside.shutdown(wait=False)
        self._wake.set()

    def _work(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            snapshot, self._snapshot = self._snapshot, None
            if snapshot is not None:
                try:
                    self._write(snapshot)
                except NotFoundError:
                    self.gone = True
                except (CatalogError, ServiceUnavailableError) as error:
                    # The next update says all that this one would have said.
                    logger.warning("an update is lost: %s", error)
                except Exception:
                    # The thread's boundary: without it the view would stand still, and nobody would know why.
                    logger.exception("an update is lost")
                finally:
                    self._idle.set()
            if self._stopped:
                return

    def _write(self, snapshot: Snapshot) -> None:
        began = time.monotonic()
        self._show_volume(snapshot)
        for picture, image in snapshot.images.items():
            if picture is not LivePicture.VOLUME:
                self._node.show(picture, image, snapshot.about.get(picture, {}))
        pictures = time.monotonic()
        self._updates += 1
        self._times.append(time.monotonic())
        span = self._times[-1] - self._times[0]
        rate = (len(self._times) - 1) / span if span > 0 else 0.0
        # Last, so that whoever is told of it finds the images.
        self._node.write(
            snapshot.metadata.model_copy(
                update={
                    "update": self._updates,
                    "updated": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "rate_hz": round(rate, 3),
                }
            )
        )
        self._read_wishes()
        ended = time.monotonic()
        if ended - began > SLOW_S:
            logger.info(
                "an update took %.2f s, %.2f s of that for %s",
                ended - began,
                pictures - began,
                ", ".join(snapshot.images),
            )

    def _show_volume(self, snapshot: Snapshot) -> None:
        """Write the volume beside what follows: it is a hundred times as large as a slice."""
        image = snapshot.images.get(LivePicture.VOLUME)
        if image is None:
            return
        before, self._volume = self._volume, None
        if before is not None:
            before.result()
        about = snapshot.about.get(LivePicture.VOLUME, {})
        writing = self._beside.submit(self._node.show, LivePicture.VOLUME, image, about)
        self._volume = writing
        if before is None or self._finishing:
            # With the first slices there is one, and with the last it is that of all projections.
            writing.result()

    def _read_wishes(self) -> None:
        try:
            self.wishes = self._node.read_wishes()
        except NotFoundError:
            raise
        except CatalogError as error:
            logger.warning("a wish is not heard: %s", error)
