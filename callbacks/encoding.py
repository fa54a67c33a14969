"""Documents as lines of JSON: what is read back is what was written, arrays and their types included.

A line is ``{"name": "event", "doc": {...}}``, as Bluesky's own JSON lines writers make it. What JSON does
not know is written as an object with one key that starts with two underscores.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

ARRAY = "__ndarray__"
BYTES = "__bytes__"


def encode(name: str, doc: Mapping[str, Any]) -> bytes:
    """Return a document as one line, with its end; the document is not changed.

    Raises
    ------
    ValueError, RecursionError
        It contains itself.
    """
    content = {"name": name, "doc": doc}
    try:
        text = json.dumps(content, default=_plain)
    except TypeError:
        # Keys that are no text: not worth looking at every one before.
        text = json.dumps(_with_text_keys(content), default=_plain)
    return text.encode("ascii") + b"\n"


def decode(line: bytes) -> tuple[str, dict[str, Any]]:
    """Return name and content of the document in a line.

    Raises
    ------
    ValueError
        It is no document.
    """
    match json.loads(line, object_hook=_restored):
        case {"name": str(name), "doc": dict(doc)}:
            return name, doc
    raise ValueError(f"no document: {line[:80]!r}")


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return _plain_array(np.asarray(value))
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return {BYTES: base64.b64encode(value).decode("ascii")}
    if isinstance(value, Iterable):
        return list(value)
    # A run with a strange object as text is better than no run.
    return str(value)


def _plain_array(array: np.ndarray[Any, Any]) -> object:
    if array.dtype.hasobject or array.dtype.names:
        return array.tolist()
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
    return {ARRAY: data, "dtype": array.dtype.str, "shape": array.shape}


def _with_text_keys(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_text_keys(item) for item in value]
    return value


def _restored(content: dict[str, Any]) -> Any:
    if ARRAY in content:
        data = base64.b64decode(content[ARRAY])
        array = np.frombuffer(data, dtype=content["dtype"]).reshape(content["shape"]).copy()
        # A number that was an array of no dimensions comes back as what it is in any event: a number.
        return array if array.ndim else array[()]
    if BYTES in content:
        return base64.b64decode(content[BYTES])
    return content
