"""Codes as moving averages on a GPU: one launch for the step, two to write, one for codes that were put elsewhere."""

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

LARGEST = tl.constexpr(3.4028234663852886e38)
TINY = tl.constexpr(1.1754943508222875e-38)
SUMMED = 1024  # numbers whose sum one program takes
MOST_SUMS = 4096  # of them that one program adds up


@triton.jit
def _lerp(a, b, weight):
    """As torch rounds it."""
    return tl.where(weight < 0.5, a + weight * (b - a), b - (b - a) * (1 - weight))


@triton.jit
def _ema_step(
    n_ptr,
    m_ptr,
    start_ptr,
    hit_ptr,
    counts_ptr,
    sums_ptr,
    rows_ptr,
    factor_ptr,
    K,
    D: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    SHARE: tl.constexpr,  # 1 − γ
    WEIGHED: tl.constexpr,
):
    head = tl.program_id(2).to(tl.int64)
    code_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    there, slot_P = code_P < K, head * K + code_P
    rate = tl.full((P,), SHARE, tl.float32)
    if WEIGHED:
        rate *= tl.load(factor_ptr + slot_P, there, 0.0)
    rate = tl.where(tl.load(rows_ptr + head) > 0, tl.minimum(rate, 1.0), 0.0)
    if tl.program_id(1) == 0:
        counts = tl.load(counts_ptr + slot_P, there, 0.0).to(tl.float32)
        tl.store(n_ptr + slot_P, _lerp(tl.load(n_ptr + slot_P, there, 0.0), counts, rate), there)
        tl.store(start_ptr + slot_P, tl.load(start_ptr + slot_P, there, 0.0) * (1 - rate), there)
        tl.store(hit_ptr + slot_P, True, there & (counts > 0))
    d = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    inside, place = there[:, None] & (d < D)[None, :], slot_P[:, None] * D + d[None, :]
    sums = tl.load(sums_ptr + place, inside, 0.0)
    bounded = tl.where(sums > LARGEST, LARGEST, tl.where(sums < -LARGEST, -LARGEST, sums)).to(tl.float32)
    tl.store(m_ptr + place, _lerp(tl.load(m_ptr + place, inside, 0.0), bounded, rate[:, None]), inside)


@triton.jit
def _learned(start):
    return tl.maximum(1 - start, TINY)


@triton.jit
def _ema_totals(n_ptr, start_ptr, totals_ptr, K, blocks, P: tl.constexpr):
    head = tl.program_id(1).to(tl.int64)
    code_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    n = tl.load(n_ptr + head * K + code_P, code_P < K, 0.0)
    start = tl.load(start_ptr + head * K + code_P, code_P < K, 0.0)
    tl.store(totals_ptr + head * blocks + tl.program_id(0), tl.sum(tl.div_rn(n, _learned(start)), 0))


@triton.jit
def _averages(m_ptr, place, inside, learned, smoothed):
    m = tl.load(m_ptr + place, inside, 0.0)
    return tl.div_rn(tl.div_rn(m, learned[:, None]), smoothed[:, None])


@triton.jit
def _ema_write(
    vectors_ptr,
    n_ptr,
    m_ptr,
    start_ptr,
    hit_ptr,
    frozen_ptr,
    totals_ptr,
    K,
    blocks,
    D: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    SUMS: tl.constexpr,
    EPS: tl.constexpr,
    EVERYWHERE: tl.constexpr,
    UNIT: tl.constexpr,
):
    head = tl.program_id(1).to(tl.int64)
    code_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    there, slot_P = code_P < K, head * K + code_P
    part = tl.arange(0, SUMS)
    total = tl.sum(tl.load(totals_ptr + head * blocks + part, part < blocks, 0.0), 0)
    learned = _learned(tl.load(start_ptr + slot_P, there, 0.0))
    n = tl.div_rn(tl.load(n_ptr + slot_P, there, 0.0), learned)
    smoothed = tl.div_rn(n + EPS, total + K * EPS) * total
    smoothed = tl.where(smoothed > 0, smoothed, 1.0)
    moves = there & (tl.load(frozen_ptr + slot_P, there, 1) == 0)
    if not EVERYWHERE:
        moves &= tl.load(hit_ptr + slot_P, there, 0) != 0
    # Whether all of a code is finite has to be known before any of it is written, and so has its length.
    wrong, squares = tl.zeros((P, CHUNK), tl.int32), tl.zeros((P, CHUNK), tl.float64)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside, place = moves[:, None] & (d < D)[None, :], slot_P[:, None] * D + d[None, :]
        average = _averages(m_ptr, place, inside, learned, smoothed)
        wrong |= (tl.abs(average) <= LARGEST).to(tl.int32) ^ 1
        squares += average.to(tl.float64) * average.to(tl.float64)
    moves &= tl.max(wrong, 1) == 0
    norm = tl.sqrt(tl.sum(squares, 1))
    norm = tl.where(norm > 0, norm, 1.0)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside, place = moves[:, None] & (d < D)[None, :], slot_P[:, None] * D + d[None, :]
        average = _averages(m_ptr, place, inside, learned, smoothed)
        if UNIT:
            average = (average.to(tl.float64) / norm[:, None]).to(tl.float32)
        tl.store(vectors_ptr + place, average, inside)
    tl.store(hit_ptr + slot_P, False, there)


@triton.jit
def _ema_moved(
    vectors_ptr,
    n_ptr,
    m_ptr,
    start_ptr,
    where_ptr,
    N,
    D: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    WEIGHT: tl.constexpr,  # below zero: n stays
):
    slot_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    moved = (slot_P < N) & (tl.load(where_ptr + slot_P, slot_P < N, 0) != 0)
    n = tl.load(n_ptr + slot_P, moved, 0.0)
    if WEIGHT >= 0:
        n = WEIGHT * (1 - tl.load(start_ptr + slot_P, moved, 0.0))
        tl.store(n_ptr + slot_P, n, moved)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside, place = moved[:, None] & (d < D)[None, :], slot_P[:, None] * D + d[None, :]
        tl.store(m_ptr + place, tl.load(vectors_ptr + place, inside, 0.0) * n[:, None], inside)


# --- calls ----------------------------------------------------------------------------------------------------------


def _fits(tensors: tuple[Tensor, ...]) -> bool:
    """Whether the kernels can write into these where they lie."""
    return all(t.is_contiguous() for t in tensors) and all_float32(*(t for t in tensors if t.is_floating_point()))


def ema_step_(
    n: Tensor,
    m: Tensor,
    start: Tensor,
    hit: Tensor,
    counts: Tensor,
    sums: Tensor,
    rows: Tensor,
    decay: float,
    factor: Tensor | None,
) -> None:
    """As ``reference.ema_step_``."""
    if not _fits((n, m, start, hit)) or sums.dtype != torch.float64:
        reference.ema_step_(n, m, start, hit, counts, sums, rows, decay, factor)
        return
    if factor is not None:
        factor = factor.float().expand(n.shape).contiguous()
    given = (
        n,
        m,
        start,
        hit,
        counts.contiguous(),
        sums.contiguous(),
        rows.contiguous(),
        n if factor is None else factor,
    )
    alike = (counts.dtype, n.device, *(aligned(t) for t in given))
    _step_plan(*m.shape, decay, factor is not None, alike).run(*given)


@lru_cache(maxsize=512)
def _step_plan(H: int, K: int, D: int, decay: float, weighed: bool, _alike: tuple) -> Single:
    rows, columns = tile(D, 256)
    constants = {"D": D, "P": rows, "CHUNK": columns, "SHARE": 1 - decay, "WEIGHED": weighed}
    return Single(_ema_step, (blocks(K, rows), blocks(D, columns), H), (K,), constants)


def ema_write_(
    vectors: Tensor,
    n: Tensor,
    m: Tensor,
    start: Tensor,
    hit: Tensor,
    frozen: Tensor,
    eps: float,
    everywhere: bool,
    unit_codes: bool,
) -> None:
    """As ``reference.ema_write_``."""
    H, K, _ = m.shape
    parts = blocks(K, SUMMED)
    if not _fits((vectors, n, m, start, hit, frozen)) or parts > MOST_SUMS:
        reference.ema_write_(vectors, n, m, start, hit, frozen, eps, everywhere, unit_codes)
        return
    totals = torch.empty((H, parts), dtype=torch.float32, device=m.device)
    alike = (m.device, *(aligned(t) for t in (vectors, n, m, start, hit, frozen)))
    summing, writing = _write_plans(*m.shape, eps, everywhere, unit_codes, alike)
    summing.run(n, start, totals)
    writing.run(vectors, n, m, start, hit, frozen, totals)


@lru_cache(maxsize=512)
def _write_plans(
    H: int, K: int, D: int, eps: float, everywhere: bool, unit_codes: bool, _alike: tuple
) -> tuple[Single, Single]:
    (rows, columns), parts = tile(D, 256), blocks(K, SUMMED)
    how = {"SUMS": power_of_two(parts), "EPS": eps, "EVERYWHERE": everywhere, "UNIT": unit_codes}
    constants = {"D": D, "P": rows, "CHUNK": columns} | how
    return (
        Single(_ema_totals, (parts, H, 1), (K, parts), {"P": SUMMED}),
        Single(_ema_write, (blocks(K, rows), H, 1), (K, parts), constants),
    )


def ema_moved_(vectors: Tensor, n: Tensor, m: Tensor, start: Tensor, where: Tensor, weight: float | None) -> None:
    """As ``reference.ema_moved_``."""
    if not _fits((vectors, n, m, start)):
        reference.ema_moved_(vectors, n, m, start, where, weight)
        return
    given = (vectors, n, m, start, where.contiguous())
    alike = (m.device, *(aligned(t) for t in given))
    _moved_plan(where.numel(), m.shape[2], -1.0 if weight is None else float(weight), alike).run(*given)


@lru_cache(maxsize=512)
def _moved_plan(codes: int, D: int, weight: float, _alike: tuple) -> Single:
    rows, columns = tile(D, 256)
    constants = {"D": D, "P": rows, "CHUNK": columns, "WEIGHT": weight}
    return Single(_ema_moved, (blocks(codes, rows), 1, 1), (codes,), constants)
