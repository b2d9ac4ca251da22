"""How gradients cross the rounding.

Each estimator takes the encoder's vectors ``x`` and their codes ``q``, both (..., D) of one floating dtype, and returns
the quantized vectors (..., D). The deterministic ones return ``q`` to the bit and differ in the gradient alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.kernels import ops
from vqkit.kernels.reference import turned_back as turned_back_reference
from vqkit.kernels.reference.unit import unit
from vqkit.shapes import check_float, check_number


def _check(x: Tensor, q: Tensor) -> None:
    check_float("x", x)
    check_float("q", q)
    if x.shape != q.shape:
        raise bad_value("q", f"shape {tuple(x.shape)}, that of x", f"shape {tuple(q.shape)}")


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, q: Tensor) -> Tensor:
        del ctx, x
        return q.detach()  # not a view to autograd, so a caller may write into it

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        del ctx
        return grad, None


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, q: Tensor) -> Tensor:
        ctx.save_for_backward(x, q)
        return q.clone()  # a caller may write into what it is handed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        g, x, q = (t.reshape(-1, t.shape[-1]) for t in (grad, *ctx.saved_tensors))
        # The map is constant by definition, so its own derivative in x and q is none of the gradient's gradient.
        turn = turned_back_reference if torch.is_grad_enabled() else ops.turned_back
        return turn(g, x.detach(), q.detach()).reshape(grad.shape), None


def straight_through(x: Tensor, q: Tensor) -> Tensor:
    """Value ``q``, in its memory; the gradient goes to ``x`` unchanged (Bengio et al. 2013, arXiv:1308.3432; VQ-VAE).

    >>> import torch
    >>> x = torch.tensor([0.3, 0.8], requires_grad=True)
    >>> y = straight_through(x, torch.tensor([0.0, 1.0]))
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([0.0, 1.0], [1.0, 1.0])
    """
    _check(x, q)
    return _StraightThrough.apply(x, q.detach())  # pyright: ignore[reportReturnType]


def rotation_trick(x: Tensor, q: Tensor) -> Tensor:
    """Value ``q``; the gradient is turned and scaled as the map from ``x`` to ``q`` (Fifty et al. 2024,
    arXiv:2410.06424).

    With x̂, q̂ the unit vectors and r = (x̂ + q̂)/|x̂ + q̂|, the constant map is (|q|/|x|)(I − 2rrᵀ + 2q̂x̂ᵀ). Where
    ``x`` or ``q`` is zero there is no angle, and the gradient goes straight through; so it does where |q|/|x| is no
    number of the dtype.

    >>> import torch
    >>> x = torch.tensor([1.0, 0.0], requires_grad=True)
    >>> y = rotation_trick(x, torch.tensor([0.0, 2.0]))
    >>> y[1].backward()
    >>> y.tolist(), x.grad.round(decimals=3).tolist()
    ([0.0, 2.0], [2.0, 0.0])
    """
    _check(x, q)
    if x.dtype in (torch.float16, torch.bfloat16):  # whose squares overflow, or round away the turn
        return rotation_trick(x.float(), q.float()).to(x.dtype)
    return _Rotation.apply(x, q.detach())  # pyright: ignore[reportReturnType]


def diveq(x: Tensor, q: Tensor, variance: float = 5e-3) -> Tensor:
    """Move from ``x`` by the distance to ``q``, in a noisy direction towards it (DiVeQ, arXiv:2509.26469).

    Value x + |q − x| · d with the constant unit vector d of (q − x) + σε, ε ~ N(0, I), σ² = ``variance``. The gradient
    reaches ``x`` and ``q`` through the distance. The value is not a code: for training alone.

    >>> import torch
    >>> diveq(torch.zeros(2), torch.tensor([3.0, 4.0]), variance=0.0)
    tensor([3., 4.])
    """
    _check(x, q)
    check_number("variance", variance, 0)
    offset = q - x
    with torch.no_grad():
        direction = unit(offset + variance**0.5 * torch.randn_like(offset))
    return x + _safe_norm(offset) * direction


def noise_substitution(x: Tensor, q: Tensor) -> Tensor:
    """Replace the error by noise of its length: x + |q − x| · v/|v|, v ~ N(0, I) (NSVQ, Vali and Bäckström 2022).

    The gradient reaches ``x`` and ``q``. The value is not a code: for training alone.

    >>> import torch
    >>> x, q = torch.zeros(5, 3), torch.ones(5, 3)
    >>> noise_substitution(x, q).norm(dim=-1).allclose(q.norm(dim=-1))
    True
    """
    _check(x, q)
    with torch.no_grad():
        direction = torch.nn.functional.normalize(torch.randn_like(x), dim=-1)
    return x + _safe_norm(q - x) * direction


def synchronous(y: Tensor, q: Tensor, nu: float) -> Tensor:
    """Value ``y``; adds ν times its gradient to ``q``, so the codebook moves with the decoder (Huh et al. 2023,
    arXiv:2305.08842).

    >>> import torch
    >>> q = torch.zeros(2, requires_grad=True)
    >>> synchronous(torch.ones(2), q, nu=0.5).sum().backward()
    >>> q.grad.tolist()
    [0.5, 0.5]
    """
    _check(y, q)
    check_number("nu", nu, 0, 1)
    return y + nu * (q - q.detach())


def _safe_norm(offset: Tensor) -> Tensor:
    """|offset| along the last axis, with gradient zero where the offset is zero; no square leaves the dtype's range."""
    peak = offset.detach().abs().amax(-1, keepdim=True)
    moved = peak > 0
    peak = torch.where(moved, peak, 1)
    squared = (offset / peak).square().sum(-1, keepdim=True)
    return torch.where(moved, peak * torch.where(moved, squared, 1).sqrt(), 0)
