"""The ops on a GPU, in Triton. Nothing here imports triton before an op runs: without it the reference serves."""

from __future__ import annotations

import importlib.util
import os

import torch
from torch import Tensor

from vqkit.kernels import reference


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
    """As ``reference.nearest``, which takes what these kernels do not: more than one code a row, inner products, codes
    in float64.
    """
    if topk > 1 or metric == "dot" or codebook_HKD.dtype == torch.float64:
        return reference.nearest(x_HND, codebook_HKD, metric, topk)
    from vqkit.kernels.triton.search import nearest as run

    return run(x_HND, codebook_HKD, metric)


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


def finite_rows(x_ND: Tensor) -> Tensor:
    """As ``reference.finite_rows``."""
    from vqkit.kernels.triton.rows import finite_rows as run

    return run(x_ND)


def pull(x_HND: Tensor, codes_HKD: Tensor, indices_HN: Tensor, by: Tensor) -> Tensor:
    """As ``reference.pull``."""
    from vqkit.kernels.triton.rows import pull as run

    return run(x_HND, codes_HKD, indices_HN, by)


def turned_back(g_ND: Tensor, x_ND: Tensor, q_ND: Tensor) -> Tensor:
    """As ``reference.turned_back``."""
    from vqkit.kernels.triton.rows import turned_back as run

    return run(g_ND, x_ND, q_ND)


def snap_levels(x_ND: Tensor, *grid_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As ``reference.snap_levels``."""
    from vqkit.kernels.triton.levels import snap_levels as run

    return run(x_ND, *grid_D)


def unsquash(g_ND: Tensor, squashed_ND: Tensor, slope_D: Tensor) -> Tensor:
    """As ``reference.unsquash``."""
    from vqkit.kernels.triton.levels import unsquash as run

    return run(g_ND, squashed_ND, slope_D)


def bit_table(bits_Nk2: Tensor, least: float) -> Tensor:
    """As ``reference.bit_table``."""
    from vqkit.kernels.triton.tables import bit_table as run

    return run(bits_Nk2, least)


def bit_sums(table_NK: Tensor, slope_NK: Tensor) -> tuple[Tensor, Tensor]:
    """As ``reference.bit_sums``."""
    from vqkit.kernels.triton.tables import bit_sums as run

    return run(table_NK, slope_NK)


__all__ = [
    "bit_sums",
    "bit_table",
    "code_sums",
    "finite_rows",
    "nearest",
    "nearest_index",
    "pull",
    "refuses",
    "residual_chain",
    "snap_levels",
    "turned_back",
    "unsquash",
]
