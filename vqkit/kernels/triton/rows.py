"""What a training step does to every row besides the search, one kernel each; float32, but for ``finite_rows``."""

# Triton's ranges and branches on constants are not what a type checker takes them for.
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from vqkit.kernels import reference
from vqkit.kernels.triton.launch import aligned
from vqkit.kernels.triton.single import Single, blocks, tile
from vqkit.kernels.triton.sums import INFINITE


@triton.jit
def _finite_rows(x_ptr, finite_ptr, N, D: tl.constexpr, P: tl.constexpr, CHUNK: tl.constexpr):
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    bits = tl.zeros((P, CHUNK), tl.int32)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside = (row_P < N)[:, None] & (d < D)[None, :]
        value = tl.load(x_ptr + row_P[:, None] * D + d[None, :], inside, 0.0).to(tl.float32)
        bits = tl.maximum(bits, value.to(tl.int32, bitcast=True) & 0x7FFFFFFF)
    tl.store(finite_ptr + row_P, tl.max(bits, 1) < INFINITE, row_P < N)


@triton.jit
def _pull(x_ptr, codes_ptr, indices_ptr, by_ptr, out_ptr, N, K, D: tl.constexpr, P: tl.constexpr, CHUNK: tl.constexpr):
    head = tl.program_id(2).to(tl.int64)
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    d = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    index_P = tl.load(indices_ptr + head * N + row_P, row_P < N, -1)
    inside = (row_P < N)[:, None] & (d < D)[None, :]
    counted = inside & (index_P >= 0)[:, None]
    place = (head * N + row_P)[:, None] * D + d[None, :]
    x = tl.load(x_ptr + place, counted, 0.0)
    code = tl.load(codes_ptr + (head * K + index_P)[:, None] * D + d[None, :], counted, 0.0)
    off = (x - code) * tl.load(by_ptr).to(tl.float32)
    tl.store(out_ptr + place, tl.where(counted, off, 0.0), inside)


@triton.jit
def _turned_back(
    g_ptr, x_ptr, q_ptr, out_ptr, N, g_row, g_column, D: tl.constexpr, P: tl.constexpr, CHUNK: tl.constexpr
):
    """In float64, where no square of a float32 leaves the range."""
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    x_squares, q_squares = tl.zeros((P, CHUNK), tl.float64), tl.zeros((P, CHUNK), tl.float64)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside, place = (row_P < N)[:, None] & (d < D)[None, :], row_P[:, None] * D + d[None, :]
        x = tl.load(x_ptr + place, inside, 0.0).to(tl.float64)
        q = tl.load(q_ptr + place, inside, 0.0).to(tl.float64)
        x_squares += x * x
        q_squares += q * q
    x_norm, q_norm = tl.sqrt(tl.sum(x_squares, 1)), tl.sqrt(tl.sum(q_squares, 1))
    directed = x_norm > 0
    x_over, q_over = 1 / tl.where(directed, x_norm, 1.0), 1 / tl.where(q_norm > 0, q_norm, 1.0)
    # A zero code makes the ratio zero, and a ratio beyond float32 an infinity.
    ratio = (q_norm * x_over).to(tl.float32)
    turnable = directed & (ratio > 0) & (ratio < float("inf"))
    middles, along_codes = tl.zeros((P, CHUNK), tl.float64), tl.zeros((P, CHUNK), tl.float64)
    along_middles = tl.zeros((P, CHUNK), tl.float64)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside, place = (row_P < N)[:, None] & (d < D)[None, :], row_P[:, None] * D + d[None, :]
        u = tl.load(x_ptr + place, inside, 0.0).to(tl.float64) * x_over[:, None]
        v = tl.load(q_ptr + place, inside, 0.0).to(tl.float64) * q_over[:, None]
        g = tl.load(g_ptr + row_P[:, None] * g_row + d[None, :] * g_column, inside, 0.0).to(tl.float64)
        middles += (u + v) * (u + v)
        along_middles += g * (u + v)
        along_codes += g * v
    middle = tl.maximum(tl.sum(middles, 1), 1e-24)
    along_middle, along_code = 2 * tl.sum(along_middles, 1) / middle, 2 * tl.sum(along_codes, 1)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside, place = (row_P < N)[:, None] & (d < D)[None, :], row_P[:, None] * D + d[None, :]
        u = tl.load(x_ptr + place, inside, 0.0).to(tl.float64) * x_over[:, None]
        v = tl.load(q_ptr + place, inside, 0.0).to(tl.float64) * q_over[:, None]
        g = tl.load(g_ptr + row_P[:, None] * g_row + d[None, :] * g_column, inside, 0.0)
        turned = g.to(tl.float64) - along_middle[:, None] * (u + v) + along_code[:, None] * u
        turned = turned * ratio.to(tl.float64)[:, None]
        tl.store(out_ptr + place, tl.where(turnable[:, None], turned.to(tl.float32), g), inside)


# --- calls ----------------------------------------------------------------------------------------------------------


def all_float32(*tensors: Tensor) -> bool:
    """Whether the kernels of float32 take all of these."""
    return all(t.dtype == torch.float32 for t in tensors)


def finite_rows(x_ND: Tensor) -> Tensor:
    """As ``reference.finite_rows``."""
    x = x_ND.contiguous()
    finite = torch.empty(x.shape[0], dtype=torch.bool, device=x.device)
    if x.shape[0]:
        _finite_plan(*x.shape, x.dtype, x.device, aligned(x)).run(x, finite)
    return finite


@lru_cache(maxsize=512)
def _finite_plan(N: int, D: int, _dtype: torch.dtype, _device: torch.device, _aligned: bool) -> Single:
    rows, columns = tile(D, 256)
    return Single(_finite_rows, (blocks(N, rows), 1, 1), (N,), {"D": D, "P": rows, "CHUNK": columns})


def pull(x_HND: Tensor, codes_HKD: Tensor, indices_HN: Tensor, by: Tensor) -> Tensor:
    """As ``reference.pull``."""
    if not all_float32(x_HND, codes_HKD):
        return reference.pull(x_HND, codes_HKD, indices_HN, by)
    x, codes, indices = x_HND.contiguous(), codes_HKD.contiguous(), indices_HN.contiguous()
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if out.numel():
        alike = (aligned(x), aligned(codes), aligned(indices), aligned(by))
        _pull_plan(*x.shape, codes.shape[1], by.dtype, x.device, alike).run(x, codes, indices, by, out)
    return out


@lru_cache(maxsize=512)
def _pull_plan(
    H: int, N: int, D: int, K: int, _by: torch.dtype, _device: torch.device, _aligned: tuple[bool, ...]
) -> Single:
    rows, columns = tile(D, 256)
    grid = (blocks(N, rows), blocks(D, columns), H)
    return Single(_pull, grid, (N, K), {"D": D, "P": rows, "CHUNK": columns}, enable_fp_fusion=False)


def turned_back(g_ND: Tensor, x_ND: Tensor, q_ND: Tensor) -> Tensor:
    """As ``reference.turned_back``."""
    if not all_float32(g_ND, x_ND, q_ND):
        return reference.turned_back(g_ND, x_ND, q_ND)
    x, q = x_ND.contiguous(), q_ND.contiguous()
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if out.numel():
        alike = (aligned(g_ND), aligned(x), aligned(q))
        _turn_plan(*x.shape, g_ND.stride(), x.device, alike).run(g_ND, x, q, out)
    return out


@lru_cache(maxsize=512)
def _turn_plan(N: int, D: int, strides: tuple[int, int], _device: torch.device, _aligned: tuple[bool, ...]) -> Single:
    rows, columns = tile(D, 256)
    return Single(_turned_back, (blocks(N, rows), 1, 1), (N, *strides), {"D": D, "P": rows, "CHUNK": columns})
