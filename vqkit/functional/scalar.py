"""Rounding of single coordinates to evenly spaced levels (FSQ, Mentzer et al. 2023, arXiv:2309.15505).

A coordinate's *position* on its grid counts in steps: level l of L stands at position l, and what lies between levels
has a fraction. ``level_positions`` squashes numbers to positions, ``nearest_levels`` rounds those, ``level_values``
gives the number in [−1, 1] that stands for a position. Level counts are (D,) int64, one per coordinate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vqkit.errors import bad_value
from vqkit.functional.packing import check_level_counts, place_values
from vqkit.kernels import ops
from vqkit.shapes import check_float, check_indices, check_number, check_shape, check_tensor

MAX_LEVELS = 2**20  # of one coordinate: beyond, float32 has too few digits to tell levels apart while rounding
MARGIN = 1e-3  # by how much tanh reaches beyond the outer levels, relative, so that they are drawn at all


def check_grid(name: str, levels: object, *, symmetric: bool = True) -> tuple[int, ...]:
    """Return ``levels`` as a tuple if each coordinate can be rounded to as many; two need a symmetric grid."""
    counts = check_level_counts(name, levels, 2, MAX_LEVELS)
    if not symmetric and 2 in counts:
        # Zero is one of the levels of a grid that is not symmetric: of two, the other one would never be drawn.
        raise bad_value(name, "ints >= 3, or preserve_symmetry=True for 2", counts)
    return counts


def _check(name: str, values: Tensor, levels: Tensor) -> None:
    check_shape("levels", check_indices("levels", levels), ("D",))
    check_shape(name, values, ("...", levels.shape[0]))


def level_positions(x: Tensor, levels: Tensor, *, symmetric: bool = False, clamp: bool = False) -> Tensor:
    """Squash numbers to positions: tanh(x + s)·r + (L−1)/2, or with ``clamp`` x cut off at ±1 in place of tanh.

    Without ``symmetric`` (arXiv:2309.15505) zero falls on level ⌊L/2⌋, which for even L takes a shift s,
    and r reaches beyond the outer levels by a margin (of a quarter step at most). With ``symmetric``
    (arXiv:2411.19842) s = 0 and r = (L−1)/2, so −x mirrors x.

    Args:
        x: floating point, (..., D). levels: (D,) int64, each >= 2, and >= 3 without ``symmetric``.

    Returns:
        positions, (..., D), in the dtype of ``x``; within a quarter step of [0, L−1].

    Example:
        >>> import torch
        >>> level_positions(torch.tensor([[-9.0, -9.0], [0, 0], [9, 9]]), torch.tensor([8, 5])).round().long().tolist()
        [[0, 0], [4, 2], [7, 4]]
        >>> level_positions(torch.zeros(2), torch.tensor([8, 5]), symmetric=True).tolist()
        [3.5, 2.0]
    """
    _check("x", check_float("x", x), levels)
    offset_D, reach_D, half_D = _squashing(levels, x.dtype, symmetric)
    squashed = (x + offset_D).clamp(-1, 1) if clamp else (x + offset_D.atanh()).tanh()
    return squashed * reach_D + half_D


def _squashing(levels_D: Tensor, dtype: torch.dtype, symmetric: bool) -> tuple[Tensor, Tensor, Tensor]:
    """tanh of the shift s, r and (L−1)/2, of each coordinate."""
    half_D = (levels_D - 1).to(dtype) / 2
    if symmetric:
        return torch.zeros_like(half_D), half_D.clone(), half_D  # compile wants each tensor passed once
    reach_D = half_D + (half_D * MARGIN).clamp(max=0.25)
    return torch.where(levels_D % 2 == 0, 0.5, 0.0).to(dtype) / reach_D, reach_D, half_D


def _middle(levels_D: Tensor, dtype: torch.dtype, symmetric: bool) -> Tensor:
    """The position of the value zero, and steps a unit."""
    return (levels_D - 1).to(dtype) / 2 if symmetric else (levels_D // 2).to(dtype)


def nearest_levels(positions: Tensor, levels: Tensor) -> Tensor:
    """Positions (..., D) to the numbers of the nearest levels, int64 in [0, L); halfway the upper one.

    >>> import torch
    >>> nearest_levels(torch.tensor([-0.2, 1.5, 7.3]), torch.tensor([8, 8, 8])).tolist()
    [0, 2, 7]
    """
    _check("positions", check_float("positions", positions), levels)
    rounded = (positions.detach() + 0.5).floor().clamp(min=0)
    return torch.minimum(rounded, (levels - 1).to(rounded.dtype)).long()


def level_values(positions: Tensor, levels: Tensor, *, symmetric: bool = False) -> Tensor:
    """Positions, or level numbers, to values: (p − ⌊L/2⌋)/⌊L/2⌋, or (p − (L−1)/2)/((L−1)/2) with ``symmetric``.

    Args:
        positions: (..., D), floating point, or integers (which give float32). levels: (D,) int64.

    Returns:
        values, (..., D); of levels, in [−1, 1].

    Example:
        >>> import torch
        >>> level_values(torch.tensor([[0, 0], [7, 4]]), torch.tensor([8, 5])).tolist()
        [[-1.0, -1.0], [0.75, 1.0]]
        >>> level_values(torch.tensor([[0, 0], [7, 4]]), torch.tensor([8, 5]), symmetric=True).tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
    """
    _check("positions", check_tensor("positions", positions), levels)
    positions = positions if positions.is_floating_point() else positions.float()
    middle_D = _middle(levels, positions.dtype, symmetric)
    return (positions - middle_D) / middle_D


class LevelGrid(NamedTuple):
    """What snapping to levels needs to know of each coordinate, (D,) each. A number x is squashed to
    t = tanh(x + shift), which is position t·reach + half, a level in [0, top], whose value is (level − middle)/middle
    and which counts ``basis`` (int64) in the index; ``slope`` is that of the value by t.
    """

    shift: Tensor
    reach: Tensor
    half: Tensor
    top: Tensor
    middle: Tensor
    basis: Tensor
    slope: Tensor


def level_grid(levels_D: Tensor, dtype: torch.dtype, symmetric: bool) -> LevelGrid:
    """The grid of so many levels, for numbers of ``dtype``."""
    offset_D, reach_D, half_D = _squashing(levels_D, dtype, symmetric)
    middle_D, top_D = _middle(levels_D, dtype, symmetric), (levels_D - 1).to(dtype)
    return LevelGrid(offset_D.atanh(), reach_D, half_D, top_D, middle_D, place_values(levels_D), reach_D / middle_D)


class _Snap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, *grid: Tensor) -> tuple[Tensor, Tensor]:
        *numbers, slope_D = grid
        values, indices, squashed = ops.snap_levels(x_ND, *numbers)
        ctx.save_for_backward(squashed, slope_D)
        ctx.mark_non_differentiable(indices)
        return values, indices

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ops.unsquash(grad, *ctx.saved_tensors), *[None] * len(LevelGrid._fields)


def snap_to_grid(x: Tensor, grid: LevelGrid) -> tuple[Tensor, Tensor]:
    """``snap_to_levels`` of coordinates (..., D) on a grid at hand."""
    values, indices = _Snap.apply(x.reshape(-1, x.shape[-1]), *grid)  # pyright: ignore[reportGeneralTypeIssues]
    return values.reshape(x.shape), indices.reshape(x.shape[:-1])


def snap_to_levels(x: Tensor, levels: Tensor, *, symmetric: bool = False) -> tuple[Tensor, Tensor]:
    """Squash numbers by tanh, round them to levels, and pack these: ``level_positions``, ``nearest_levels``,
    ``level_values`` and ``pack_levels`` in one pass. The gradient passes the rounding straight through.

    Args:
        x: floating point, (..., D). levels: (D,) int64, their product at most 2^62.

    Returns:
        values (..., D) in the dtype of ``x``, with the gradient of the squashing, and indices (...) int64.

    Example:
        >>> import torch
        >>> values, indices = snap_to_levels(torch.tensor([[-9.0, -9.0], [0, 0], [9, 9]]), torch.tensor([8, 5]))
        >>> values.tolist(), indices.tolist()
        ([[-1.0, -1.0], [0.0, 0.0], [0.75, 1.0]], [0, 20, 39])
    """
    _check("x", check_float("x", x), levels)
    return snap_to_grid(x, level_grid(levels, x.dtype, symmetric))


def dither(positions: Tensor, levels: Tensor, noise: float, skip: float = 0.0, samples: int | None = None) -> Tensor:
    """Positions to train with in place of rounded ones (Parker et al. 2024, arXiv:2411.19842).

    With probability ``noise`` a position gets uniform noise of one step, p + U(−½, ½); with probability ``skip`` it is
    left as it is; else it is rounded. All stay within [0, L−1].

    Args:
        positions: floating point, (N, ..., D). levels: (D,) int64. noise, skip: probabilities, at most 1 together.
        samples: draw the choice once for each of so many equal runs of rows, None: for each value by itself. The noise
            is each value's own.

    Returns:
        positions, (N, ..., D), without gradient.

    Raises:
        ArgumentError: probabilities above 1, or rows that ``samples`` does not divide.

    Example:
        >>> import torch
        >>> p = torch.tensor([[0.4, 3.4], [1.7, 6.9]])
        >>> dither(p, torch.tensor([8, 8]), noise=0.0).tolist()
        [[0.0, 3.0], [2.0, 7.0]]
        >>> (dither(p, torch.tensor([8, 8]), noise=1.0) - p).abs().max() <= 0.5
        tensor(True)
    """
    _check("positions", check_float("positions", positions), levels)
    check_number("noise", noise, 0, 1)
    check_number("skip", skip, 0, 1)
    if noise + skip > 1:
        raise bad_value("noise + skip", "at most 1", noise + skip)
    positions, N = positions.detach(), positions.shape[0]
    if samples is None:
        draw = torch.rand_like(positions)
    else:
        if samples and N % samples:
            raise bad_value("samples", f"a divisor of the {N} rows", samples)
        draw = torch.rand(samples, dtype=torch.float32, device=positions.device)
        draw = draw.repeat_interleave(N // max(samples, 1))
        draw = draw.reshape(-1, *[1] * (positions.ndim - 1))
    rounded = nearest_levels(positions, levels).to(positions.dtype)
    noisy = positions + torch.rand_like(positions) - 0.5
    chosen = torch.where(draw < noise, noisy, torch.where(draw < noise + skip, positions, rounded))
    return torch.minimum(chosen.clamp(min=0), (levels - 1).to(positions.dtype))
