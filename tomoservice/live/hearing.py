"""What the node of a run says while the run goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from tomoservice.catalog.nodes import reread
from tomoservice.errors import InputError, ServiceUnavailableError
from tomoservice.live.sources import Finding, open_source
from tomoservice.sources.run_view import view_run

logger = logging.getLogger(__name__)

LOOK_S = 0.7
LONGEST_PAUSE_S = 15.0


class RunEar:
    """Looks at a run's node now and then; less often while the service does not answer.

    Parameters
    ----------
    run : BlueskyRun
        Tiled client of the run.
    """

    def __init__(self, run: Any) -> None:
        self._run = run
        self._uid = str(run.path_parts[-1])
        self._next = time.monotonic() + LOOK_S
        self._pause = 0.0

    @property
    def start(self) -> Mapping[str, Any]:
        """The start document."""
        start: Mapping[str, Any] = self._run.metadata["start"]
        return start

    @property
    def stop(self) -> Mapping[str, Any] | None:
        """The stop document, as far as it has been heard."""
        stop: Mapping[str, Any] | None = self._run.metadata.get("stop")
        return stop

    @property
    def was_aborted(self) -> bool:
        """Whether the run has ended otherwise than with success."""
        return (self.stop or {}).get("exit_status") != "success"

    def look_if_due(self) -> bool:
        """Ask the service if it is time; tell whether it has answered.

        Raises
        ------
        NotFoundError
            The run has been deleted.
        """
        if time.monotonic() < self._next:
            return False
        try:
            reread(self._run)
        except ServiceUnavailableError as error:
            level = logging.DEBUG if self._pause else logging.WARNING
            logger.log(level, "run %s: %s; asking again now and then", self._uid, error)
            self._pause = min(2 * self._pause or LOOK_S, LONGEST_PAUSE_S)
            return False
        else:
            self._pause = 0.0
            return True
        finally:
            self._next = time.monotonic() + max(self._pause, LOOK_S)


def extent(run: Any, finding: Finding) -> Mapping[str, Any]:
    """Return how far a run has come: what its streams hold, and how many projections can be read.

    Of two answers that differ the run has gone on between them.

    Parameters
    ----------
    run : BlueskyRun
        Tiled client of the run.
    finding : Finding
        Which raw files may be read.

    Raises
    ------
    NotFoundError
        The run has been deleted.
    ServiceUnavailableError
        The service does not answer.
    """
    reread(run)
    found: dict[str, Any] = {"stop": run.metadata.get("stop") is not None}
    try:
        view = view_run(run)
        for name, stream in view.containers.items():
            found[name] = {key: getattr(part, "shape", None) for key, part in stream.base.items()}
        source = open_source(run, finding)
    except InputError:
        return found
    try:
        found["projections"] = len(source.look())
    except InputError:
        pass
    finally:
        source.close()
    return found
