"""LLVM's and Numba's tools for writing instructions; their own annotations are missing or wrong."""

from __future__ import annotations

from typing import Any

from llvmlite import ir as _ir  # type: ignore[import-untyped]
from numba.core import cgutils as _cgutils
from numba.core import types as _types
from numba.extending import intrinsic as _intrinsic

ir: Any = _ir
cgutils: Any = _cgutils
types: Any = _types
intrinsic: Any = _intrinsic
"""Decorates a function that returns a signature, and a function that writes the instructions."""
