"""φ: the convolution that refines an upsampled map of codes (VAR, Tian et al. 2024, arXiv:2404.02905, algorithm 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.shapes import check_int, check_number

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Phi(nn.Module):
    """(1 − r)·x + r·conv(x) with a convolution of width 3, on maps (B, dim, *size); float32 out, in any autocast.

    Example:
        >>> import torch
        >>> phi = Phi(4, axes=2, ratio=0.5)
        >>> phi(torch.zeros(1, 4, 3, 3)).shape
        torch.Size([1, 4, 3, 3])
    """

    def __init__(self, dim: int, axes: int, ratio: float):
        super().__init__()
        self.ratio = ratio
        self.conv = _CONVOLUTIONS[axes - 1](dim, dim, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # ``decode`` must find the same numbers in and outside
            return x.float().lerp(self.conv(x.to(self.conv.weight.dtype)).float(), self.ratio)


class Phis(nn.Module):
    """The φ of each of S scales; ``phis[s]`` is that of scale s.

    Args:
        dim, axes: channels and spatial axes. scales: how many.
        ratio: r, ``quant_resi`` of VAR; 0 has no convolution at all.
        shared: 1 φ for all scales, 0 for one a scale, n for n of them, each serving the scales nearest its place.
    """

    def __init__(self, dim: int, axes: int, scales: int, ratio: float, shared: int):
        super().__init__()
        ratio = check_number("quant_resi", ratio, 0, 1)
        count = min(check_int("share_quant_resi", shared, 0) or scales, scales)
        self.which = [nearest_tick(s, scales, count) for s in range(scales)]
        self.maps = nn.ModuleList(Phi(dim, axes, ratio) if ratio else nn.Identity() for _ in range(count))

    def __getitem__(self, scale: int) -> nn.Module:
        return self.maps[self.which[scale]]


def nearest_tick(scale: int, scales: int, count: int) -> int:
    """Which of ``count`` φ serves a scale: the tick nearest to scale / (scales − 1) among ``count`` even ones from
    1/2n to 1 − 1/2n (from 1/3n where n is four), as in VAR's code; ties fall where rounding puts them there.

    >>> [nearest_tick(s, 10, 4) for s in range(10)]
    [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    """
    if count == scales:
        return scale
    first = 1 / (3 if count == 4 else 2) / count
    last, place = 1 - first, scale / max(scales - 1, 1)
    step = (last - first) / max(count - 1, 1)
    ticks = [tick * step + first for tick in range(count - 1)] + [last]
    return min(range(count), key=lambda tick: abs(ticks[tick] - place))
