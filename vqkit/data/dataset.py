"""The data set a model trains on: images as float tensors in a stated range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vqkit.data.images import Images
from vqkit.data.spec import ImageSpec

# Images read at a time for statistics: enough to be fast, little enough to fit anywhere.
CHUNK = 1024


class ImageDataset(Dataset[Tensor]):
    """A map-style data set; item ``i`` is a float32 tensor (C, H, W) with values in ``[spec.low, spec.high]``.

    Made by :func:`vqkit.data.load_images`; works with any ``DataLoader``, whose batches are read in one go.

    Args:
        images: where the raw images are.
        value_range: the values black and white are mapped to.
        name: what the images are called in messages and titles.
        split: "train", "valid" or "test".

    Attributes:
        spec: the :class:`ImageSpec` of every item.

    >>> from vqkit.data import load_images
    >>> dataset = load_images("digits", "test")
    >>> len(dataset), dataset[0].shape, dataset.spec.channel_order
    (180, torch.Size([1, 8, 8]), ('grey',))
    """

    def __init__(self, images: Images, value_range: tuple[float, float], *, name: str, split: str):
        height, width, channels = images.shape
        low, high = value_range
        self.images = images
        self.spec = ImageSpec(channels, height, width, low, high)
        self.name = name
        self.split = split
        self._moments: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name} {self.split}: image {index} of {len(self)}")
        return self.batch([index % len(self)])[0]

    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        # torch's loader asks for a whole batch through this name: one read instead of many.
        return list(self.batch(indices))

    def batch(self, indices: Sequence[int]) -> Tensor:
        """The images at ``indices`` as one float32 tensor (n, C, H, W)."""
        raw_low, raw_high = self.images.raw_range
        raw = torch.from_numpy(np.ascontiguousarray(self.images.read(indices).transpose(0, 3, 1, 2)))
        unit = (raw.to(torch.float32) - raw_low) / (raw_high - raw_low)
        # Rounding may pass an end of the range by one ulp; the spec promises that nothing does.
        return (unit * self.spec.span + self.spec.low).clamp_(self.spec.low, self.spec.high)

    def mean(self) -> float:
        """The mean of all values of this split, in the data set's range."""
        return self._both_moments()[0]

    def variance(self) -> float:
        """The (population) variance of all values of this split, in the data set's range; read once, then kept."""
        return self._both_moments()[1]

    def _both_moments(self) -> tuple[float, float]:
        if self._moments is None:
            count, total, squares = 0, 0.0, 0.0
            middle = (self.spec.low + self.spec.high) / 2
            for start in range(0, len(self), CHUNK):
                values = self.batch(range(start, min(start + CHUNK, len(self)))).double() - middle
                count += values.numel()
                total += values.sum().item()
                squares += values.square().sum().item()
            self._moments = total / count + middle, squares / count - (total / count) ** 2
        return self._moments

    def __repr__(self) -> str:
        return f"ImageDataset({self.name!r}, {self.split!r}, {len(self)} images, {self.spec})"
