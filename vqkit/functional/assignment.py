"""The mean squared error of rows and the codes they drew, with its gradient to both, in one pass each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.functional.counted import all_known, zero_unless
from vqkit.functional.lookup import take
from vqkit.kernels import ops


class _AssignmentError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_HND: Tensor, codes_HKD: Tensor, indices_HN: Tensor, total: Tensor, to_rows: bool, to_codes: bool
    ) -> Tensor:
        # The codes are kept, not the N×D looked up: a caller may write into what it was handed.
        values = _values(x_HND, indices_HN)
        ctx.save_for_backward(x_HND, codes_HKD, indices_HN, values)
        ctx.to_rows, ctx.to_codes = to_rows, to_codes
        return (total / values).float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x_HND, codes_HKD, indices_HN, values = ctx.saved_tensors
        by = 2 * grad / values
        if torch.is_grad_enabled():  # somebody differentiates the gradient
            off = torch.where((indices_HN >= 0)[..., None], x_HND - take(codes_HKD, indices_HN), 0) * by
            return off if ctx.to_rows else None, _to_codes(off, codes_HKD, indices_HN, ctx.to_codes), *(None,) * 4
        x_grad = ops.pull(x_HND, codes_HKD, indices_HN, by) if ctx.to_rows and ctx.needs_input_grad[0] else None
        codes_grad = None
        if ctx.to_codes and ctx.needs_input_grad[1]:
            counts_HK, sums_HKD = ops.code_sums(x_HND, indices_HN, codes_HKD.shape[1])
            pulled = counts_HK[..., None] * codes_HKD.double() - sums_HKD
            codes_grad = (pulled * by).to(codes_HKD.dtype)
        return x_grad, codes_grad, None, None, None, None


def _values(x_HND: Tensor, indices_HN: Tensor) -> Tensor:
    """How many numbers the mean runs over: () int64, at least 1."""
    return ((indices_HN >= 0).sum() * x_HND.shape[-1]).clamp(min=1)


def _to_codes(off_HND: Tensor, codes_HKD: Tensor, indices_HN: Tensor, wanted: bool) -> Tensor | None:
    """−off summed by code, (H, K, D)."""
    if not wanted:
        return None
    slot_HND = indices_HN.clamp(min=0)[..., None].expand_as(off_HND)
    return torch.zeros_like(codes_HKD).scatter_add(1, slot_HND, -off_HND.to(codes_HKD.dtype))


def assignment_error(
    x_HND: Tensor,
    codes_HKD: Tensor,
    indices_HN: Tensor,
    squared_HN: Tensor | None = None,
    *,
    to_rows: bool = True,
    to_codes: bool = True,
) -> Tensor:
    """Mean over values of |x − e|² with the code e of each row, rows of index −1 left out: () float32.

    Args:
        x_HND: rows (H, N, D). codes_HKD: codes (H, K, D). indices_HN: (H, N) int64 in [−1, K).
        squared_HN: |x − e|² (H, N) float64 where it is known already, whatever it says of rows left out.
        to_rows, to_codes: where the gradient goes, (2/ND)(x − e) and its opposite.

    Example:
        >>> import torch
        >>> x = torch.tensor([[[1.0], [4.0]]], requires_grad=True)
        >>> error = assignment_error(x, torch.tensor([[[0.0], [2.0]]]), torch.tensor([[0, 1]]))
        >>> error.backward()
        >>> error.item(), x.grad.flatten().tolist()
        (2.5, [1.0, 2.0])
    """
    if squared_HN is None:
        off = x_HND.detach() - take(codes_HKD.detach(), indices_HN)
        squared_HN = off.square().sum(-1, dtype=torch.float64)
    counted_HN = indices_HN >= 0
    if not torch.is_grad_enabled() and all_known(counted_HN):
        return (squared_HN.sum() / max(1, x_HND.numel())).float()
    total = zero_unless(counted_HN, squared_HN).sum()
    if not torch.is_grad_enabled():
        return (total / _values(x_HND, indices_HN)).float()
    return _AssignmentError.apply(x_HND, codes_HKD, indices_HN, total, to_rows, to_codes)  # pyright: ignore[reportReturnType]
