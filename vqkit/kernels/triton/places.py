"""Codes that are put elsewhere, on a GPU: one launch for each op, and next to no work where no code is dead."""

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
from vqkit.kernels.triton.rows import all_float32
from vqkit.kernels.triton.single import Single, blocks, tile

MOST_CODES = 2**17  # more take longer to compare each with each than to sort


@triton.jit
def _fade_shares(shares_ptr, counts_ptr, rows_ptr, K, P: tl.constexpr, WINDOW: tl.constexpr):
    head = tl.program_id(1).to(tl.int64)
    code_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    there, place = code_P < K, head * K + code_P
    rows = tl.load(rows_ptr + head).to(tl.float64)
    even = tl.load(counts_ptr + place, there, 0).to(tl.float64) * K / tl.maximum(rows, 1.0)
    keep = tl.exp(-rows / (WINDOW * K))
    share = tl.load(shares_ptr + place, there, 0.0).to(tl.float64)
    tl.store(shares_ptr + place, (share * keep + even * (1 - keep)).to(tl.float32), there)


@triton.jit
def _assigned(dead_ptr, urgency_ptr, scores_ptr, placed_ptr, slot_ptr, K, R, P: tl.constexpr, CHUNK: tl.constexpr):
    """A code's turn is the number of dead codes that are more urgent, or as urgent and before it."""
    head = tl.program_id(1).to(tl.int64)
    code_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    there, place = code_P < K, head * K + code_P
    dead_P = (tl.load(dead_ptr + place, there, 0) != 0) & there
    urgency_P, turn_P = tl.load(urgency_ptr + place, dead_P, 0.0), tl.zeros((P,), tl.int64)
    if tl.max(dead_P.to(tl.int32), 0) > 0:
        for start in range(0, K, CHUNK):
            other = start + tl.arange(0, CHUNK)
            dead = tl.load(dead_ptr + head * K + other, other < K, 0) != 0
            urgency = tl.load(urgency_ptr + head * K + other, (other < K) & dead, 0.0)
            as_urgent = (urgency[None, :] == urgency_P[:, None]) & (other[None, :] < code_P[:, None])
            first = ((urgency[None, :] > urgency_P[:, None]) | as_urgent) & dead[None, :]
            turn_P += tl.sum(first.to(tl.int32), 1)
    slot_P = tl.minimum(turn_P, R - 1)
    score = tl.load(scores_ptr + head * R + slot_P, dead_P, -float("inf"))
    tl.store(placed_ptr + place, dead_P & (turn_P < R) & (score > -float("inf")), there)
    tl.store(slot_ptr + place, slot_P, there)


@triton.jit
def _overwrite(vectors_ptr, where_ptr, rows_ptr, N, D: tl.constexpr, P: tl.constexpr, CHUNK: tl.constexpr):
    slot_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    moved = (slot_P < N) & (tl.load(where_ptr + slot_P, slot_P < N, 0) != 0)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside, place = moved[:, None] & (d < D)[None, :], slot_P[:, None] * D + d[None, :]
        tl.store(vectors_ptr + place, tl.load(rows_ptr + place, inside, 0.0).to(tl.float32), inside)


# --- calls ----------------------------------------------------------------------------------------------------------


def fade_shares_(shares: Tensor, counts: Tensor, rows: Tensor, window: float) -> None:
    """As ``reference.fade_shares_``."""
    if not shares.is_contiguous() or shares.dtype != torch.float32:
        reference.fade_shares_(shares, counts, rows, window)
        return
    given = (shares, counts.contiguous(), rows.contiguous())
    alike = (counts.dtype, shares.device, *(aligned(t) for t in given))
    _fade_plan(*shares.shape, window, alike).run(*given)


@lru_cache(maxsize=512)
def _fade_plan(H: int, K: int, window: float, _alike: tuple) -> Single:
    return Single(_fade_shares, (blocks(K, 256), H, 1), (K,), {"P": 256, "WINDOW": window})


def assigned(dead: Tensor, urgency: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """As ``reference.assigned``, but that a code that gets none may be said another slot."""
    if dead.shape[1] > MOST_CODES:
        return reference.assigned(dead, urgency, scores)
    given = (dead.contiguous(), urgency.contiguous(), scores.contiguous())
    placed = torch.empty(dead.shape, dtype=torch.bool, device=dead.device)
    slot = torch.empty(dead.shape, dtype=torch.int64, device=dead.device)
    alike = (urgency.dtype, scores.dtype, dead.device, *(aligned(t) for t in given))
    _assigned_plan(*dead.shape, scores.shape[1], alike).run(*given, placed, slot)
    return placed, slot


@lru_cache(maxsize=512)
def _assigned_plan(H: int, K: int, R: int, _alike: tuple) -> Single:
    return Single(_assigned, (blocks(K, 32), H, 1), (K, R), {"P": 32, "CHUNK": 128})


def overwrite_(vectors: Tensor, where: Tensor, rows: Tensor) -> None:
    """As ``reference.overwrite_``."""
    if not vectors.is_contiguous() or not all_float32(vectors):
        reference.overwrite_(vectors, where, rows)
        return
    given = (vectors, where.contiguous(), rows.contiguous())
    alike = (rows.dtype, vectors.device, *(aligned(t) for t in given))
    _overwrite_plan(where.numel(), vectors.shape[2], alike).run(*given)


@lru_cache(maxsize=512)
def _overwrite_plan(codes: int, D: int, _alike: tuple) -> Single:
    rows, columns = tile(D, 256)
    return Single(_overwrite, (blocks(codes, rows), 1, 1), (codes,), {"D": D, "P": rows, "CHUNK": columns})
