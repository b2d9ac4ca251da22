"""The ops on a GPU, in Triton. Nothing here imports triton before an op runs: without it the reference serves."""

from __future__ import annotations

import importlib.util
import os

import torch
from torch import Tensor

from vqkit.kernels import reference

MAX_TOPK = 64  # as the native library


def refuses(tensor: Tensor) -> str | None:
    """None, or why these kernels do not take ``tensor``. A CPU will do under TRITON_INTERPRET=1, for tests."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
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


__all__ = ["code_sums", "nearest", "nearest_index", "refuses", "residual_chain"]
