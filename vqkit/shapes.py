"""Checks of shapes and dtypes at the public edge. One owner, so every error reads alike.

The alphabet of sizes, in names and docstrings: N rows, K codes, D code width, Q stages, H heads, G groups, B batch.
``x_ND`` is a tensor of shape (N, D).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.errors import bad_type, bad_value

# Indices of one row: what a number in a file may make quantizers list one by one.
MOST_COLUMNS = 2**16


def check_tensor(name: str, value: object) -> Tensor:
    """Return ``value`` if it is a tensor, else raise ``ArgumentTypeError`` naming ``name``."""
    if not isinstance(value, Tensor):
        raise bad_type(name, "a torch.Tensor", value)
    if value.layout != torch.strided:
        raise bad_type(name, "a dense tensor", value.layout)
    return value


def check_float(name: str, value: object) -> Tensor:
    """Return ``value`` if it is a floating-point tensor."""
    tensor = check_tensor(name, value)
    if not tensor.dtype.is_floating_point:
        raise bad_type(name, "a floating-point tensor", tensor.dtype)
    return tensor


def check_indices(name: str, value: object) -> Tensor:
    """Return ``value`` if it is an integer tensor (bool does not count)."""
    tensor = check_tensor(name, value)
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype == torch.bool:
        raise bad_type(name, "an integer tensor", tensor.dtype)
    return tensor


def check_shape(name: str, tensor: Tensor, expected: Sequence[int | str | None]) -> Tensor:
    """Check ``tensor.shape`` against ``expected``: an int must match, a str or None stands for any size.

    A leading ``"..."`` admits any number of leading axes.
    """
    free_rank = bool(expected) and expected[0] == "..."
    tail = list(expected[1:] if free_rank else expected)
    shape = list(tensor.shape)
    fits = len(shape) >= len(tail) if free_rank else len(shape) == len(tail)
    if fits and tail:
        fits = all(want == got for want, got in zip(tail, shape[-len(tail) :], strict=True) if isinstance(want, int))
    if not fits:
        raise bad_value(name, f"shape {shape_text(expected)}", f"shape {tuple(shape)}")
    return tensor


def shape_text(expected: Sequence[int | str | None]) -> str:
    """``("...", 64)`` as ``(..., 64)``."""
    return "(" + ", ".join("*" if size is None else str(size) for size in expected) + ("," * (len(expected) == 1)) + ")"


def check_int(name: str, value: object, minimum: int = 1, maximum: int = 2**63 - 1) -> int:
    """Return ``value`` if it is an int of at least ``minimum`` (a bool is not an int here) and at most ``maximum``, by
    default what torch can count to.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_type(name, f"an int >= {minimum}", value)
    if value < minimum:
        raise bad_value(name, f"an int >= {minimum}", value)
    if value > maximum:
        raise bad_value(name, f"an int <= {maximum}", f"{value:.3e}" if value < 1e300 else "a larger one")
    return value


def check_number(
    name: str, value: object, low: float = -math.inf, high: float = math.inf, *, open_low: bool = False
) -> float:
    """Return ``value`` as a finite float within [low, high], or (low, high] with ``open_low``."""
    span = f"a number in {'(' if open_low else '['}{low:g}, {high:g}]"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise bad_type(name, span, value)
    if not math.isfinite(value) or not low <= value <= high or (open_low and value == low):
        raise bad_value(name, span, value)
    return float(value)


def check_flag(name: str, value: object) -> bool:
    """Return ``value`` if it is True or False: no number, no ``"false"``, which would count as true."""
    if not isinstance(value, bool):
        raise bad_type(name, "True or False", value)
    return value


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``."""
    if value not in choices:
        raise bad_value(name, f"one of {', '.join(map(repr, choices))}", repr(value))
    return str(value)
