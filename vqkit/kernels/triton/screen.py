"""The screen: the best few codes of every row by float16 scores on tensor cores, and a bound on all the others.

Minimising |x − e|² over codes is maximising s(e) = x'·e' − h(e) with x' = x − c, e' = e − c and h = ½|e'|²; for cosine,
on unit vectors, h = −c·ê; for inner products x' = x and h = 0, since x·c is the same for all codes. All lengths are in
units U. Rows and codes are rounded to float16, which has eight times bfloat16's precision at the same rate of products,
and whose range is enough: codes are near one in units U, and a row carries a power of two of its own.

The bound. Let x̂, ê be the rounded vectors, δx ≥ |x' − x̂| and δe ≥ |e' − ê| the rounding errors as measured. Then
|x'·e' − x̂·ê| = |(x' − x̂)·e' + x̂·(e' − ê)| ≤ δx|e'| + (|x'| + δx)δe by Cauchy and Schwarz. Where a row is split into
x̂ = x₁ + x₂ and a code into e₁ + e₂, the product leaves out x₂·e₂, at most |x₂||e₂|.

The products of two float16 numbers are exact in float32. A tensor core adds a block of them to the accumulator after
aligning all terms to the largest and may cut off, not round, what is below its last bit (Fasi, Higham, Mikaitis and
Pranesh 2021, PeerJ CS 7:e330): each term loses at most 2⁻²³ of the largest magnitude, which S = Σ|x̂ᵢêᵢ| ≤ |x̂||ê|
bounds, and so does each block's sum. With blocks of four terms or more that is 1.5·W·2⁻²³·S over W terms;
γ = (W + 64)·2⁻²² is a third more, and holds as well for float32 products rounded in any order.

The score fl(x̂·ê·2ᵏ − h) rounds once, and h is off by four roundings: less than 2⁻²¹(|x||e| + h). The lowest ``BITS``
bits of a score then give way to the tile it came from, which moves it by at most 2^(BITS−22)(|x||e| + h). For cosine h
has the error of unit vectors in float32 besides, (D + 16)·2⁻²³ of lengths that are at most |x'| + |e'| + 1/U. Last,
distances in float64 have errors of their own, of up to (D + 16)·2⁻⁴⁹(|x'| + |e'| + 1/U)²: with these in the slack, what
the verification finds among the candidates is what it would find among all codes. For inner products, which are taken
of e and not of e − c, these errors are of up to (D + 16)·2⁻⁴⁹|x||e|. The largest |e'|, δe, |e₂| and h of
all codes stand for each code's own. The sum is taken 2 % larger for its own rounding.

A code with ŝ + slack below the best ŝ − slack is not nearest. NaN and inf in the bound compare false: such rows stay
open, to be measured in float64 against every code.

Groups. The epilogue, not the product, is what takes time, so of ``GROUP`` codes whose scores lie in one thread's
registers only the best goes on; whoever measures a candidate measures its whole group. Of the groups that meet in one
slot of the running tile the best two are kept, and named when they come within the slack of the best of all.
"""

# Triton's ranges and branches on constants are not what a type checker takes them for.
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

import triton
import triton.language as tl

from vqkit.kernels.triton.pairs import COSINE, DOT
from vqkit.kernels.triton.prepare import IEEE

NOTHING = tl.constexpr(-3.3e38)  # below the score of a code that is not there


@triton.jit
def largest(stats, blocks, BLOCKS: tl.constexpr):
    """The largest of ``blocks`` non-negative numbers."""
    most = tl.zeros((BLOCKS,), tl.float32)
    for start in range(0, blocks, BLOCKS):
        place = start + tl.arange(0, BLOCKS)
        most = tl.maximum(most, tl.load(stats + place, place < blocks, 0.0))
    return tl.max(most, 0)


@triton.jit
def slack_of(
    x_norm,
    x_error,
    x_low,
    code_stats,
    unit_ptr,
    blocks,
    D: tl.constexpr,
    W: tl.constexpr,
    BITS: tl.constexpr,
    BLOCKS: tl.constexpr,
    METRIC: tl.constexpr,
):
    """Twice the bound on the error of the scores of rows of these norms; float32, of their shape."""
    e_norm = largest(code_stats, blocks, BLOCKS)
    e_error = largest(code_stats + blocks, blocks, BLOCKS)
    e_low = largest(code_stats + 2 * blocks, blocks, BLOCKS)
    height = largest(code_stats + 3 * blocks, blocks, BLOCKS)
    product = (x_norm + x_error) * (e_norm + e_error)
    slack = x_error * e_norm + (x_norm + x_error) * e_error + x_low * e_low
    lift = tl.zeros_like(height) if METRIC == DOT else height
    slack += (W + 64) * 2.0**-22 * 1.05 * product + (2.0**-21 + 2.0 ** (BITS - 22)) * (product + lift)
    span = x_norm + e_norm
    if METRIC == COSINE:
        reach = 1.0 / tl.load(unit_ptr)
        span += reach
        slack += (D + 16) * 2.0**-23 * reach * span
    # For inner products ``height`` is the largest |e|.
    squares = x_norm * height if METRIC == DOT else span * span
    return 2.04 * (slack + (D + 16) * 2.0**-49 * squares + 1e-30)


@triton.jit
def scores_of(
    x_ptrs,
    e_ptrs,
    h_ptrs,
    x,  # (BM, BW): the first of what ``x_ptrs`` point to; all of it where BW is W
    scale_M,
    W: tl.constexpr,
    BW: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    SCREEN: tl.constexpr,
):
    """Scores (BM, BN) float32 of a tile of rows and a tile of codes."""
    if BW == W:
        e = tl.load(e_ptrs)
        if SCREEN == IEEE:
            acc = tl.dot(x, e, input_precision="ieee")
        else:
            acc = tl.dot(x, e)
    else:
        acc = tl.zeros((BM, BN), tl.float32)
        for start in range(0, W, BW):
            xw, e = tl.load(x_ptrs + start), tl.load(e_ptrs + start)
            if SCREEN == IEEE:
                acc = tl.dot(xw, e, acc, input_precision="ieee")
            else:
                acc = tl.dot(xw, e, acc)
    return tl.fma(acc, scale_M[:, None] + tl.zeros_like(acc), tl.zeros_like(acc) - tl.load(h_ptrs)[None, :])


@triton.jit
def packed(score, number, BITS: tl.constexpr):
    """A score (float32) whose lowest bits are ``number``."""
    bits = score.to(tl.int32, bitcast=True)
    return ((bits & (-(2**BITS))) | number).to(tl.float32, bitcast=True)


@triton.jit
def halves(tile, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Neighbouring columns of a tile as two tiles, without leaving the registers of a product's result."""
    return tl.split(tl.reshape(tile, (ROWS, COLS // 2, 2)))


@triton.jit
def quarters(tile, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Columns of a tile (of half a product's columns) four apart as two tiles, which are in one thread's registers."""
    return tl.split(tl.trans(tl.reshape(tile, (ROWS, COLS // 8, 2, 4)), (0, 1, 3, 2)))


@triton.jit
def update(
    best, second, score, number, ROWS: tl.constexpr, COLS: tl.constexpr, GROUP: tl.constexpr, BITS: tl.constexpr
):
    """The best two groups of every slot so far, with the scores of one more tile."""
    left, right = halves(score, ROWS, COLS)
    if GROUP == 1:
        left, right = packed(left, 2 * number, BITS), packed(right, 2 * number + 1, BITS)
        high, low = tl.maximum(left, right), tl.minimum(left, right)
        second = tl.maximum(second, low)
    else:
        high = tl.maximum(left, right)
        if GROUP == 4:
            near, far = quarters(high, ROWS, COLS // 2)
            high = tl.reshape(tl.maximum(near, far), (ROWS, COLS // 4))
        high = packed(high, number, BITS)
    second = tl.maximum(second, tl.minimum(best, high))
    return tl.maximum(best, high), second


@triton.jit
def code_of(slot, bits, first, BN: tl.constexpr, GROUP: tl.constexpr):
    """The number of the first code of a group: its slot, and the tile in the lowest bits of its score."""
    if GROUP == 1:
        code = (first + (bits >> 1)) * BN + 2 * slot + (bits & 1)
    elif GROUP == 2:
        code = (first + bits) * BN + 2 * slot
    else:
        code = (first + bits) * BN + 16 * (slot >> 2) + 2 * (slot & 3)
    return code


@triton.jit
def take_best(best, second, top, slot, SLOTS: tl.constexpr):
    """Take the best score ``top`` (M,) of each row out of its slot.

    Returns the slot, whether it had given its best before, the scores that are left, and the best of them. A slot that
    gave both its scores may hide more codes, none better than the second: whoever gets one has to look through it.
    """
    at = tl.min(tl.where(best == top[:, None], slot[None, :], SLOTS), 1)
    here = slot[None, :] == at[:, None]
    behind = tl.max(tl.where(here, second, NOTHING), 1)
    twice = (behind == top) & (top > NOTHING)
    best = tl.where(here, tl.where(twice[:, None], NOTHING, second), best)
    return at, twice, best, tl.max(best, 1)


@triton.jit
def member_of(code, member):
    """A code of a group, or of a slot's codes in one tile, of the first one: the next, then two that lie eight on."""
    return code + (member & 1) + 8 * (member >> 1)


@triton.jit
def screen(
    rows_ptr,  # (H, N', W)
    codes_ptr,  # (H, K', W)
    heights,  # (H, K')
    row_stats,
    code_stats,
    unit_ptr,
    scores_out,  # (S, T, H, N') float32, best first
    codes_out,  # (S, T, H, N') int32
    rest_out,  # (S, H, N') float32: no code left out scores more
    hidden_out,  # (S, H, N') int32: the first code of a slot, in the first tile, that may hide more codes; or −1
    slack_out,  # (H, N') float32
    n_blocks,
    k_blocks,
    blocks,
    tiles,  # of BN codes, for each of the S splits
    heads,
    D: tl.constexpr,
    W: tl.constexpr,
    BW: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BITS: tl.constexpr,
    KEPT: tl.constexpr,
    GROUP: tl.constexpr,
    SCREEN: tl.constexpr,
    BLOCKS: tl.constexpr,
    METRIC: tl.constexpr,
):
    """Score a tile of rows against the codes of one split, and name the best few."""
    n_padded, k_padded = n_blocks * 128, k_blocks * 128
    split, head = tl.program_id(1), tl.program_id(2).to(tl.int64)
    row_M = tl.program_id(0) * BM + tl.arange(0, BM)
    col_N, w = tl.arange(0, BN), tl.arange(0, BW)
    SLOTS: tl.constexpr = BN // 4 if GROUP == 4 else BN // 2
    slot = tl.arange(0, SLOTS)
    first = split * tiles
    number = tl.minimum(tiles, k_padded // BN - first)
    stats = row_stats + head * 4 * n_padded + row_M
    scale_M = tl.load(stats)
    x_ptrs = rows_ptr + head * n_padded * W + row_M.to(tl.int64)[:, None] * W + w[None, :]
    e_ptrs = codes_ptr + head * k_padded * W + (first * BN + col_N).to(tl.int64)[None, :] * W + w[:, None]
    h_ptrs = heights + head * k_padded + first * BN + col_N
    x = tl.load(x_ptrs)
    best = tl.full((BM, SLOTS), NOTHING, tl.float32)
    second = tl.full((BM, SLOTS), NOTHING, tl.float32)
    for it in range(0, number):
        score = scores_of(x_ptrs, e_ptrs, h_ptrs, x, scale_M, W, BW, BM, BN, SCREEN)
        best, second = update(best, second, score, it, BM, BN, GROUP, BITS)
        e_ptrs += BN * W
        h_ptrs += BN

    norm_M, error_M, low_M = tl.load(stats + n_padded), tl.load(stats + 2 * n_padded), tl.load(stats + 3 * n_padded)
    code_stats += head * 4 * blocks
    slack_M = slack_of(norm_M, error_M, low_M, code_stats, unit_ptr + head, blocks, D, W, BITS, BLOCKS, METRIC)
    out = head * n_padded + row_M
    if split == 0:
        tl.store(slack_out + out, slack_M)
    top_M = tl.max(best, 1)
    least_M = top_M - slack_M
    hidden_M = tl.full((BM,), -1, tl.int32)
    slots_hidden = tl.zeros((BM,), tl.int32)
    for place in tl.static_range(KEPT):
        here = (split * KEPT + place) * heads * n_padded + out
        if tl.max((top_M >= least_M).to(tl.int32), 0) > 0:
            bits_M = top_M.to(tl.int32, bitcast=True) & (2**BITS - 1)
            tl.store(scores_out + here, top_M)
            near_M = top_M >= least_M
            at_M, twice_M, best, top_M = take_best(best, second, top_M, slot, SLOTS)
            tl.store(codes_out + here, code_of(at_M, bits_M, first, BN, GROUP))
            hides_M = near_M & twice_M
            hidden_M = tl.where(hides_M, code_of(at_M, at_M * 0, first, BN, GROUP), hidden_M)
            slots_hidden += hides_M.to(tl.int32)
        else:
            tl.store(scores_out + here, tl.full((BM,), NOTHING, tl.float32))
    # One slot that hides codes can be looked through; of several nothing is known.
    top_M = tl.where(slots_hidden > 1, -NOTHING, top_M)
    tl.store(rest_out + split * heads * n_padded + out, top_M)
    tl.store(hidden_out + split * heads * n_padded + out, hidden_M)
