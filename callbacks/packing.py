"""Documents as msgpack, as `msgpack-numpy` writes it; nothing that is read is ever executed.

The decoder of `msgpack-numpy` itself unpickles arrays of objects, and with that whatever somebody sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgpack
import numpy as np


def pack(doc: Mapping[str, Any]) -> bytes:
    """Return a document as msgpack; it is not changed. What msgpack does not know becomes text."""
    packed: bytes = msgpack.packb(doc, default=_plain)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """Return the document in a message.

    Raises
    ------
    ValueError
        It is no msgpack of a mapping.
    """
    try:
        doc = msgpack.unpackb(data, object_hook=_restored, strict_map_key=False)
    except ValueError:
        raise
    except Exception as error:
        # msgpack has errors of its own for messages that are too short or too long.
        raise ValueError(f"no msgpack: {error}") from error
    if not isinstance(doc, dict):
        raise ValueError(f"a document is a mapping, got {type(doc).__name__}")  # noqa: TRY004
    return doc


def _plain(value: Any) -> object:
    if isinstance(value, np.ndarray | np.generic) and not (value.dtype.hasobject or value.dtype.names):
        content = {b"nd": isinstance(value, np.ndarray), b"type": value.dtype.str, b"data": value.tobytes()}
        return {**content, b"kind": b"", b"shape": value.shape} if content[b"nd"] else content
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    return str(value)


def _restored(content: dict[Any, Any]) -> Any:
    if b"nd" not in content:
        return content
    dtype = np.dtype(_text(content[b"type"]))
    if dtype.hasobject:
        raise ValueError("arrays of objects are not read")
    flat = np.frombuffer(content[b"data"], dtype)
    return flat.reshape(content[b"shape"]).copy() if content[b"nd"] else flat[0]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
