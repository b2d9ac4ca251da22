"""Codes drawn at random instead of the nearest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.functional.affinity import PARTS, Affinity, ScoreBlocks, affinity
from vqkit.functional.lookup import take
from vqkit.functional.nearest import METRICS, nearest
from vqkit.functional.pair_noise import noise_key
from vqkit.functional.relaxed import mixtures, one_hot_straight_through
from vqkit.shapes import check_choice, check_float, check_number, check_shape


def _check(x: Tensor, codebook: Tensor, temperature: float, metric: str) -> None:
    check_shape("codebook", check_float("codebook", codebook), ("K", "D"))
    if codebook.shape[0] == 0:
        raise bad_value("codebook", "at least one code", f"shape {tuple(codebook.shape)}")
    check_shape("x", check_float("x", x), ("N", codebook.shape[1]))
    check_number("temperature", temperature, 0, open_low=True)
    check_choice("metric", metric, METRICS)


@torch.no_grad()
def sample_codes(
    x: Tensor, codebook: Tensor, temperature: float = 1.0, *, metric: str = "euclidean", over_ranks: bool = False
) -> Tensor:
    """Draw a code per row with probability ∝ exp(−|x − e|²/τ) (RQ-VAE, Lee et al. 2022, arXiv:2203.01941).

    Args:
        x: rows (N, D). codebook: codes (K, D). temperature: τ > 0. metric: for ``"cosine"`` ∝ exp(cos/τ),
            for ``"dot"`` ∝ exp(x·e/τ). over_ranks: as one process would draw for the rows of all ranks, every one of
            which must call this.

    Returns:
        indices (N,) int64; blockwise, never N×K at once.

    Example:
        >>> import torch
        >>> sample_codes(torch.zeros(3, 2), torch.tensor([[0.0, 0.0], [9.0, 9.0]]), temperature=0.1)
        tensor([0, 0, 0])
    """
    _check(x, codebook, temperature, metric)
    return _draws(noise_key(x, x.shape[0], over_ranks), *affinity(x, codebook, metric, temperature))


@torch.library.custom_op("vqkit::softmax_draws", mutates_args=(), schema=f"(Tensor key, {PARTS}) -> Tensor")
def _draws(key: Tensor, *parts: Any) -> Tensor:
    """The code of largest score and noise: (N,) int64."""
    with torch.autocast(key.device.type, enabled=False):
        blocks = ScoreBlocks(Affinity(*parts))
        score_NK, noise = blocks.buffer(), blocks.noise(key)
        index_N = blocks.level().long()
        for part in blocks.slices():
            index_N[part] = noise.add_to_(blocks.relative(part, score_NK)[0], part).max(1).indices
    return index_N


@_draws.register_fake
def _(key: Tensor, rows_ND: Tensor, *_: Any) -> Tensor:
    return key.new_empty(rows_ND.shape[0])


def gumbel_straight_through(
    x: Tensor,
    codebook: Tensor,
    temperature: float = 1.0,
    *,
    metric: str = "euclidean",
    noise: bool = True,
    over_ranks: bool = False,
) -> tuple[Tensor, Tensor]:
    """Hard codes forward, softmax gradients backward (Jang et al. 2017, arXiv:1611.01144).

    Forward draws a code as ``sample_codes`` does (the nearest one with ``noise=False``) and returns it to the bit; the
    gradient is that of Σ softmax(−|x − e|²/τ + g) e, and reaches both ``x`` and ``codebook``. Scores are
    computed in blocks and again in backward, so N×K is never held.

    Args:
        x: rows (N, D). codebook: codes (K, D). temperature: τ > 0. metric, noise, over_ranks: as above.

    Returns:
        quantized (N, D) in the codebook's dtype, and indices (N,) int64.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.2]], requires_grad=True)
        >>> y, index = gumbel_straight_through(x, torch.tensor([[0.0], [1.0]]), noise=False)
        >>> y.sum().backward()
        >>> index.tolist(), y.tolist(), bool(x.grad > 0)
        ([0], [[0.0]], True)
    """
    _check(x, codebook, temperature, metric)

    soft, drawn = mixtures(affinity(x, codebook, metric, temperature), codebook, noise=noise, over_ranks=over_ranks)
    indices = drawn if noise else nearest(x, codebook, metric=metric)
    hard = take(codebook.detach()[None], indices[None])[0]
    return hard + (soft - soft.detach()), indices


def index_backpropagation(
    x: Tensor, codebook: Tensor, temperature: float = 1.0, *, metric: str = "dot"
) -> tuple[Tensor, Tensor]:
    """The best code forward; backward (onehot + p − sg(p))·E with p = softmax(x·e/τ) (IBQ, Shi et al. 2024,
    arXiv:2412.02692).

    The code that was taken gets the output's gradient, and through p so do ``x`` and all codes. Scores are computed in
    blocks and again in backward, so N×K is never held.

    Args:
        x: rows (N, D). codebook: codes (K, D). temperature: τ > 0. metric: what a score is.

    Returns:
        quantized (N, D) in the codebook's dtype, and indices (N,) int64.

    Example:
        >>> import torch
        >>> codes = torch.tensor([[0.0], [1.0], [2.0]], requires_grad=True)
        >>> y, index = index_backpropagation(torch.tensor([[0.2]]), codes)
        >>> y.sum().backward()
        >>> index.tolist(), y.tolist(), [bool(g) for g in codes.grad]
        ([2], [[2.0]], [True, True, True])
    """
    _check(x, codebook, temperature, metric)

    soft, _ = mixtures(affinity(x, codebook, metric), codebook.detach(), temperature, noise=False)
    indices = nearest(x, codebook, metric=metric)
    return one_hot_straight_through(codebook, indices, soft.to(codebook.dtype)), indices
