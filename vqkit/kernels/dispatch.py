"""Which implementation of an op runs, and why.

A backend registers its ops in ``BACKENDS`` with a check that answers None, or the reason why it cannot take the tensors
at hand. ``choose`` asks the backends in order of speed; a backend asked for by name runs or says why it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from vqkit.errors import ArgumentError, bad_value
from vqkit.kernels import cpu, reference, triton


def _takes_anything(_: Tensor) -> str | None:
    return None


def _native_refuses(tensor: Tensor) -> str | None:
    if tensor.device.type != "cpu":
        return f"it takes tensors on a CPU, not on {tensor.device.type}"
    return "it takes no float64" if tensor.dtype == torch.float64 else cpu.why_not()


@dataclass(frozen=True)
class Backend:
    """Implementations of ops under one name; ``refuses(tensor)`` is None or the reason it cannot run there.

    ``device``: the kind of device it is made for, None for any; elsewhere it runs only where asked for by name.
    """

    name: str
    ops: Mapping[str, Callable[..., Any]]
    refuses: Callable[[Tensor], str | None] = field(default=_takes_anything)
    device: str | None = None


OPS = (
    *("nearest", "nearest_index", "code_sums", "residual_chain"),
    *("finite_rows", "pull", "turned_back", "snap_levels", "unsquash", "bit_table", "bit_sums"),
    *("draw", "assigned", "overwrite_", "fade_shares_", "ema_step_", "ema_write_", "ema_moved_", "record_"),
)


def _ops(module: ModuleType) -> dict[str, Callable[..., Any]]:
    return {op: getattr(module, op) for op in OPS if hasattr(module, op)}


REFERENCE = Backend("reference", _ops(reference))
CPU = Backend("cpu", _ops(cpu), _native_refuses, "cpu")
TRITON = Backend("triton", _ops(triton), triton.refuses, "cuda")
BACKENDS: list[Backend] = [CPU, TRITON, REFERENCE]  # fastest first


@dataclass(frozen=True)
class Choice:
    """The implementation that runs, and why it was taken."""

    backend: str
    reason: str
    function: Callable[..., Any]


def choose(op: str, tensor: Tensor, backend: str | None = None) -> Choice:
    """Choose the implementation of ``op`` for ``tensor``; raises ``ArgumentError`` when a named backend cannot run.

    >>> import torch
    >>> choose("nearest", torch.zeros(1), "reference").reason
    'asked for'
    """
    names = [b.name for b in BACKENDS]
    if backend is not None and backend not in names:
        raise bad_value("backend", f"one of {', '.join(names)}", repr(backend))
    refusals = []
    for candidate in BACKENDS:
        meant = candidate.device in (None, tensor.device.type) if backend is None else candidate.name == backend
        if not meant:
            continue
        reason = candidate.refuses(tensor) if op in candidate.ops else f"it has no {op}"
        if reason is None:
            why = "asked for" if backend else "; ".join(refusals) or "the fastest there is"
            return Choice(candidate.name, why, candidate.ops[op])
        refusals.append(f"{candidate.name} refused: {reason}")
    raise ArgumentError(f"backend: no implementation of {op} can run here ({'; '.join(refusals)})")
