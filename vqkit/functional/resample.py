"""Maps (B, C, *size) of one, two or three spatial axes to a coarser size and back to a finer one."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.shapes import check_choice, check_float, check_int

MODES = ("cubic", "linear")
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def area_down(x: Tensor, size: Sequence[int]) -> Tensor:
    """The mean over each cell of a coarser grid.

    Along an axis of n values cell i of m covers the values from ⌊i·n/m⌋ to ⌈(i+1)·n/m⌉ − 1, so cells overlap where m
    does not divide n (VAR, Tian et al. 2024, arXiv:2404.02905, algorithm 1).

    Args:
        x: (B, C, *n), floating point, one to three spatial axes. size: (*m), each at most the axis it replaces.

    Returns:
        (B, C, *m), in the dtype of ``x``; ``x`` itself where the size is its own.

    Raises:
        ArgumentError, ArgumentTypeError: shapes or dtypes that do not fit.

    Example:
        >>> import torch
        >>> area_down(torch.tensor([[[1.0, 3.0, 5.0, 7.0]]]), (2,)).tolist()
        [[[2.0, 6.0]]]
    """
    target = _check(x, size)
    if any(new > old for new, old in zip(target, x.shape[2:], strict=True)):
        raise bad_value("size", f"at most {tuple(x.shape[2:])}", target)
    if target == x.shape[2:]:
        return x
    return _area_of_volumes(x, target) if len(target) == 3 else F.interpolate(x, size=list(target), mode="area")


def _area_of_volumes(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Plane by plane and then along what is left: ONNX has no adaptive average in three axes."""
    B, C, *old = x.shape
    T, H, W = size
    planes = F.interpolate(x.reshape(B, C * old[0], *old[1:]), size=[H, W], mode="area")
    return F.interpolate(planes.reshape(B, C, old[0], H * W), size=[T, H * W], mode="area").reshape(B, C, T, H, W)


def upsample(x: Tensor, size: Sequence[int], mode: str = "cubic") -> Tensor:
    """A finer grid by interpolation between cell centres, ``"cubic"`` (a = −0.75) or ``"linear"``, axis by axis.

    Args:
        x: (B, C, *m), floating point, one to three spatial axes. size: (*n), each at least the axis it replaces.

    Returns:
        (B, C, *n), in the dtype of ``x``; ``x`` itself where the size is its own.

    Raises:
        ArgumentError, ArgumentTypeError: shapes, dtypes or a mode that do not fit.

    Example:
        >>> import torch
        >>> upsample(torch.tensor([[[0.0, 4.0]]]), (4,), "linear").tolist()
        [[[0.0, 1.0, 3.0, 4.0]]]
    """
    target = _check(x, size)
    check_choice("mode", mode, MODES)
    if any(new < old for new, old in zip(target, x.shape[2:], strict=True)):
        raise bad_value("size", f"at least {tuple(x.shape[2:])}", target)
    if target == x.shape[2:]:
        return x
    if mode == "linear":
        return F.interpolate(x, size=list(target), mode=_LINEAR[len(target)], align_corners=False)
    return _cubic(x, target)


def _cubic(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Cubic interpolation in any number of axes: it is separable, and torch has it for two."""
    B, C, *old = x.shape
    if len(size) == 2:
        return F.interpolate(x, size=list(size), mode="bicubic", align_corners=False)
    if len(size) == 1:
        return _cubic(x[:, :, None], (1, *size))[:, :, 0]
    T, H, W = size
    planes = _cubic(x.reshape(B, C * old[0], *old[1:]), (H, W))
    return _cubic(planes.reshape(B, C, old[0], H * W), (T, H * W)).reshape(B, C, T, H, W)


def _check(x: Tensor, size: Sequence[int]) -> tuple[int, ...]:
    if check_float("x", x).ndim not in (3, 4, 5):
        raise bad_value("x", "shape (B, C, *size) with one to three spatial axes", f"shape {tuple(x.shape)}")
    target = tuple(check_int("size", n) for n in size)
    if len(target) != x.ndim - 2:
        raise bad_value("size", f"{x.ndim - 2} numbers, one a spatial axis of x", target)
    return target
