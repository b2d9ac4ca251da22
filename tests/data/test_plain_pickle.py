from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from vqkit.data import plain_pickle
from vqkit.data.plain_pickle import load_plain_pickle
from vqkit.errors import DataError


class Shout:
    def __reduce__(self):
        return os.system, ("echo never > escaped",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i4", "<f8", "?"])
def test_arrays_come_through_every_protocol(tmp_path, protocol, dtype):
    if dtype == "?":
        array = np.array([[True, False]])
    else:
        array = np.arange(6).reshape(2, 3).astype(dtype)
    value = {"plain": array, "nested": [(array.T.copy(order="F"), b"bytes", "text", None, 1.5)]}
    path = tmp_path / "it"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    read = load_plain_pickle(path)
    np.testing.assert_array_equal(read["plain"], array)
    np.testing.assert_array_equal(read["nested"][0][0], array.T)
    assert read["nested"][0][1:] == (b"bytes", "text", None, 1.5)


@pytest.mark.parametrize(
    "value",
    [
        Shout(),
        print,
        np.array([1, "x"], dtype=object),
        np.zeros(2, dtype=[("a", "i4")]),
        np.array(["text"]),
        np.datetime64("2020-01-01"),
        {1, 2},
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_anything_else_is_refused(tmp_path, monkeypatch, value, protocol):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "it"
    path.write_bytes(pickle.dumps({"data": value}, protocol=protocol))
    if isinstance(value, set) and protocol == 5:
        assert load_plain_pickle(path) == {"data": {1, 2}}
        return
    with pytest.raises(DataError, match="it: not a pickle of arrays and plain containers"):
        load_plain_pickle(path)
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04.", pickle.dumps([1, 2, 3])[:-1]])
def test_damaged_pickles_are_named(tmp_path, content):
    path = tmp_path / "it"
    path.write_bytes(content)
    with pytest.raises(DataError, match="it: not a pickle"):
        load_plain_pickle(path)


@pytest.mark.parametrize("shape", [(10**9, 10**9), (-1,), (3,), "x", (1.5,)])
def test_array_state_must_fit_its_bytes(shape):
    kind = plain_pickle._Dtype("u1")
    with pytest.raises(pickle.UnpicklingError, match="does not fit"):
        plain_pickle._Array().__setstate__((1, shape, kind, False, b"12"))


def test_stand_ins_cannot_be_rewritten(tmp_path):
    # GLOBAL _codecs.encode, then BUILD with a state for it.
    path = tmp_path / "it"
    path.write_bytes(b"\x80\x02c_codecs\nencode\n}U\x05stateU\x05valuesb.")
    with pytest.raises(DataError, match="it: not a pickle"):
        load_plain_pickle(path)
