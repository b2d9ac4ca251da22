"""The T nearest codes of every row, as if each were the answer: what a beam search chooses from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.layout import Layout
from vqkit.quantizers.objectives import Commitment
from vqkit.quantizers.output import Quantized
from vqkit.shapes import check_int

if TYPE_CHECKING:
    from vqkit.quantizers.vector import VectorQuantize


class Entered(NamedTuple):
    """An input on its way through: x (H, N, D) in the space of the codes, what counts of it, and the way back.

    valid_slices (H, N), valid (rows,), passed: masked rows to give back unchanged (rows, dim), or None.
    """

    x: Tensor
    valid_slices: Tensor
    valid: Tensor
    passed: Tensor | None
    layout: Layout
    dtype: torch.dtype


def check_topk(topk: object, size: int, breakdown: bool, indices: Tensor | None) -> None:
    """Raise unless ``topk`` is an int in [1, size], and neither a breakdown nor a cross-entropy is asked for."""
    if check_int("topk", topk) > size:
        raise bad_value("topk", f"at most the {size} codes there are", topk)
    if breakdown:
        raise bad_value("return_loss_breakdown", "False with topk", breakdown)
    if indices is not None:
        raise bad_value("indices", "None with topk", f"shape {tuple(indices.shape)}")


def candidates(quantizer: VectorQuantize, entered: Entered, topk: int) -> Quantized:
    """quantized (..., T, dim), indices (..., T[, heads]), and each candidate's commitment loss (..., T)."""
    book, slices, x_HND = quantizer.book, quantizer.slices, entered.x
    H, N, D = x_HND.shape
    codes = book.codes()
    found_HNT = torch.where(entered.valid_slices[..., None], book.nearest(x_HND, codes, topk), -1)
    q = book.take(found_HNT.reshape(H, N * topk), codes).to(x_HND.dtype)
    near = x_HND[:, :, None].expand(H, N, topk, D).reshape(H, N * topk, D)
    error_HNT = torch.where(found_HNT < 0, 0, (near - q.detach()).square().reshape(H, N, topk, D).mean(-1))
    error = slices.by_row(error_HNT)
    error = (error.mean(-1) if slices.heads > 1 else error).float()
    weight = sum(o.weight for o in quantizer.objectives if isinstance(o, Commitment))

    y = quantizer.estimate(near, q)
    if slices.heads > 1 and not slices.separate:
        # Shared heads lie between rows and candidates: (rows, heads, T) to (rows, T, heads).
        y = y.reshape(-1, slices.heads, topk, D).transpose(1, 2).reshape(1, N * topk, D)
    arrange = entered.layout.arrange
    return Quantized(quantizer.leave(y, entered, topk), arrange(slices.by_row(found_HNT)), arrange(error * weight))
