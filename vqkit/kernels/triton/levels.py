"""Coordinates to the values of their nearest levels on a GPU, and the gradient back: one kernel each; float32."""

# Triton's ranges and branches on constants are not what a type checker takes them for.
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

from __future__ import annotations

import os
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

from vqkit.kernels import reference
from vqkit.kernels.triton.launch import aligned
from vqkit.kernels.triton.rows import all_float32
from vqkit.kernels.triton.single import Single, blocks, tile

# The library whose tanh torch has too, so that both round to the same levels, is not there for the interpreter.
LIBRARY = os.environ.get("TRITON_INTERPRET") != "1"


@triton.jit
def _tanh(x, LIBRARY: tl.constexpr):
    if LIBRARY:
        return libdevice.tanh(x)
    wide = x.to(tl.float64)
    return tl.where(tl.abs(x) < 1e-4, x, (1 - 2 / (tl.exp(2 * wide) + 1)).to(tl.float32))


@triton.jit
def _snap_levels(
    x_ptr,
    shift_ptr,
    reach_ptr,
    half_ptr,
    top_ptr,
    middle_ptr,
    basis_ptr,
    values_ptr,
    indices_ptr,
    squashed_ptr,
    N,
    x_row,
    x_column,
    D: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    LIBRARY: tl.constexpr,
):
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    index_P = tl.zeros((P,), tl.int64)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside, place = (row_P < N)[:, None] & (d < D)[None, :], row_P[:, None] * D + d[None, :]
        x = tl.load(x_ptr + row_P[:, None] * x_row + d[None, :] * x_column, inside, 0.0)
        squashed = _tanh(x + tl.load(shift_ptr + d, d < D, 0.0)[None, :], LIBRARY)
        reach, half = tl.load(reach_ptr + d, d < D, 0.0), tl.load(half_ptr + d, d < D, 0.0)
        top, middle = tl.load(top_ptr + d, d < D, 0.0), tl.load(middle_ptr + d, d < D, 1.0)
        rounded = tl.floor(squashed * reach[None, :] + half[None, :] + 0.5)
        level = tl.minimum(tl.maximum(rounded, 0.0), top[None, :])
        level = tl.where(rounded == rounded, level, rounded)  # NaN stays
        value = tl.div_rn(level - middle[None, :], middle[None, :])
        tl.store(values_ptr + place, value, inside)
        tl.store(squashed_ptr + place, squashed, inside)
        basis = tl.load(basis_ptr + d, d < D, 0)
        index_P += tl.sum(level.to(tl.int64) * basis[None, :], 1)
    tl.store(indices_ptr + row_P, index_P, row_P < N)


@triton.jit
def _unsquash(
    g_ptr,
    squashed_ptr,
    slope_ptr,
    out_ptr,
    N,
    g_row,
    g_column,
    D: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
):
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    d = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    inside, place = (row_P < N)[:, None] & (d < D)[None, :], row_P[:, None] * D + d[None, :]
    g = tl.load(g_ptr + row_P[:, None] * g_row + d[None, :] * g_column, inside, 0.0)
    squashed = tl.load(squashed_ptr + place, inside, 0.0)
    slope = tl.load(slope_ptr + d, d < D, 0.0)
    tl.store(out_ptr + place, g * (1 - squashed * squashed) * slope[None, :], inside)


def snap_levels(
    x_ND: Tensor, shift_D: Tensor, reach_D: Tensor, half_D: Tensor, top_D: Tensor, middle_D: Tensor, basis_D: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As ``reference.snap_levels``."""
    grid = (shift_D, reach_D, half_D, top_D, middle_D)
    if not all_float32(x_ND, *grid):
        return reference.snap_levels(x_ND, *grid, basis_D)
    (N, D), device = x_ND.shape, x_ND.device
    numbers = [t.contiguous() for t in (*grid, basis_D)]
    values, squashed = (torch.empty((N, D), dtype=torch.float32, device=device) for _ in range(2))
    indices = torch.empty(N, dtype=torch.int64, device=device)
    if N:
        alike = tuple(aligned(t) for t in (x_ND, *numbers))
        _snap_plan(N, D, x_ND.stride(), device, alike).run(x_ND, *numbers, values, indices, squashed)
    return values, indices, squashed


@lru_cache(maxsize=512)
def _snap_plan(N: int, D: int, strides: tuple[int, int], _device: torch.device, _aligned: tuple[bool, ...]) -> Single:
    rows, columns = tile(D, 64)
    constants = {"D": D, "P": rows, "CHUNK": columns, "LIBRARY": LIBRARY}
    # A product fused with a sum would round to another level than the reference's.
    return Single(_snap_levels, (blocks(N, rows), 1, 1), (N, *strides), constants, enable_fp_fusion=False)


def unsquash(g_ND: Tensor, squashed_ND: Tensor, slope_D: Tensor) -> Tensor:
    """As ``reference.unsquash``."""
    if not all_float32(g_ND, squashed_ND, slope_D):
        return reference.unsquash(g_ND, squashed_ND, slope_D)
    squashed, slope = squashed_ND.contiguous(), slope_D.contiguous()
    out = torch.empty(squashed.shape, dtype=torch.float32, device=squashed.device)
    if out.numel():
        alike = (aligned(g_ND), aligned(squashed), aligned(slope))
        _unsquash_plan(*out.shape, g_ND.stride(), out.device, alike).run(g_ND, squashed, slope, out)
    return out


@lru_cache(maxsize=512)
def _unsquash_plan(
    N: int, D: int, strides: tuple[int, int], _device: torch.device, _aligned: tuple[bool, ...]
) -> Single:
    rows, columns = tile(D, 256)
    constants = {"D": D, "P": rows, "CHUNK": columns}
    grid = (blocks(N, rows), blocks(D, columns), 1)
    return Single(_unsquash, grid, (N, *strides), constants, enable_fp_fusion=False)
