"""Documents as msgpack: what is read back is what was written, and nothing is ever run."""

from __future__ import annotations

import pickle
from typing import Any

import msgpack
import msgpack_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from callbacks.packing import pack, unpack
from callbacks.repeats import Repeats
from tomoservice.cli import run as command


@given(
    npst.arrays(
        npst.scalar_dtypes() | npst.unicode_string_dtypes(), npst.array_shapes(min_dims=0, max_dims=3)
    )
)
def test_arrays_come_back_with_their_type(array: np.ndarray) -> None:
    back = unpack(pack({"data": array}))["data"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text() | st.lists(st.integers(0, 9)),
    )
)
def test_documents_come_back(doc: dict[str, Any]) -> None:
    assert unpack(pack(doc)) == doc


def test_it_is_what_others_read_and_write() -> None:
    doc = {"x": np.arange(6.0).reshape(2, 3), "n": np.float32(2.5), "uid": "a"}
    for ours, theirs in (
        (unpack(msgpack.packb(doc, default=msgpack_numpy.encode)), doc),
        (doc, msgpack.unpackb(pack(doc), object_hook=msgpack_numpy.decode)),
    ):
        np.testing.assert_array_equal(ours["x"], theirs["x"])
        assert ours["n"] == theirs["n"]


class _Trap:
    def __reduce__(self) -> Any:
        return pytest.fail, ("it was run",)


def test_nothing_that_arrives_is_run() -> None:
    trap = pickle.dumps(_Trap())
    for data in (
        trap,
        msgpack.packb({"x": {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": (1,), b"data": trap}}),
        msgpack.packb([1, 2]),
        b"",
    ):
        with pytest.raises(ValueError, match=r".+"):
            unpack(data)


def test_strange_values_become_text_or_lists() -> None:
    doc = {"set": {1}, "object": np.array([None, "a"], dtype=object), "path": object, "complex": 1j}
    back = unpack(pack(doc))
    assert (back["set"], back["object"]) == ([1], [None, "a"])
    assert isinstance(back["path"], str)


def test_repeats_are_told_by_what_documents_are() -> None:
    seen = Repeats()
    first = {"uid": "e1", "descriptor": "d"}
    assert not seen.has_seen("run", "event", first)
    assert seen.has_seen("run", "event", dict(first))
    assert not seen.has_seen("run", "event", {"uid": "e2"})
    assert not seen.has_seen("run", "datum", {"datum_id": "e1"})
    assert not seen.has_seen("run", "event_page", {"uid": ["e1", "e2"]})
    assert seen.has_seen("run", "event_page", {"uid": ["e1", "e2"]})
    seen.end("run")
    assert seen.has_seen("run", "start", {"uid": "run"})


def test_what_comes_from_tiled_is_not_published_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["listen", "--publish", "--uri", "http://127.0.0.1:1"]) == 2
    assert "--from zmq or nats" in capsys.readouterr().err
