"""The ops on a GPU, in Triton. Nothing here imports triton before an op runs: without it the reference serves."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vqkit.kernels import reference

MAX_TOPK = 64  # as the native library


def refuses(tensor: Tensor) -> str | None:
    """None, or why these kernels do not take ``tensor``. A CPU will do under TRITON_INTERPRET=1, for tests."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"it takes float32, bfloat16 and float16, not {tensor.dtype}"
    if tensor.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return None
    if tensor.device.type != "cuda":
        return f"it takes tensors on a CUDA GPU, not on {tensor.device.type}"
    if torch.version.hip is not None:
        return "its error bounds have not been checked on AMD GPUs"
    if torch.cuda.get_device_capability(tensor.device) < (8, 0):
        return "it needs a GPU of compute capability 8.0 or more"
    return None


def nearest(x_HND: Tensor, codebook_HKD: Tensor, metric: str, topk: int) -> tuple[Tensor, Tensor]:
    """As ``reference.nearest``, which takes what these kernels do not: more than ``MAX_TOPK`` codes a row, codes in
    float64.
    """
    if topk > MAX_TOPK or codebook_HKD.dtype == torch.float64:
        return reference.nearest(x_HND, codebook_HKD, metric, topk)
    from vqkit.kernels.triton.search import nearest as run

    return run(x_HND, codebook_HKD, metric, topk)


def nearest_index(x_HND: Tensor, codebook_HKD: Tensor, metric: str) -> Tensor:
    """As ``reference.nearest_index``."""
    return nearest(x_HND, codebook_HKD, metric, 1)[0][..., 0]


def code_sums(x_HND: Tensor, indices_HN: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """As ``reference.code_sums``, the same bits in any order of the rows."""
    from vqkit.kernels.triton.sums import code_sums as run

    return run(x_HND, indices_HN, size)


def residual_chain(x_ND: Tensor, codebooks_QKD: Tensor) -> Tensor:
    """As ``reference.residual_chain``."""
    from vqkit.kernels.triton.chain import residual_chain as run

    return run(x_ND, codebooks_QKD)


def _of(module: str, op: str) -> Callable[..., Any]:
    """An op of one of the modules here, imported when it first runs."""

    def run(*arguments: Any) -> Any:
        return getattr(importlib.import_module(f"{__name__}.{module}"), op)(*arguments)

    return run


finite_rows, pull, turned_back = (_of("rows", op) for op in ("finite_rows", "pull", "turned_back"))
snap_levels, unsquash = (_of("levels", op) for op in ("snap_levels", "unsquash"))
bit_table, bit_sums = (_of("tables", op) for op in ("bit_table", "bit_sums"))
draw = _of("draws", "draw")
record_ = _of("window", "record_")
assigned, overwrite_, fade_shares_ = (_of("places", op) for op in ("assigned", "overwrite_", "fade_shares_"))
ema_step_, ema_write_, ema_moved_ = (_of("averages", op) for op in ("ema_step_", "ema_write_", "ema_moved_"))

__all__ = [
    "assigned",
    "bit_sums",
    "bit_table",
    "code_sums",
    "draw",
    "ema_moved_",
    "ema_step_",
    "ema_write_",
    "fade_shares_",
    "finite_rows",
    "nearest",
    "nearest_index",
    "overwrite_",
    "pull",
    "record_",
    "refuses",
    "residual_chain",
    "snap_levels",
    "turned_back",
    "unsquash",
]
