"""Start and stop documents of the runs in Tiled: nothing has to be installed where they are made."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from callbacks.arrival import Deliver
from tomoservice.catalog.names import RAW

logger = logging.getLogger(__name__)

MARKER = "run-watch.marker"
LOOK_S = 1.0
AGAIN_S = 5.0


class TiledSource:
    """Brings start and stop document of every run that ends in Tiled, also of those that ended meanwhile.

    Up to where it has come stands in a file, so that another process goes on there.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may read.
    folder : Path
        Where that file is.
    poll_s : float
        How often to look, whatever is announced.
    path : str
        Container of the runs.
    """

    def __init__(
        self, uri: str, api_key: str | None, *, folder: Path, poll_s: float = 2.0, path: str = RAW
    ) -> None:
        self._uri = uri
        self._api_key = api_key
        self._file = folder.expanduser().resolve() / MARKER
        self._poll_s = poll_s
        self._path = path
        self._stopped = threading.Event()

    def run(self, deliver: Deliver) -> None:
        """Bring documents, one after the other, until `stop` is called."""
        while not self._stopped.is_set():
            try:
                self._watch(deliver)
            except OSError as error:
                # What was not handled is told again, from where the marker stands.
                logger.warning("%s: %s; trying again", self._file.parent, error)
                self._stopped.wait(AGAIN_S)

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    def _watch(self, deliver: Deliver) -> None:
        from tomoservice.catalog.run_watch import RunEvent, RunMarker, RunWatch

        since = None
        try:
            with suppress(FileNotFoundError):
                since = RunMarker.model_validate_json(self._file.read_text("utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            logger.warning("%s is no marker; runs are watched from now on: %s", self._file, error)
        kept = since
        with RunWatch(self._uri, self._api_key, since=since, poll_s=self._poll_s, path=self._path) as watch:
            while not self._stopped.is_set():
                change = watch.get(LOOK_S / 2)
                if change is not None and change.kind is RunEvent.ENDED:
                    deliver("start", change.start)
                    deliver("stop", change.stop or {})
                marker = watch.marker
                if marker is not None and (kept is None or not marker.is_same_as(kept)):
                    self._keep(marker.model_dump_json())
                    kept = marker

    def _keep(self, text: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".part")
        draft.write_text(text, "utf-8")
        draft.replace(self._file)
