"""Gumbel noise for every pair of a row and a code, a function of (seed, row, code): what forward drew backward draws
again, however the rows are cut into blocks.

A pair's bits are two keys of the row and one of the code, mixed by two rounds of multiply and shift in 32-bit integers:
a few vector instructions a pair, where a generator's exponential numbers cost many times the score.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit import distributed
from vqkit.functional.hashing import hashed_bits

# The multipliers of MurmurHash3's finaliser, as signed numbers.
_FIRST, _SECOND = 0x85EBCA6B - 2**32, 0xC2B2AE35 - 2**32
_STEP, _LEAST = 2.0**-31 * (1 - 2.0**-23), 2.0**-33  # the 2^31 values then lie inside (0, 1) in float32 too


def noise_seed(like: Tensor) -> Tensor:
    """A seed () int64 from the default generator, on the device of ``like``."""
    return torch.randint(2**32, (), device=like.device)


def noise_key(like: Tensor, rows: int, over_ranks: bool = False) -> Tensor:
    """A seed and the number of the first row, (2,) int64; ``over_ranks``: the first rank's seed, and this rank's rows
    numbered behind those of the ranks before.
    """
    key = torch.stack([noise_seed(like), torch.zeros((), dtype=torch.int64, device=like.device)])
    if not over_ranks or distributed.world_size() == 1:
        return key
    keys_R2, rows_R = distributed.gathered([key, torch.full_like(key[0], rows)])
    return torch.stack([keys_R2[0, 0], distributed.before(rows_R)])


class PairNoise:
    """Noise of rows numbered ``positions`` (N,) int64 against all ``codes``, for up to ``rows`` rows at a time, in
    buffers made once.
    """

    def __init__(self, seed: Tensor, positions_N: Tensor, codes: int, rows: int):
        self.first_N1, self.second_N1 = (_keys(seed, positions_N, stream)[:, None] for stream in (3, 4))
        self.code_1K = _keys(seed, torch.arange(codes, device=seed.device), 5)[None]
        self.bits_NK, self.more_NK = self.code_1K.new_empty(rows, codes), self.code_1K.new_empty(rows, codes)
        self.log_NK = torch.empty_like(self.bits_NK, dtype=torch.float32)
        self.least = torch.full((), -_LEAST, dtype=torch.float32, device=seed.device)

    def add_to_(self, scores_NK: Tensor, part: slice) -> Tensor:
        """Add Gumbel(0, 1) noise, −ln E with E exponential, to the scores (n, K) of a part of the rows; in place."""
        n = scores_NK.shape[0]
        bits_NK, more_NK, log_NK = self.bits_NK[:n], self.more_NK[:n], self.log_NK[:n]
        torch.bitwise_xor(self.first_N1[part], self.code_1K, out=bits_NK)
        # An arithmetic shift, so the last round leaves 31 bits and a sign of zero.
        bits_NK.mul_(_FIRST).bitwise_xor_(torch.bitwise_right_shift(bits_NK, 15, out=more_NK))
        bits_NK.add_(self.second_N1[part])
        bits_NK.mul_(_SECOND).bitwise_xor_(torch.bitwise_right_shift(bits_NK, 16, out=more_NK))
        # E = −ln(1 − v): small E, which win a draw, keep all their digits.
        log_NK.copy_(bits_NK)
        torch.add(self.least, log_NK, alpha=-_STEP, out=log_NK)
        return scores_NK.sub_(log_NK.log1p_().neg_().log_())


def _keys(seed: Tensor, positions: Tensor, stream: int) -> Tensor:
    """Hashed positions, int32."""
    return (hashed_bits(seed, positions, stream) - 2**31).to(torch.int32)


def pair_noise(seed: Tensor, rows: int, codes: int) -> Tensor:
    """All of it at once: (rows, codes) float32 Gumbel(0, 1).

    >>> import torch
    >>> noise = pair_noise(torch.tensor(0), 1000, 100)
    >>> round(noise.mean().item(), 1), round(noise.std().item(), 1)  # Euler's constant 0.577, π/√6 = 1.283
    (0.6, 1.3)
    """
    zero_NK = torch.zeros(rows, codes, dtype=torch.float32, device=seed.device)
    numbers_N = torch.arange(rows, device=seed.device)
    return PairNoise(seed, numbers_N, codes, rows).add_to_(zero_NK, slice(0, rows))
