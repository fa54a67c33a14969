"""Which run a document belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any


class RunMembership:
    """Follows the references between documents to the run that they belong to."""

    def __init__(self) -> None:
        self._open: dict[str, None] = {}
        self._runs: dict[str, str] = {}
        self._members: defaultdict[str, list[str]] = defaultdict(list)

    def run_of(self, name: str, doc: Mapping[str, Any]) -> str | None:
        """Return the uid of a document's run, or None if its start document has not been seen.

        Parameters
        ----------
        name : str
            Kind of document.
        doc : mapping
            The document.

        Raises
        ------
        KeyError
            It lacks what every document of its kind has.
        """
        match name:
            case "start":
                self._open[str(doc["uid"])] = None
                return str(doc["uid"])
            case "stop":
                run = self._if_open(doc["run_start"])
                self.forget(str(doc["run_start"]))
                return run
            case "descriptor":
                return self._member(doc, self._if_open(doc["run_start"]))
            case "resource" | "stream_resource":
                # Before there were RunEngines that say so, a resource belonged to the run just begun.
                given = doc.get("run_start") or next(reversed(self._open), "")
                return self._member(doc, self._if_open(given))
            case "event" | "event_page" | "stream_datum":
                return self._runs.get(str(doc["descriptor"]))
            case "datum" | "datum_page":
                return self._runs.get(str(doc["resource"]))
        return None

    def forget(self, run: str) -> None:
        """Forget a run that has ended."""
        self._open.pop(run, None)
        for uid in self._members.pop(run, ()):
            self._runs.pop(uid, None)

    def _if_open(self, run: object) -> str | None:
        return str(run) if str(run) in self._open else None

    def _member(self, doc: Mapping[str, Any], run: str | None) -> str | None:
        if run is not None:
            self._runs[str(doc["uid"])] = run
            self._members[run].append(str(doc["uid"]))
        return run
