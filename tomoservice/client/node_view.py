"""What everything has that stands for a node of the service."""

from __future__ import annotations

from typing import Any


class NodeView:
    """Something that stands for a node.

    Parameters
    ----------
    node : tiled Container
        The node.
    """

    def __init__(self, node: Any) -> None:
        self._node = node

    @property
    def node(self) -> Any:
        """Tiled client of the node."""
        return self._node

    @property
    def path(self) -> str:
        """Path of the node in Tiled."""
        return "/".join(self._node.path_parts)
