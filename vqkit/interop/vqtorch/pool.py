"""Pooling that keeps whole vectors together: by their length, not channel by channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import bad_value
from vqkit.shapes import check_float, check_int


class _VecPool2d(nn.Module):
    """Images (B, C, H, W) to (B, C, H', W'): each window becomes a weighted sum of its vectors.

    H' = ⌊(H + 2·padding − dilation·(kernel_size − 1) − 1)/stride⌋ + 1. The padding is zero vectors. No gradient flows
    through the weights.
    """

    def __init__(self, kernel_size: int = 3, stride: int = 2, padding: int = 2, dilation: int = 1):
        super().__init__()
        self.window = {
            "kernel_size": check_int("kernel_size", kernel_size),
            "stride": check_int("stride", stride),
            "padding": check_int("padding", padding, 0),
            "dilation": check_int("dilation", dilation),
        }

    def weights(self, lengths_BKN: Tensor) -> Tensor:
        """Weights of the vectors in each window, from their lengths."""
        raise NotImplementedError  # abstract: each pool below has its own

    def forward(self, x: Tensor) -> Tensor:
        if check_float("x", x).ndim != 4:
            raise bad_value("x", "shape (B, C, H, W)", f"shape {tuple(x.shape)}")
        lengths = x.detach().norm(dim=1, keepdim=True)
        weights_B1KN = self.weights(F.unfold(lengths, **self.window)).unsqueeze(1)
        windows_BCKN = F.unfold(x, **self.window).unflatten(1, (x.shape[1], -1))
        return (weights_B1KN * windows_BCKN).sum(2).unflatten(-1, (self._pooled(x.shape[2]), -1))

    def _pooled(self, size: int) -> int:
        reach = self.window["dilation"] * (self.window["kernel_size"] - 1)
        return (size + 2 * self.window["padding"] - reach - 1) // self.window["stride"] + 1

    def extra_repr(self) -> str:
        """What the module prints."""
        return ", ".join(f"{name}={value}" for name, value in self.window.items())


class MaxVecPool2d(_VecPool2d):
    """The longest vector of each window.

    >>> import torch
    >>> x = torch.tensor([[3.0, 0.0], [0.0, 1.0]]).repeat(1, 2, 1, 1)
    >>> MaxVecPool2d(kernel_size=2, stride=2, padding=0)(x).flatten().tolist()
    [3.0, 3.0]
    """

    def weights(self, lengths_BKN: Tensor) -> Tensor:
        first = lengths_BKN.argmax(1, keepdim=True)
        return torch.zeros_like(lengths_BKN).scatter_(1, first, 1)


class SoftMaxVecPool2d(_VecPool2d):
    """The vectors of each window, weighted by the softmax of their lengths."""

    def weights(self, lengths_BKN: Tensor) -> Tensor:
        return lengths_BKN.softmax(1)
