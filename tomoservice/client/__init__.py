"""What people use from IPython: connect, reconstruct, look at the volume."""

from __future__ import annotations

from tomoservice.client.tomo import Job, Tomo, connect

__all__ = ["Job", "Tomo", "connect"]
