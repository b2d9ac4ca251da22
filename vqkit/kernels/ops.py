"""The ops, each by the fastest backend that can run it. Inputs are checked by ``functional``.

In eager code a backend is called directly. Compile sees a search as one node, a PyTorch custom op, and fuses what is
elementwise itself. Export sees plain aten operations, so that what it writes runs without vqkit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from vqkit.kernels import portable, reference
from vqkit.kernels.dispatch import choose
from vqkit.kernels.tracing import exporting


def plain(tensor: Tensor) -> bool:
    """Whether this is eager code on a real tensor: nobody traces or watches, and its memory can be read."""
    if torch.compiler.is_compiling() or is_in_torch_dispatch_mode():
        return False
    return type(tensor) in (Tensor, torch.nn.Parameter)


def one_node(tensor: Tensor) -> bool:
    """Whether work in blocks belongs into one node, which no number of rows unrolls: compiled, but not exported."""
    return not (plain(tensor) or exporting())


def nearest(x_HND: Tensor, codebook_HKD: Tensor, metric: str, topk: int, backend: str = "") -> tuple[Tensor, Tensor]:
    """Indices (H, N, T) int64 and distances (H, N, T) float64; ``backend`` "" lets dispatch choose."""
    if plain(x_HND):
        return choose("nearest", x_HND, backend or None).function(x_HND, codebook_HKD, metric, topk)
    if exporting() and not backend:
        return portable.nearest(x_HND, codebook_HKD, metric, topk)
    return nearest_op(x_HND, codebook_HKD, metric, topk, backend)


def nearest_index(x_HND: Tensor, codebook_HKD: Tensor, metric: str, backend: str = "") -> Tensor:
    """Indices (H, N) int64 of the nearest codes alone."""
    if plain(x_HND):
        return choose("nearest_index", x_HND, backend or None).function(x_HND, codebook_HKD, metric)
    if exporting() and not backend:
        return portable.nearest_index(x_HND, codebook_HKD, metric)
    return nearest_index_op(x_HND, codebook_HKD, metric, backend)


def code_sums(x_HND: Tensor, indices_HN: Tensor, size: int, backend: str = "") -> tuple[Tensor, Tensor]:
    """Counts (H, K) int64 and sums (H, K, D) float64 of the rows of each index."""
    if plain(x_HND):
        return choose("code_sums", x_HND, backend or None).function(x_HND, indices_HN, size)
    return code_sums_op(x_HND, indices_HN, size, backend)


def residual_chain(x_ND: Tensor, codebooks_QKD: Tensor, backend: str = "") -> Tensor:
    """Indices (N, Q) int64 of float32 rows by the nearest codes of Q float32 codebooks, each of what the last left."""
    if plain(x_ND):
        return choose("residual_chain", x_ND, backend or None).function(x_ND, codebooks_QKD)
    if exporting() and not backend:
        return portable.residual_chain(x_ND, codebooks_QKD)
    return residual_chain_op(x_ND, codebooks_QKD, backend)


def _direct(op: str, tensor: Tensor) -> Callable[..., Any]:
    """The fastest implementation in eager code; elsewhere the reference, to be traced and fused."""
    return choose(op, tensor).function if plain(tensor) else getattr(reference, op)


def _unless_differentiated(op: str, *tensors: Tensor) -> Callable[..., Any]:
    """``_direct``, but the reference where it is differentiated."""
    followed = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return getattr(reference, op) if followed else _direct(op, tensors[0])


def finite_rows(x_ND: Tensor) -> Tensor:
    """Whether a row holds neither NaN nor inf: (N,) bool."""
    return _direct("finite_rows", x_ND)(x_ND)


def pull(x_HND: Tensor, codes_HKD: Tensor, indices_HN: Tensor, by: Tensor) -> Tensor:
    """by·(x − e) with the code e of each row's index, zero where that is negative; not differentiable in eager code."""
    return _direct("pull", x_HND)(x_HND, codes_HKD, indices_HN, by)


def turned_back(g_ND: Tensor, x_ND: Tensor, q_ND: Tensor) -> Tensor:
    """The gradient of codes as the rotation trick sends it to rows; not differentiable in eager code."""
    return _direct("turned_back", x_ND)(g_ND, x_ND, q_ND)


def snap_levels(x_ND: Tensor, *grid_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values of the nearest levels (N, D), their indices (N,) int64, and the squashed coordinates (N, D); ``grid``:
    shift, reach, half, top, middle and basis of ``reference.snap_levels``.
    """
    return _direct("snap_levels", x_ND)(x_ND, *grid_D)


def unsquash(g_ND: Tensor, squashed_ND: Tensor, slope_D: Tensor) -> Tensor:
    """The gradient through tanh and a slope; not differentiable in eager code."""
    return _direct("unsquash", g_ND)(g_ND, squashed_ND, slope_D)


def bit_table(bits_Nk2: Tensor, least: float) -> Tensor:
    """Products over the bits of every code (N, 2^k), cut off below ``least``."""
    return _unless_differentiated("bit_table", bits_Nk2)(bits_Nk2, least)


def bit_sums(table_NK: Tensor, slope_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of table·slope over the codes whose bit is one, and over those where it is zero: (N, k) each."""
    return _unless_differentiated("bit_sums", table_NK, slope_NK)(table_NK, slope_NK)


# --- what a codebook's step does, in place --------------------------------------------------------------------------


def draw(valid_HN: Tensor, positions_HN: Tensor, seed: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Rows drawn at random, best first: scores (H, R) float64, −inf where there is none, and numbers (H, R) int64."""
    return _direct("draw", valid_HN)(valid_HN, positions_HN, seed, slots)


def assigned(dead_HK: Tensor, urgency_HK: Tensor, scores_HR: Tensor) -> tuple[Tensor, Tensor]:
    """A slot of its own for every dead code: which get one (H, K) bool, and which (H, K) int64."""
    return _direct("assigned", dead_HK)(dead_HK, urgency_HK, scores_HR)


def overwrite_(vectors_HKD: Tensor, where_HK: Tensor, rows_HKD: Tensor) -> None:
    """Write rows where ``where`` is true."""
    _direct("overwrite_", vectors_HKD)(vectors_HKD, where_HK, rows_HKD)


def fade_shares_(shares_HK: Tensor, counts_HK: Tensor, rows_H: Tensor, window: float) -> None:
    """Move shares towards those of a step; ``reference.fade_shares_``."""
    _direct("fade_shares_", shares_HK)(shares_HK, counts_HK, rows_H, window)


def ema_step_(
    averages: tuple[Tensor, Tensor, Tensor, Tensor],
    counts_HK: Tensor,
    sums_HKD: Tensor,
    rows_H: Tensor,
    decay: float,
    factor: Tensor | None = None,
) -> None:
    """Move the averages n, m, start and hit by a step; ``reference.ema_step_``."""
    _direct("ema_step_", averages[0])(*averages, counts_HK, sums_HKD, rows_H, decay, factor)


def ema_write_(
    vectors_HKD: Tensor,
    averages: tuple[Tensor, Tensor, Tensor, Tensor],
    frozen_HK: Tensor,
    eps: float,
    *,
    everywhere: bool,
    unit_codes: bool,
) -> None:
    """Write the averages into the codes; ``reference.ema_write_``."""
    _direct("ema_write_", vectors_HKD)(vectors_HKD, *averages, frozen_HK, eps, everywhere, unit_codes)


def ema_moved_(
    vectors_HKD: Tensor, averages: tuple[Tensor, Tensor, Tensor, Tensor], where_HK: Tensor, weight: float | None
) -> None:
    """Make the averages of codes that were put elsewhere agree; ``reference.ema_moved_``."""
    _direct("ema_moved_", vectors_HKD)(vectors_HKD, *averages[:3], where_HK, weight)


def record_(ring: Tensor, cursor: Tensor, indices_HN: Tensor) -> None:
    """Write indices into a ring of the last ones; ``reference.record_``."""
    _direct("record_", indices_HN)(ring, cursor, indices_HN)


# --- custom ops -----------------------------------------------------------------------------------------------------


@torch.library.custom_op("vqkit::nearest", mutates_args=())
def nearest_op(x_HND: Tensor, codebook_HKD: Tensor, metric: str, topk: int, backend: str) -> tuple[Tensor, Tensor]:
    """``nearest`` as one node."""
    return choose("nearest", x_HND, backend or None).function(x_HND, codebook_HKD, metric, topk)


@nearest_op.register_fake
def _(x_HND: Tensor, codebook_HKD: Tensor, metric: str, topk: int, backend: str) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    shape = (*x_HND.shape[:2], topk)
    return x_HND.new_empty(shape, dtype=torch.int64), x_HND.new_empty(shape, dtype=torch.float64)


@torch.library.custom_op("vqkit::nearest_index", mutates_args=())
def nearest_index_op(x_HND: Tensor, codebook_HKD: Tensor, metric: str, backend: str) -> Tensor:
    """``nearest_index`` as one node."""
    # A custom op's result may not be a view of another tensor.
    return choose("nearest_index", x_HND, backend or None).function(x_HND, codebook_HKD, metric).contiguous()


@nearest_index_op.register_fake
def _(x_HND: Tensor, codebook_HKD: Tensor, metric: str, backend: str) -> Tensor:  # noqa: ARG001
    return x_HND.new_empty(x_HND.shape[:2], dtype=torch.int64)


@torch.library.custom_op("vqkit::code_sums", mutates_args=())
def code_sums_op(x_HND: Tensor, indices_HN: Tensor, size: int, backend: str) -> tuple[Tensor, Tensor]:
    """``code_sums`` as one node."""
    return choose("code_sums", x_HND, backend or None).function(x_HND, indices_HN, size)


@code_sums_op.register_fake
def _(x_HND: Tensor, indices_HN: Tensor, size: int, backend: str) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    H, _, D = x_HND.shape
    return x_HND.new_empty((H, size), dtype=torch.int64), x_HND.new_empty((H, size, D), dtype=torch.float64)


@torch.library.custom_op("vqkit::residual_chain", mutates_args=())
def residual_chain_op(x_ND: Tensor, codebooks_QKD: Tensor, backend: str) -> Tensor:
    """``residual_chain`` as one node."""
    return choose("residual_chain", x_ND, backend or None).function(x_ND, codebooks_QKD)


@residual_chain_op.register_fake
def _(x_ND: Tensor, codebooks_QKD: Tensor, backend: str) -> Tensor:  # noqa: ARG001
    return x_ND.new_empty((x_ND.shape[0], codebooks_QKD.shape[0]), dtype=torch.int64)
