"""Tables of bits on a GPU, one kernel each way; float32."""

# Triton's ranges and branches on constants are not what a type checker takes them for.
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from vqkit.kernels import reference
from vqkit.kernels.triton.launch import aligned, power_of_two
from vqkit.kernels.triton.rows import all_float32
from vqkit.kernels.triton.single import Single, blocks, tile


@triton.jit
def _bit_table(bits_ptr, table_ptr, N, BITS: tl.constexpr, LEAST: tl.constexpr, P: tl.constexpr, CHUNK: tl.constexpr):
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    code = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    product = tl.full((P, CHUNK), 1.0, tl.float32)
    for place in range(BITS):  # the last bit first, as the reference rounds
        pair = bits_ptr + (row_P * BITS + BITS - 1 - place) * 2
        zero, one = tl.load(pair, row_P < N, 0.0), tl.load(pair + 1, row_P < N, 0.0)
        product *= tl.where(((code >> place) & 1)[None, :] == 1, one[:, None], zero[:, None])
        product = tl.where(product <= LEAST, 0.0, product)
    inside = (row_P < N)[:, None] & (code >> BITS == 0)[None, :]
    tl.store(table_ptr + (row_P << BITS)[:, None] + code[None, :], product, inside)


@triton.jit
def _bit_sums(
    table_ptr,
    slope_ptr,
    ones_ptr,
    zeros_ptr,
    N,
    BITS: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    bit = tl.arange(0, COLUMNS)
    ones, zeros = tl.zeros((P, COLUMNS), tl.float32), tl.zeros((P, COLUMNS), tl.float32)
    for start in range(0, 1 << BITS, CHUNK):
        code = start + tl.arange(0, CHUNK)
        inside = (row_P < N)[:, None] & (code >> BITS == 0)[None, :]
        place = (row_P << BITS)[:, None] + code[None, :]
        part = tl.load(table_ptr + place, inside, 0.0) * tl.load(slope_ptr + place, inside, 0.0)
        for b in range(BITS):
            on, here = ((code >> (BITS - 1 - b)) & 1)[None, :] == 1, (bit == b)[None, :]
            ones += tl.where(here, tl.sum(tl.where(on, part, 0.0), 1)[:, None], 0.0)
            zeros += tl.where(here, tl.sum(tl.where(on, 0.0, part), 1)[:, None], 0.0)
    inside = (row_P < N)[:, None] & (bit < BITS)[None, :]
    tl.store(ones_ptr + row_P[:, None] * BITS + bit[None, :], ones, inside)
    tl.store(zeros_ptr + row_P[:, None] * BITS + bit[None, :], zeros, inside)


def bit_table(bits_Nk2: Tensor, least: float) -> Tensor:
    """As ``reference.bit_table``, to the bit."""
    if not all_float32(bits_Nk2):
        return reference.bit_table(bits_Nk2, least)
    (N, k, _), bits = bits_Nk2.shape, bits_Nk2.contiguous()
    table = torch.empty((N, 2**k), dtype=torch.float32, device=bits.device)
    if N:
        _table_plan(N, k, least, bits.device, aligned(bits)).run(bits, table)
    return table


@lru_cache(maxsize=512)
def _table_plan(N: int, k: int, least: float, _device: torch.device, _aligned: bool) -> Single:
    rows, columns = tile(2**k, 256)
    grid = (blocks(N, rows), blocks(2**k, columns), 1)
    return Single(_bit_table, grid, (N,), {"BITS": k, "LEAST": least, "P": rows, "CHUNK": columns})


def bit_sums(table_NK: Tensor, slope_NK: Tensor) -> tuple[Tensor, Tensor]:
    """As ``reference.bit_sums``."""
    if not all_float32(table_NK, slope_NK):
        return reference.bit_sums(table_NK, slope_NK)
    table, slope = table_NK.contiguous(), slope_NK.contiguous()
    N, k = table.shape[0], table.shape[1].bit_length() - 1
    ones, zeros = (torch.empty((N, k), dtype=torch.float32, device=table.device) for _ in range(2))
    if N and k:
        _sums_plan(N, k, table.device, (aligned(table), aligned(slope))).run(table, slope, ones, zeros)
    return ones, zeros


@lru_cache(maxsize=512)
def _sums_plan(N: int, k: int, _device: torch.device, _aligned: tuple[bool, ...]) -> Single:
    rows, columns = tile(2**k, 256)
    constants = {"BITS": k, "P": rows, "CHUNK": columns, "COLUMNS": power_of_two(k)}
    return Single(_bit_sums, (blocks(N, rows), 1, 1), (N,), constants)
