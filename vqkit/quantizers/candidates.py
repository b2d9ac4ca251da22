"""The T nearest codes of every row, as if each were the answer: what a beam search chooses from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.quantizers.objectives import Commitment
from vqkit.quantizers.output import LossBreakdown
from vqkit.shapes import check_int

if TYPE_CHECKING:
    from vqkit.quantizers.vector import VectorQuantize


class Entered(NamedTuple):
    """Rows on their way through: x (H, N, D) in the space of the codes, and which count: by slice (H, N) and by row."""

    x: Tensor
    valid_slices: Tensor
    valid: Tensor


class Made(NamedTuple):
    """What became of them: q (H, N, D), indices (rows, heads), the loss and its terms; soft (H, N, D) where the choice
    itself made the output.
    """

    q: Tensor
    indices: Tensor
    loss: Tensor
    breakdown: LossBreakdown
    soft: Tensor | None


def check_topk(topk: object, size: int, breakdown: bool, indices: Tensor | None) -> None:
    """Raise unless ``topk`` is an int in [1, size], and neither a breakdown nor a cross-entropy is asked for."""
    if check_int("topk", topk) > size:
        raise bad_value("topk", f"at most the {size} codes there are", topk)
    if breakdown:
        raise bad_value("return_loss_breakdown", "False with topk", breakdown)
    if indices is not None:
        raise bad_value("indices", "None with topk", f"shape {tuple(indices.shape)}")


def candidates(quantizer: VectorQuantize, entered: Entered, topk: int) -> tuple[Tensor, Tensor, Tensor]:
    """quantized (rows, T, dim), indices (rows, T, heads), and each candidate's commitment loss (rows, T)."""
    book, slices, x_HND = quantizer.book, quantizer.slices, entered.x
    H, N, D = x_HND.shape
    codes = book.codes()
    found_HNT = torch.where(entered.valid_slices[..., None], book.nearest(x_HND, codes, topk), -1)
    q = book.take(found_HNT.reshape(H, N * topk), codes).to(x_HND.dtype)
    near = x_HND[:, :, None].expand(H, N, topk, D).reshape(H, N * topk, D)
    error_HNT = torch.where(found_HNT < 0, 0, (near - q.detach()).square().reshape(H, N, topk, D).mean(-1))
    weight = sum(o.weight for o in quantizer.objectives if isinstance(o, Commitment))

    y = quantizer.estimate(near, q)
    if slices.heads > 1 and not slices.separate:
        # Shared heads lie between rows and candidates: (rows, heads, T) to (rows, T, heads).
        y = y.reshape(-1, slices.heads, topk, D).transpose(1, 2).reshape(1, N * topk, D)
    quantized = slices.leave(y).reshape(-1, topk, quantizer.dim)
    return quantized, slices.by_row(found_HNT), slices.by_row(error_HNT).mean(-1).float() * weight
