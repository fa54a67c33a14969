"""The scans of a service as a list that asks only for what is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, overload

from tiled.queries import In

from tomoservice.catalog import names
from tomoservice.catalog.finding import resolve_run
from tomoservice.catalog.nodes import find_run, is_reconstruction
from tomoservice.catalog.transport import NotFoundError, child, translated
from tomoservice.client.job_table import counted_states
from tomoservice.client.scans import Scan
from tomoservice.client.tables import Table

SHOWN = 20
"""Scans that the list shows."""
COMPLETED = 200
"""Scans that the Tab key offers, the newest ones."""
HEAD = ("scan", "sample", "begun", "plan", "acquisition", "reconstructions")


class Scans:
    """The scans of a service, the newest first: ``tomo.scans``.

    ``tomo.scans[0]`` is the newest one, ``tomo.scans["4f1c"]`` the one whose uid begins so. A service may
    have thousands: only those that are looked at are asked for.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    """

    def __init__(self, root: Any) -> None:
        self._root = root

    def __repr__(self) -> str:
        return f"{self._newest(SHOWN)!r}{self._rest()}"

    def _repr_html_(self) -> str:
        rest = self._rest().strip()
        return self._newest(SHOWN)._repr_html_() + (f"<p>{rest}</p>" if rest else "")

    def _rest(self) -> str:
        more = len(self) - SHOWN
        return f"\n... and {more} older ones: tomo.scans[{SHOWN}:{2 * SHOWN}]" if more > 0 else ""

    def __len__(self) -> int:
        with translated("counting the scans"):
            return len(self._raw)

    def __iter__(self) -> Iterator[Scan]:
        with translated("listing the scans"):
            for _, node in self._raw.items()[-1::-1]:
                yield Scan(self._root, node)

    def __contains__(self, uid: object) -> bool:
        try:
            return isinstance(uid, str) and bool(find_run(self._root, uid))
        except NotFoundError:
            return False

    @overload
    def __getitem__(self, which: int | str) -> Scan: ...

    @overload
    def __getitem__(self, which: slice) -> Table[Scan]: ...

    def __getitem__(self, which: int | str | slice) -> Scan | Table[Scan]:
        """Return a scan by its place in the list, or by its uid or a unique beginning of it; or several.

        Raises
        ------
        NotFoundError
            No uid begins so, or more than one; lists them.
        IndexError
            There are not so many.
        """
        if isinstance(which, str):
            return Scan(self._root, find_run(self._root, resolve_run(self._root, which)))
        if isinstance(which, slice):
            start, stop, step = which.indices(len(self))
            wanted = range(start, stop, step)
            lowest, highest = (min(wanted), max(wanted) + 1) if wanted else (0, 0)
            found = self._between(lowest, highest)
            return self._table([found[place - lowest] for place in wanted if place - lowest < len(found)])
        count = len(self)
        place = which + count if which < 0 else which
        found = self._between(place, place + 1) if 0 <= place < count else []
        if not found:
            raise IndexError(f"there is no scan {which}: there are {count}, and 0 is the newest")
        return found[0]

    def _ipython_key_completions_(self) -> list[str]:
        with translated("listing the scans"):
            return list(self._raw.keys()[-1 : -1 - COMPLETED : -1])

    @property
    def _raw(self) -> Any:
        return child(self._root, names.RAW)

    def _newest(self, count: int) -> Table[Scan]:
        return self._table(self._between(0, count))

    def _between(self, start: int, stop: int) -> list[Scan]:
        """Return scans by their places, from the newest; those that are there."""
        if stop <= start:
            return []
        with translated("listing the scans"):
            return [Scan(self._root, node) for _, node in self._raw.items()[-1 - start : -1 - stop : -1]]

    def _table(self, scans: Sequence[Scan]) -> Table[Scan]:
        states = _States(self._root, [scan.uid for scan in scans])
        return Table(
            scans,
            HEAD,
            lambda scan: (
                *(scan.uid[:8], scan.sample_name, scan.begun, scan.plan_name, scan.acquisition),
                states.of(scan.uid),
            ),
        )


class _States:
    """What has become of the reconstructions of some scans, asked once, when it is first shown."""

    def __init__(self, root: Any, uids: Sequence[str]) -> None:
        self._root = root
        self._uids = list(uids)

    def of(self, uid: str) -> str:
        """Return how many reconstructions of a scan are in which state, in words."""
        return counted_states(self._found.get(uid, []))

    @cached_property
    def _found(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        try:
            processed = child(self._root, names.PROCESSED)
        except NotFoundError:
            return found
        with translated("searching for reconstructions"):
            nodes = processed.search_deep(In("raw_uid", self._uids), max_depth=2)
            for path, node in nodes.items():
                if len(path) == 2 and is_reconstruction(node):
                    found.setdefault(path[0], []).append(str(node.metadata["status"]["state"]))
        return found
