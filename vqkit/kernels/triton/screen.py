"""The screen: the best few codes of every row by float16 scores on tensor cores, and a bound on all the others.

Minimising |x − e|² over codes is maximising s(e) = x'·e' − h(e) with x' = x − c, e' = e − c and h = ½|e'|²; for cosine,
on unit vectors, h = −c·ê. All lengths are in units U. Rows and codes are rounded to float16, which has eight times
bfloat16's precision at the same rate of products, and whose range is enough: codes are near one in units U, and a row
carries a power of two of its own.

The bound. Let x̂, ê be the rounded vectors, δx ≥ |x' − x̂| and δe ≥ |e' − ê| the rounding errors as measured in float64.
Then |x'·e' − x̂·ê| = |(x' − x̂)·e' + x̂·(e' − ê)| ≤ δx|e'| + (|x'| + δx)δe by Cauchy and Schwarz. Where a row is split into
x̂ = x₁ + x₂ and a code into e₁ + e₂, the product leaves out x₂·e₂, at most |x₂||e₂|.

The products of two float16 numbers are exact in float32. A tensor core adds a block of them to the accumulator after
aligning all terms to the largest and may cut off, not round, what is below its last bit (Fasi, Higham, Mikaitis and
Pranesh 2021, PeerJ CS 7:e330): each term loses at most 2⁻²³ of the largest magnitude, which S = Σ|x̂ᵢêᵢ| ≤ |x̂||ê| bounds,
and so does each block's sum. With blocks of four terms or more that is 1.5·D·2⁻²³·S; γ = (W + 64)·2⁻²² is a third more
and also holds for float32 products rounded in any order (W terms, of relative error 2⁻²³ each at the most).

The score fl(x̂·ê·2ᵏ) − h rounds twice, and h once: 2⁻²²(|x||e| + h). The lowest ``BITS`` bits of a score then give way to the
tile it came from, which moves it by at most 2^(BITS−22)(|x||e| + h). Last, distances in float64 have errors of their own, of
up to (D + 16)·2⁻⁴⁹(|x'| + |e'| + 1/U)² in either metric: with these in the slack, what the verification finds among the
candidates is what it would find among all codes. The largest |e'|, δe, |e₂|, h of all codes stand for each code's own.

A code with ŝ + slack below the best ŝ − slack is not nearest. NaN and inf in the bound compare false: such rows are open.
"""

import triton
import triton.language as tl

from vqkit.kernels.triton.prepare import IEEE

NOTHING = tl.constexpr(-3.3e38)


@triton.jit
def slack_of(
    row_stats,
    code_stats,
    unit_ptr,
    head,
    row_M,
    N_PADDED,
    blocks,
    D: tl.constexpr,
    W: tl.constexpr,
    BITS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Twice the bound on the error of a score (M,) float32, and the state of each row: its norm, NaN, inf or −1."""
    place = tl.arange(0, BLOCKS)
    stats = code_stats + head * 4 * blocks + place
    inside = place < blocks
    e_norm = tl.max(tl.load(stats, inside, 0.0), 0)
    e_error = tl.max(tl.load(stats + blocks, inside, 0.0), 0)
    e_low = tl.max(tl.load(stats + 2 * blocks, inside, 0.0), 0)
    height = tl.max(tl.load(stats + 3 * blocks, inside, 0.0), 0)
    stats = row_stats + head * 4 * N_PADDED + row_M
    x_norm = tl.load(stats + N_PADDED)
    x_error = tl.load(stats + 2 * N_PADDED)
    x_low = tl.load(stats + 3 * N_PADDED)
    reach = 1.0 / tl.load(unit_ptr + head).to(tl.float32)
    product = (x_norm + x_error) * (e_norm + e_error)
    rounding = x_error * e_norm + (x_norm + x_error) * e_error + x_low * e_low
    gamma: tl.constexpr = (W + 64) * 2.0**-22 * 1.05
    scores: tl.constexpr = 2.0**-22 + 2.0 ** (BITS - 22)
    noise: tl.constexpr = (D + 16) * 2.0**-49
    span = x_norm + e_norm + reach
    slack = rounding + gamma * product + scores * (product + height) + noise * span * span + 1e-30
    return 2.02 * slack, x_norm


@triton.jit
def packed(score, number, BITS: tl.constexpr):
    """A score (float32) whose lowest bits are ``number``."""
    bits = score.to(tl.int32, bitcast=True)
    return ((bits & (-(2**BITS))) | number).to(tl.float32, bitcast=True)


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
    N_PADDED,
    K_PADDED,
    blocks,
    tiles,  # of BN codes, for each of the S splits
    HEADS,
    D: tl.constexpr,
    W: tl.constexpr,
    BW: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BITS: tl.constexpr,
    KEPT: tl.constexpr,
    SCREEN: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    split, head = tl.program_id(1), tl.program_id(2).to(tl.int64)
    row_M = tl.program_id(0) * BM + tl.arange(0, BM)
    col_N, w = tl.arange(0, BN), tl.arange(0, BW)
    slot = tl.arange(0, BN // 2)
    first = split * tiles
    number = tl.minimum(tiles, K_PADDED // BN - first)
    scale_M = tl.load(row_stats + head * 4 * N_PADDED + row_M)
    x_ptrs = rows_ptr + head * N_PADDED * W + row_M.to(tl.int64)[:, None] * W + w[None, :]
    e_ptrs = codes_ptr + head * K_PADDED * W + (first * BN + col_N).to(tl.int64)[None, :] * W + w[:, None]
    h_ptrs = heights + head * K_PADDED + first * BN + col_N
    if BW == W:
        x = tl.load(x_ptrs)
    best = tl.full((BM, BN // 2), NOTHING, tl.float32)
    second = tl.full((BM, BN // 2), NOTHING, tl.float32)
    for it in range(0, number):
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
        score = acc * scale_M[:, None] - tl.load(h_ptrs)[None, :]
        left, right = tl.split(tl.reshape(score, (BM, BN // 2, 2)))
        left, right = packed(left, 2 * it, BITS), packed(right, 2 * it + 1, BITS)
        high, low = tl.maximum(left, right), tl.minimum(left, right)
        second = tl.maximum(second, tl.maximum(low, tl.minimum(best, high)))
        best = tl.maximum(best, high)
        e_ptrs += BN * W
        h_ptrs += BN

    # The best of every slot, one after the other. A slot that gave its second keeps it: it bounds the third.
    slack_M, _ = slack_of(row_stats, code_stats, unit_ptr, head, row_M, N_PADDED, blocks, D, W, BITS, BLOCKS)
    top_M = tl.max(best, 1)
    least_M = top_M - slack_M
    out = head * N_PADDED + row_M
    for place in tl.static_range(KEPT):
        here = (split * KEPT + place) * HEADS * N_PADDED + out
        if tl.max((top_M >= least_M).to(tl.int32), 0) > 0:
            at_M = tl.min(tl.where(best == top_M[:, None], slot[None, :], BN), 1)
            low_M = top_M.to(tl.int32, bitcast=True) & (2**BITS - 1)
            tl.store(scores_out + here, top_M)
            tl.store(codes_out + here, (first + (low_M >> 1)) * BN + 2 * at_M + (low_M & 1))
            best = tl.where(slot[None, :] == at_M[:, None], second, best)
            top_M = tl.max(best, 1)
        else:
            tl.store(scores_out + here, tl.full((BM,), NOTHING, tl.float32))
    tl.store(rest_out + split * HEADS * N_PADDED + out, top_M)
