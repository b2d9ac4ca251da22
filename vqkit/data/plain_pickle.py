"""Unpickling that runs no foreign code: arrays of plain numbers and Python's own containers, nothing else."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from vqkit.data.pickle_scan import scan_pickle
from vqkit.errors import DataError

MAX_RANK = 8
KINDS = "biuf"


# Each stand-in is a class with a ``__setstate__`` of its own: a pickle's BUILD then finds nothing else to write to.
class _Dtype:
    """Takes the place of ``numpy.dtype`` while loading: the same two calls, but only plain numbers get through."""

    def __init__(self, code: str | bytes, *align_and_copy: object):
        del align_and_copy
        text = code.decode("ascii") if isinstance(code, bytes) else str(code)
        if text[:1] not in tuple(KINDS) or not text[1:].isdigit():
            raise pickle.UnpicklingError(f"array of type {text!r}; only plain numbers are read")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple) -> None:
        if state[1] in (">", b">"):
            self.dtype = self.dtype.newbyteorder(">")


class _Array:
    """Takes the place of an array while loading; its state is checked before NumPy sees a byte of it."""

    array: np.ndarray | None = None

    def __init__(self, *empty_array: object):
        del empty_array

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, data = state
        self.array = _view(data, kind, shape, "F" if fortran else "C")


class _FromBuffer:
    """Takes the place of the function that protocol 5 rebuilds arrays with."""

    def __new__(cls, data: bytes, kind: _Dtype, shape: tuple[int, ...], order: str) -> _Array:  # pyright: ignore
        array = _Array()
        array.array = _view(data, kind, shape, order)
        return array

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a function has no state")


class _Encoded:
    """Takes the place of the function that Python 3 writes bytes with in protocols 0 to 2."""

    def __new__(cls, text: str, encoding: str) -> bytes:  # pyright: ignore
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"bytes written as {encoding!r}")
        return text.encode("latin-1")

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a function has no state")


def _view(data: bytes, kind: _Dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    if not isinstance(data, bytes | bytearray) or not isinstance(kind, _Dtype):
        raise pickle.UnpicklingError("array without plain bytes")
    sizes_ok = isinstance(shape, tuple) and len(shape) <= MAX_RANK and all(type(s) is int and s >= 0 for s in shape)
    if not sizes_ok or math.prod(shape) * kind.dtype.itemsize != len(data) or order not in ("C", "F"):
        raise pickle.UnpicklingError(f"array of shape {shape!r} does not fit its {len(data)} bytes")
    return np.frombuffer(data, dtype=kind.dtype).reshape(shape, order=order)  # pyright: ignore


ADMITTED: dict[tuple[str, str], type] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _Encoded,
    # NumPy 2 moved its core; files name it either way.
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted; only arrays and plain containers are")
        return ADMITTED[(module, name)]


def load_plain_pickle(path: str | Path) -> Any:
    """The object in a pickle file when it is made of dicts, lists, tuples, strings, numbers and number arrays.

    Strings written by Python 2 come as bytes. No class or function named by the file is ever imported or called.

    Raises:
        DataError: naming the file, when it holds anything else or is damaged.

    >>> import pathlib, pickle, tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "batch")
    ...     _ = file.write_bytes(pickle.dumps({"data": np.arange(3, dtype=np.uint8), "labels": [1, 2]}))
    ...     load_plain_pickle(file)
    {'data': array([0, 1, 2], dtype=uint8), 'labels': [1, 2]}
    """
    path = Path(path)
    stream = io.BytesIO(path.read_bytes())
    try:
        scan_pickle(stream, len(stream.getbuffer()))
        stream.seek(0)
        return _finished(_PlainUnpickler(stream, encoding="bytes").load())
    # A damaged pickle fails in the machine's own ways; whatever it is, the file is to blame.
    except Exception as error:
        raise DataError(f"{path}: not a pickle of arrays and plain containers: {error}") from error


def _finished(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.array is None:
            raise pickle.UnpicklingError("array without values")
        return value.array
    if isinstance(value, dict):
        return {key: _finished(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_finished(item) for item in value)
    if isinstance(value, _Dtype):
        return value.dtype
    return value
