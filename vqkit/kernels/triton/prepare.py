"""Rows and codes as the screen takes them: centred, scaled by powers of two, rounded, with the rounding measured.

One launch serves both. Every program takes the centre c (the mean of a sample of codes, a float32 vector) and the unit
U (a power of two near the sample's distance from c) from the codebook itself, so no program waits for another. Any
centre and any unit give right bounds; good ones give tight ones.
"""

import triton
import triton.language as tl

from vqkit.kernels.triton.pairs import exponent_of, power_of_two, row_sums

HALF, SPLIT, IEEE = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
SAMPLE = tl.constexpr(32)
SAMPLE_LEVELS = tl.constexpr(5)
MAX_EXPONENT = tl.constexpr(60)  # of a row's norm in units U: beyond, float32 scores might overflow
PADDING = tl.constexpr(3e38)  # the height that keeps a code which is not there from being the best


@triton.jit
def peak_of(pointers, mask_P, D: tl.constexpr, P: tl.constexpr, CHUNK: tl.constexpr):
    """Largest magnitude (P,) float64 of vectors; ``pointers`` (P, 1) to their first entries. NaN where one is NaN."""
    peak = tl.zeros((P, CHUNK), tl.float64)
    sick = tl.zeros((P, CHUNK), tl.int32)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        value = tl.load(pointers + d[None, :], mask_P[:, None] & (d < D)[None, :], 0.0).to(tl.float64)
        sick = sick | (value != value).to(tl.int32)
        peak = tl.maximum(peak, tl.abs(value))
    return tl.where(tl.max(sick, 1) > 0, float("nan"), tl.max(peak, 1))


@triton.jit
def norm_of(
    pointers, mask_P, peak_P, D: tl.constexpr, P: tl.constexpr, CHUNK: tl.constexpr, LEVELS: tl.constexpr
):
    """Norms (P,) float64 of vectors divided by their peaks."""
    squares = tl.zeros((P, CHUNK), tl.float64)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        value = tl.load(pointers + d[None, :], mask_P[:, None] & (d < D)[None, :], 0.0).to(tl.float64)
        value = value / peak_P[:, None]
        squares = tl.fma(value, value, squares)
    return tl.sqrt(row_sums(squares, P, CHUNK, LEVELS))


@triton.jit
def centre_of(
    pointers, first, peak_S, norm_S, D: tl.constexpr, CHUNK: tl.constexpr, COSINE: tl.constexpr
):
    """The centre (CHUNK,) of coordinates ``first`` onwards, float64 that is a float32; and the sample there."""
    d = first + tl.arange(0, CHUNK)
    value = tl.load(pointers + d[None, :], (d < D)[None, :], 0.0).to(tl.float64)
    if COSINE:
        value = value / peak_S[:, None] / norm_S[:, None]
    centre = row_sums(tl.trans(value), CHUNK, SAMPLE, SAMPLE_LEVELS) / SAMPLE
    return centre.to(tl.float32).to(tl.float64), value


@triton.jit
def prepare(
    x_ptr,
    codes_ptr,
    rows_out,  # (H, N', W) rounded rows, and (H, K', W) rounded codes
    codes_out,
    row_stats,  # (H, 4, N') float32: scale, |x'|, rounding error, norm of the low parts
    code_stats,  # (H, 4, blocks) float32: largest |e'|, rounding error, low part, height
    heights,  # (H, K') float32
    row_unit,  # (H, N', 2) and (H, K', 2) float64: peak and norm, for cosine
    code_unit,
    centre_out,  # (H, D) float32
    unit_out,  # (H,) float64
    open_count,  # (H,) int32, set to zero
    N,
    K,
    N_PADDED,
    K_PADDED,
    D: tl.constexpr,
    W: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
    P: tl.constexpr,
    SCREEN: tl.constexpr,
    COSINE: tl.constexpr,
):
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    code_blocks = K_PADDED // P
    of_codes = block < code_blocks
    index_P = tl.where(of_codes, block, block - code_blocks).to(tl.int64) * P + tl.arange(0, P)
    mask_P = index_P < tl.where(of_codes, K, N)
    codes_ptr += head * K * D
    x_ptr += head * N * D

    # The sample: its units, its centre's norm and how far it lies from it.
    sample = tl.arange(0, SAMPLE).to(tl.int64) * K // SAMPLE
    sample_ptr = codes_ptr + sample[:, None] * D
    always = sample >= 0
    peak_S = peak_of(sample_ptr, always, D, SAMPLE, CHUNK)
    peak_S = tl.where(peak_S > 0, peak_S, 1.0)
    norm_S = norm_of(sample_ptr, always, peak_S, D, SAMPLE, CHUNK, LEVELS)
    norm_S = tl.where(norm_S > 0, norm_S, 1.0)
    spread = tl.zeros((SAMPLE, CHUNK), tl.float64)
    for start in range(0, D, CHUNK):
        centre, value = centre_of(sample_ptr, start, peak_S, norm_S, D, CHUNK, COSINE)
        inside = (start + tl.arange(0, CHUNK) < D)[None, :]
        off = tl.where(inside, value - centre[None, :], 0.0)
        spread = tl.fma(off, off, spread)
        if block == 0:
            d = start + tl.arange(0, CHUNK)
            tl.store(centre_out + head * D + d, centre.to(tl.float32), d < D)
    exponent = exponent_of(tl.sqrt(tl.max(row_sums(spread, SAMPLE, CHUNK, LEVELS), 0)))
    exponent = tl.where((exponent > -1000) & (exponent < 1000), exponent, 0)
    inverse_unit = power_of_two(-exponent)
    if block == 0:
        tl.store(unit_out + head, power_of_two(exponent))
        tl.store(open_count + head, 0)

    # The block's own vectors: codes or rows, on one path, so that both see the same centre.
    if of_codes:
        peak = peak_of(codes_ptr + index_P[:, None] * D, mask_P, D, P, CHUNK)
    else:
        peak = peak_of(x_ptr + index_P[:, None] * D, mask_P, D, P, CHUNK)
    finite = peak < float("inf")
    divisor = tl.where((peak > 0) & finite, peak, 1.0)
    unit_norm = tl.zeros((P,), tl.float64)
    if COSINE:
        if of_codes:
            unit_norm = norm_of(codes_ptr + index_P[:, None] * D, mask_P, divisor, D, P, CHUNK, LEVELS)
        else:
            unit_norm = norm_of(x_ptr + index_P[:, None] * D, mask_P, divisor, D, P, CHUNK, LEVELS)
        unit_out_ptr = tl.where(of_codes, code_unit + head * K_PADDED * 2, row_unit + head * N_PADDED * 2)
        tl.store(unit_out_ptr + index_P * 2, divisor)
        tl.store(unit_out_ptr + index_P * 2 + 1, unit_norm)
    unit_divisor = tl.where(unit_norm > 0, unit_norm, 1.0)

    squares = tl.zeros((P, CHUNK), tl.float64)
    along = tl.zeros((P, CHUNK), tl.float64)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside = (mask_P & finite)[:, None] & (d < D)[None, :]
        if of_codes:
            value = tl.load(codes_ptr + index_P[:, None] * D + d[None, :], inside, 0.0).to(tl.float64)
        else:
            value = tl.load(x_ptr + index_P[:, None] * D + d[None, :], inside, 0.0).to(tl.float64)
        centre, _ = centre_of(sample_ptr, start, peak_S, norm_S, D, CHUNK, COSINE)
        if COSINE:
            value = value / divisor[:, None] / unit_divisor[:, None]
            along = tl.fma(value, tl.where(inside, centre[None, :], 0.0), along)
        value = tl.where(inside, (value - centre[None, :]) * inverse_unit, 0.0)
        squares = tl.fma(value, value, squares)
    norm = tl.sqrt(row_sums(squares, P, CHUNK, LEVELS))
    # A row is brought near norm one; codes are near one already, in units U.
    row_exponent = exponent_of(norm)
    row_exponent = tl.where(row_exponent > -MAX_EXPONENT, row_exponent, -MAX_EXPONENT)
    row_exponent = tl.where((row_exponent < MAX_EXPONENT) & (block >= code_blocks), row_exponent, 0)
    shrink = power_of_two(-row_exponent)

    errors = tl.zeros((P, CHUNK), tl.float64)
    lows = tl.zeros((P, CHUNK), tl.float64)
    out = tl.where(of_codes, codes_out + head * K_PADDED * W, rows_out + head * N_PADDED * W)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside = (mask_P & finite)[:, None] & (d < D)[None, :]
        if of_codes:
            value = tl.load(codes_ptr + index_P[:, None] * D + d[None, :], inside, 0.0).to(tl.float64)
        else:
            value = tl.load(x_ptr + index_P[:, None] * D + d[None, :], inside, 0.0).to(tl.float64)
        centre, _ = centre_of(sample_ptr, start, peak_S, norm_S, D, CHUNK, COSINE)
        if COSINE:
            value = value / divisor[:, None] / unit_divisor[:, None]
        value = tl.where(inside, (value - centre[None, :]) * inverse_unit * shrink[:, None], 0.0)
        place = out + index_P[:, None] * W + d[None, :]
        everywhere = (index_P[:, None] >= 0) & (d < D)[None, :]
        if SCREEN == IEEE:
            high = value.to(tl.float32)
            left = value - high.to(tl.float64)
            tl.store(place, high, everywhere)
        else:
            high = value.to(tl.float32).to(tl.float16)
            left = value - high.to(tl.float64)
            tl.store(place, high, everywhere)
        if SCREEN == SPLIT:
            low = left.to(tl.float32).to(tl.float16)
            left -= low.to(tl.float64)
            lows = tl.fma(low.to(tl.float64), low.to(tl.float64), lows)
            # Rows (high, low, high) meet codes (high, high, low).
            tl.store(place + D, tl.where(of_codes, high, low), everywhere)
            tl.store(place + 2 * D, tl.where(of_codes, low, high), everywhere)
        errors = tl.fma(left, left, errors)
    used: tl.constexpr = 3 * D if SCREEN == SPLIT else D
    if used < W:
        for start in range(used, W, CHUNK):
            w = start + tl.arange(0, CHUNK)
            tl.store(out + index_P[:, None] * W + w[None, :], tl.zeros((P, CHUNK), tl.float32), (w < W)[None, :])

    grow = power_of_two(row_exponent)
    error = tl.sqrt(row_sums(errors, P, CHUNK, LEVELS)) * grow
    low = tl.sqrt(row_sums(lows, P, CHUNK, LEVELS)) * grow
    # What float32 cannot hold, or a screen cannot scale, is measured in float64: its norm is said to be infinite.
    sane = finite & (norm < 1.152921504606847e18)  # 2^60
    if of_codes:
        if COSINE:
            height = -row_sums(along, P, CHUNK, LEVELS) * inverse_unit * inverse_unit
        else:
            height = norm * norm / 2
        said = tl.where(mask_P & (sane == 0), float("inf"), norm)
        tl.store(heights + head * K_PADDED + index_P, tl.where(mask_P, height, PADDING).to(tl.float32))
        stats = code_stats + head * 4 * code_blocks + block
        tl.store(stats, tl.max(said, 0).to(tl.float32))
        tl.store(stats + code_blocks, tl.max(tl.where(error == error, error, float("inf")), 0).to(tl.float32))
        tl.store(stats + 2 * code_blocks, tl.max(low, 0).to(tl.float32))
        tl.store(stats + 3 * code_blocks, tl.max(tl.where(mask_P, tl.abs(height), 0.0), 0).to(tl.float32))
    else:
        stats = row_stats + head * 4 * N_PADDED + index_P
        said = tl.where(sane, norm, float("inf"))
        said = tl.where(finite, said, float("nan"))
        if COSINE:
            said = tl.where(finite & (peak == 0), -1.0, said)
        tl.store(stats, grow.to(tl.float32))
        tl.store(stats + N_PADDED, said.to(tl.float32))
        tl.store(stats + 2 * N_PADDED, error.to(tl.float32))
        tl.store(stats + 3 * N_PADDED, low.to(tl.float32))
