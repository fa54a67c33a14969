"""Access tags: what is made of a run is read by nobody who may not read the run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from tomoservice.catalog import names
from tomoservice.catalog.transport import NotAllowedError, child, translated

PUBLIC = "public"
"""Tag of what everybody may read."""


def tags_of(node: Any) -> list[str] | None:
    """Return the access tags of a node, for what is made below it; None where the server knows none."""
    try:
        tags = list(node.access_tags)
    except AttributeError:
        return None
    # An empty list would be a wish, which only an administrator may have.
    return tags or None


def check_readers(tags: Sequence[str], node: Any) -> None:
    """Refuse to make something of a node that more people could read than may read the node.

    Parameters
    ----------
    tags : sequence of str
        Access tags of what is to be made.
    node : tiled Container
        The raw run, or an earlier reconstruction.

    Raises
    ------
    NotAllowedError
        There is a tag that the node lacks.
    """
    extra = _extra_tags(tags, node)
    if extra:
        raise NotAllowedError(
            f"the access tags {', '.join(extra)} are not among those of {'/'.join(node.path_parts)}: people "
            "might read the result who may not read that. What is asked for anew gets the tags of its run"
        )


def _extra_tags(tags: Sequence[str], run: Any) -> list[str]:
    there = set(tags_of(run) or ())
    return [] if PUBLIC in there else sorted(set(tags) - there)


class RunsFor:
    """The raw runs that may go into something with given access tags, as a container of runs by their uid.

    Flats may come from another run, which the raw run's own metadata name: they say nothing about
    whether whoever reads the result may see that run.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    tags : sequence of str
        Access tags of what is to be made.
    """

    def __init__(self, root: Any, tags: Sequence[str]) -> None:
        self._root = root
        self._tags = tags

    @cached_property
    def _raw(self) -> Any:
        # Most runs have flats of their own.
        return child(self._root, names.RAW)

    @property
    def uri(self) -> str:
        """Address of the container."""
        return str(self._raw.uri)

    def __contains__(self, uid: str) -> bool:
        with translated(f"looking for run {uid}"):
            return names.is_key(uid) and uid in self._raw and not _extra_tags(self._tags, self._raw[uid])

    def __getitem__(self, uid: str) -> Any:
        return child(self._root, names.RAW, uid)
