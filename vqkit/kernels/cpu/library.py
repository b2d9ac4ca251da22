"""Finding and loading the native library. A plain C interface, so that one binary serves every version of torch."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import torch

_POINTER, _LONG, _INT, _FLOAT, _NAME = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float, ctypes.c_char_p
# What native/*.cpp declares: result, and arguments.
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "vqkit_isa": (_NAME, [_INT]),
    "vqkit_use_runtime": (None, [_POINTER, _POINTER, _POINTER]),
    "vqkit_nearest": (_INT, [_POINTER, _LONG, _POINTER, _LONG, _LONG, _INT, _INT, _NAME, _INT, _POINTER, _POINTER]),
    "vqkit_code_sums": (None, [_POINTER, _POINTER, _LONG, _LONG, _LONG, _INT, _POINTER, _POINTER]),
    "vqkit_residual_chain": (_INT, [_POINTER, _LONG, _POINTER, _LONG, _LONG, _LONG, _INT, _POINTER]),
    "vqkit_finite_rows": (None, [_POINTER, _LONG, _LONG, _INT, _POINTER]),
    "vqkit_pull": (None, [_POINTER, _POINTER, _POINTER, _FLOAT, _LONG, _LONG, _INT, _POINTER]),
    "vqkit_shift": (None, [_POINTER, _POINTER, _LONG, _LONG, _INT, _POINTER]),
    "vqkit_unsquash": (None, [_POINTER, _LONG, _POINTER, _POINTER, _LONG, _LONG, _INT, _POINTER]),
    "vqkit_snap_levels": (None, [*[_POINTER] * 6, _LONG, _LONG, _INT, _POINTER, _POINTER]),
    "vqkit_bit_table": (None, [_POINTER, _LONG, _LONG, _FLOAT, _INT, _POINTER]),
    "vqkit_bit_sums": (None, [_POINTER, _POINTER, _LONG, _LONG, _INT, _POINTER, _POINTER]),
    "vqkit_turned_back": (None, [_POINTER, _LONG, _POINTER, _POINTER, _LONG, _LONG, _INT, _POINTER]),
}


@cache
def _loaded() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    found = importlib.util.find_spec("vqkit.kernels.cpu._native")
    if found is None or found.origin is None:
        return "the native library was not built"
    try:
        native = ctypes.CDLL(found.origin)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(native, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        return f"the native library does not load: {error}"
    _share_threads(native)
    return native


def _share_threads(native: ctypes.CDLL) -> None:
    """Give the library the threads of PyTorch's own OpenMP runtime, where that has GNU's interface."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*")):
        openmp = ctypes.CDLL(str(path))
        names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
        native.vqkit_use_runtime(*(ctypes.cast(getattr(openmp, name), _POINTER) for name in names))
        return


def library() -> ctypes.CDLL:
    """The native library; raises ``RuntimeError`` where there is none."""
    found = _loaded()
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


def why_not() -> str | None:
    """None, or why the native library cannot be used."""
    found = _loaded()
    return found if isinstance(found, str) else None


def instruction_sets() -> list[str]:
    """What of the library this processor can run, fastest first."""
    names, native = [], library()
    while (name := native.vqkit_isa(len(names))) is not None:
        names.append(name.decode())
    return names
