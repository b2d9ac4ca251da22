"""Rows and codes as the screen takes them: centred, scaled by powers of two, rounded, with the rounding measured.

One launch serves both. Every program takes the centre c (the mean of a sample of codes, a float32 vector) and the unit
U (a power of two near the sample's reach from c) from the codebook itself, so no program waits for another; all write
the same bits to one place, and read them back. Any centre and any unit give right bounds; good ones give tight ones.

Arithmetic is float32: v = fl(fl(x − c)/U) is off by at most 2⁻²³|x − c|/U, what rounding v to float16 leaves is exact,
and norms of up to 10⁵ terms are off by less than 1 %. Where squares underflow a norm loses less than 2⁻⁶⁰, units U.
"""

# Triton's ranges and branches on constants are not what a type checker takes them for.
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

import triton
import triton.language as tl

from vqkit.kernels.triton.pairs import COSINE, DOT, EUCLIDEAN

HALF, SPLIT, IEEE = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
SAMPLE = tl.constexpr(16)
PADDING = tl.constexpr(3e38)  # the height that keeps a code which is not there from being the best
LOST = tl.constexpr(2.0**-60)
ARRIVALS = tl.constexpr(1024)


@triton.jit
def power_of_two(exponent):
    """2^exponent, float32, of an int32 in [−126, 127]."""
    return ((exponent + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def exponent_of(value):
    """⌊log₂ value⌋ of a positive float32, int32; −127 below 2⁻¹²⁶, 128 of inf and NaN."""
    return ((value.to(tl.int32, bitcast=True) >> 23) & 255) - 127


@triton.jit
def rounded(value, SCREEN: tl.constexpr):
    """A value as the tensor cores take it, the part for a second product, and what both leave out, exact."""
    if SCREEN == IEEE:
        high = value
        low = tl.zeros_like(value)
        left = tl.zeros_like(value)
    else:
        high = value.to(tl.float16)
        left = value - high.to(tl.float32)
        low = left.to(tl.float16)
        if SCREEN == SPLIT:
            left -= low.to(tl.float32)
    return high, low, left


@triton.jit
def take_centre(codes_ptr, centre_ptr, unit_ptr, K, D: tl.constexpr, CHUNK: tl.constexpr, METRIC: tl.constexpr):
    """Write the centre (D,) and the unit of a codebook; returns the unit's inverse."""
    sample = codes_ptr + (tl.arange(0, SAMPLE).to(tl.int64) * K // SAMPLE)[:, None] * D
    length = tl.full((SAMPLE,), 1.0, tl.float32)
    if METRIC == COSINE:
        squares = tl.zeros((SAMPLE, CHUNK), tl.float32)
        for start in range(0, D, CHUNK):
            d = start + tl.arange(0, CHUNK)
            value = tl.load(sample + d[None, :], (d < D)[None, :], 0.0)
            squares += value * value
        length = tl.sqrt(tl.sum(squares, 1))
        length = tl.where((length > 0) & (length < float("inf")), length, 1.0)
    reach = tl.zeros((SAMPLE, CHUNK), tl.float32)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        value = tl.load(sample + d[None, :], (d < D)[None, :], 0.0) / length[:, None]
        centre = tl.sum(value / SAMPLE, 0)
        centre = tl.where(tl.abs(centre) < float("inf"), centre, 0.0)
        tl.store(centre_ptr + d, centre, d < D)
        reach = tl.maximum(reach, tl.abs(value - centre[None, :]))
    exponent = exponent_of(tl.max(tl.max(reach, 1), 0))
    exponent = tl.where((exponent > -100) & (exponent < 100), exponent, 0)
    tl.store(unit_ptr, power_of_two(exponent))
    tl.debug_barrier()
    return power_of_two(-exponent)


@triton.jit
def prepare(
    x_ptr,
    codes_ptr,
    rows_out,  # (H, N', W) rounded rows, and (H, K', W) rounded codes
    codes_out,
    row_stats,  # (H, 4, N') float32: scale, |x'|, rounding error, norm of the low parts
    code_stats,  # (H, 4, blocks) float32: largest |e'|, rounding error, low part, height; for inner products last |e|
    heights,  # (H, K') float32
    centre_ptr,  # (H, D) float32
    unit_ptr,  # (H,) float32
    open_count,  # (H,) int32, and (H, ARRIVALS) int32, set to zero
    arrivals,
    N,
    K,
    row_tiles,
    n_blocks,  # N' and K' in blocks of 128
    k_blocks,
    D: tl.constexpr,
    W: tl.constexpr,
    CHUNK: tl.constexpr,
    P: tl.constexpr,
    SCREEN: tl.constexpr,
    METRIC: tl.constexpr,
):
    """Round a block of codes, or some blocks of rows, for the screen."""
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    n_padded, k_padded = n_blocks * 128, k_blocks * 128
    code_blocks = k_padded // P
    of_codes = block < code_blocks
    codes_ptr += head * K * D
    x_ptr += head * N * D
    centre_ptr += head * D
    inverse_unit = take_centre(codes_ptr, centre_ptr, unit_ptr + head, K, D, CHUNK, METRIC)
    if block == 0:
        tl.store(open_count + head, 0)
        tl.store(arrivals + head * ARRIVALS + tl.arange(0, ARRIVALS), tl.zeros((ARRIVALS,), tl.int32))
    first = tl.where(of_codes, block, (block - code_blocks) * row_tiles)
    tiles = tl.where(of_codes, 1, tl.minimum(row_tiles, n_padded // P - first))
    size = tl.where(of_codes, K, N)
    out = tl.where(of_codes, codes_out + head * k_padded * W, rows_out + head * n_padded * W)
    for tile in range(0, tiles):
        index_P = (first + tile).to(tl.int64) * P + tl.arange(0, P)
        mask_P = index_P < size
        length = tl.full((P,), 1.0, tl.float32)
        peak = tl.full((P,), 0.0 if METRIC == DOT else 1.0, tl.float32)
        if METRIC == COSINE:
            peaks = tl.zeros((P, CHUNK), tl.float32)
            for start in range(0, D, CHUNK):
                value = _load(x_ptr, codes_ptr, index_P, mask_P, start, of_codes, D, CHUNK)
                peaks = tl.maximum(peaks, tl.abs(value))
            peak = tl.max(peaks, 1)
            divisor = tl.where((peak > 0) & (peak < float("inf")), peak, 1.0)
            squares = tl.zeros((P, CHUNK), tl.float32)
            for start in range(0, D, CHUNK):
                value = _load(x_ptr, codes_ptr, index_P, mask_P, start, of_codes, D, CHUNK) / divisor[:, None]
                squares += value * value
            length = tl.sqrt(tl.sum(squares, 1))
            length = divisor * tl.where(length > 0, length, 1.0)

        squares = tl.zeros((P, CHUNK), tl.float32)
        odd = tl.zeros((P, CHUNK), tl.int32)
        for start in range(0, D, CHUNK):
            value = _load(x_ptr, codes_ptr, index_P, mask_P, start, of_codes, D, CHUNK)
            odd |= (tl.abs(value) < float("inf")).to(tl.int32) ^ 1
            if METRIC == DOT:
                peak = tl.maximum(peak, tl.max(tl.abs(value), 1))
            d = start + tl.arange(0, CHUNK)
            centre = _centre(centre_ptr, d, of_codes, D, METRIC)
            value = (value / length[:, None] - centre[None, :]) * inverse_unit
            squares += value * value
        finite = tl.max(odd, 1) == 0
        norm = tl.sqrt(tl.sum(squares, 1))
        # A row is brought near norm one; codes are near one already, in units U.
        exponent = tl.minimum(tl.maximum(exponent_of(norm), -60), 60)
        exponent = tl.where(block < code_blocks, 0, exponent)
        shrink = power_of_two(-exponent)

        errors = tl.zeros((P, CHUNK), tl.float32)
        lows = tl.zeros((P, CHUNK), tl.float32)
        height = tl.zeros((P, CHUNK), tl.float64)
        for start in range(0, D, CHUNK):
            d = start + tl.arange(0, CHUNK)
            value = _load(x_ptr, codes_ptr, index_P, mask_P, start, of_codes, D, CHUNK)
            centre = _centre(centre_ptr, d, of_codes, D, METRIC)
            value = value / length[:, None]
            kept = (mask_P & finite)[:, None] & (d < D)[None, :]
            shifted = tl.where(kept, (value - centre[None, :]) * inverse_unit, 0.0)
            if of_codes:
                wide = shifted.to(tl.float64)
                if METRIC == COSINE:
                    height -= tl.where(kept, value, 0.0).to(tl.float64) * centre[None, :].to(tl.float64)
                elif METRIC == DOT:
                    whole = tl.where(kept, value, 0.0).to(tl.float64) * inverse_unit
                    height = tl.fma(whole, whole, height)
                else:
                    height = tl.fma(wide, wide, height)
            high, low, left = rounded(shifted * shrink[:, None], SCREEN)
            place = out + index_P[:, None] * W + d[None, :]
            within = (index_P[:, None] >= 0) & (d < D)[None, :]
            tl.store(place, high, within)
            if SCREEN == SPLIT:
                # Rows (high, low, high) meet codes (high, high, low).
                tl.store(place + D, tl.where(of_codes, high, low), within)
                tl.store(place + 2 * D, tl.where(of_codes, low, high), within)
                lows += low.to(tl.float32) * low.to(tl.float32)
            errors += left * left
        for start in range(3 * D if SCREEN == SPLIT else D, W, CHUNK):
            w = start + tl.arange(0, CHUNK)
            tl.store(out + index_P[:, None] * W + w[None, :], tl.zeros((P, CHUNK), tl.float32), (w < W)[None, :])

        grow = power_of_two(exponent)
        error = 1.01 * tl.sqrt(tl.sum(errors, 1)) * grow + 2.0**-23 * norm + LOST
        if METRIC == COSINE:  # the length of a unit vector's entries is off by (D/2 + 4) roundings
            error += (D / 2 + 8) * 2.0**-23 * inverse_unit
        low_norm = 1.01 * tl.sqrt(tl.sum(lows, 1)) * grow + LOST
        said = 1.01 * norm + LOST
        # What float32 cannot hold is measured in float64: its norm is said to be infinite.
        said = tl.where(said < 1e18, said, float("inf"))
        if of_codes:
            total = tl.sum(height, 1)
            if METRIC == COSINE:
                total = total * inverse_unit * inverse_unit
            elif METRIC == DOT:
                total = 1.01 * tl.sqrt(total)
            else:
                total = total / 2
            total = total.to(tl.float32)
            standing = tl.zeros_like(total) if METRIC == DOT else total
            tl.store(heights + head * k_padded + index_P, tl.where(mask_P, standing, PADDING))
            block_stats = code_stats + head * 4 * code_blocks + block
            tl.store(block_stats, tl.max(tl.where(mask_P, said, 0.0), 0))
            error = tl.where(error < float("inf"), error, float("inf"))
            tl.store(block_stats + code_blocks, tl.max(tl.where(mask_P, error, 0.0), 0))
            tl.store(block_stats + 2 * code_blocks, tl.max(low_norm, 0))
            tl.store(block_stats + 3 * code_blocks, tl.max(tl.where(mask_P, tl.abs(total), 0.0), 0))
        else:
            state = tl.where(finite, said, float("nan"))
            if METRIC != EUCLIDEAN:
                state = tl.where(finite & (peak == 0), -1.0, state)
            stats = row_stats + head * 4 * n_padded + index_P
            tl.store(stats, grow)
            tl.store(stats + n_padded, state)
            tl.store(stats + 2 * n_padded, error)
            tl.store(stats + 3 * n_padded, low_norm)


@triton.jit
def _centre(centre_ptr, d, of_codes, D: tl.constexpr, METRIC: tl.constexpr):
    """What is subtracted from coordinates (CHUNK,): for inner products nothing from those of rows."""
    centre = tl.load(centre_ptr + d, d < D, 0.0)
    return tl.where(of_codes, centre, 0.0) if METRIC == DOT else centre


@triton.jit
def _load(x_ptr, codes_ptr, index_P, mask_P, start, of_codes, D: tl.constexpr, CHUNK: tl.constexpr):
    """Entries (P, CHUNK) float32 of codes or of rows: one path for both, so that both see the same arithmetic."""
    d = start + tl.arange(0, CHUNK)
    inside = mask_P[:, None] & (d < D)[None, :]
    place = index_P[:, None] * D + d[None, :]
    if of_codes:
        value = tl.load(codes_ptr + place, inside, 0.0).to(tl.float32)
    else:
        value = tl.load(x_ptr + place, inside, 0.0).to(tl.float32)
    return value
