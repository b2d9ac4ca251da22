"""Finding and loading the native library. A plain C interface, so that one binary serves every version of torch."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache

_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int


@cache
def _loaded() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    found = importlib.util.find_spec("vqkit.kernels.cpu._native")
    if found is None or found.origin is None:
        return "the native library was not built"
    try:
        native = ctypes.CDLL(found.origin)
        native.vqkit_isa.argtypes, native.vqkit_isa.restype = [_INT], ctypes.c_char_p
        native.vqkit_nearest.restype = _INT
        native.vqkit_nearest.argtypes = [
            *(_POINTER, _LONG, _POINTER, _LONG, _LONG),
            *(_INT, _INT, ctypes.c_char_p, _INT, _POINTER, _POINTER),
        ]
        native.vqkit_code_sums.restype = None
        native.vqkit_code_sums.argtypes = [_POINTER, _POINTER, _LONG, _LONG, _LONG, _INT, _POINTER, _POINTER]
    except (OSError, AttributeError) as error:
        return f"the native library does not load: {error}"
    return native


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
