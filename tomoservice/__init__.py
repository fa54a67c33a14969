"""From a Bluesky tomography scan to a volume in Tiled.

Importing the package loads no GPU, web or Tiled library; what needs one imports it when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# First of all modules: it notes from which sources the others are imported.
from tomoservice import compiling as _compiling  # noqa: F401

if TYPE_CHECKING:
    from tomoservice.client import connect

__all__ = ["__version__", "connect"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "connect":
        from tomoservice.client import connect

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
