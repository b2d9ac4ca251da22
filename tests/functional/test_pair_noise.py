from __future__ import annotations

import math

import torch

from vqkit.functional.pair_noise import PairNoise, noise_seed, pair_noise

N, K = 2048, 512


def uniforms(seed: int) -> torch.Tensor:
    return torch.exp(-torch.exp(-pair_noise(torch.tensor(seed), N, K).double()))


def test_it_is_distributed_as_a_gumbel_variable():
    for seed in (0, 1):
        counts = torch.histc(uniforms(seed), 256, 0, 1)
        chi = ((counts - N * K / 256).square() / (N * K / 256)).sum().item()
        assert abs(chi - 255) < 5 * math.sqrt(2 * 255)
        noise = pair_noise(torch.tensor(seed), N, K).double()
        assert torch.isfinite(noise).all()
        assert abs(noise.mean().item() - 0.5772) < 5 * 1.2825 / math.sqrt(N * K)


def test_rows_and_codes_are_independent():
    """As a random matrix has no direction of its own, so have the noise's rows, columns and squares of them none."""
    normal = torch.erfinv((2 * uniforms(0) - 1).clamp(-1 + 1e-12, 1 - 1e-12)) * math.sqrt(2)
    values = torch.linalg.svdvals(normal)
    assert values.max() / (math.sqrt(N) + math.sqrt(K)) < 1.03
    assert values.min() / (math.sqrt(N) - math.sqrt(K)) > 0.97
    squares = normal[::2, ::2] * normal[1::2, ::2] * normal[::2, 1::2] * normal[1::2, 1::2]
    assert abs(squares.mean().item()) < 5 / math.sqrt(N * K / 4)
    for rows, codes in ((0, 1), (1, 0), (1, 1), (0, 256), (256, 0)):
        product = normal[: N - rows, : K - codes] * normal[rows:, codes:]
        assert abs(product.mean().item()) < 5 / math.sqrt(product.numel())


def test_seeds_differ_and_parts_are_parts_of_the_whole():
    torch.manual_seed(0)
    seeds = [noise_seed(torch.zeros(1)) for _ in range(2)]
    first, second = (pair_noise(seed, 40, 30) for seed in seeds)
    assert (first == second).float().mean() < 0.01
    noise = PairNoise(seeds[0], torch.arange(40), 30, 16)
    parts = [noise.add_to_(torch.zeros(min(16, 40 - s), 30), slice(s, min(s + 16, 40))) for s in (0, 16, 32)]
    assert torch.equal(torch.cat(parts), first)
