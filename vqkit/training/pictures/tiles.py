"""From tensors of images to tiles that can be shown, and where they go on a page."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from vqkit.data.spec import ImageSpec
from vqkit.errors import bad_value
from vqkit.shapes import check_float, check_shape


def to_tiles(images: Tensor, spec: ImageSpec, name: str = "images") -> np.ndarray:
    """(B, C, H, W) values of ``spec`` to (B, H, W, 3) floats in [0, 1]; what lies outside the range is clipped.

    Raises:
        ArgumentError, ArgumentTypeError: for images of another shape, or channels that are no colours.
    """
    check_shape(name, check_float(name, images), ("B", *spec.shape))
    if spec.channels not in (1, 3):
        raise bad_value(name, "1 or 3 channels, to be shown", spec.channels)
    unit = ((images.detach().cpu().double() - spec.low) / spec.span).clamp(0, 1)
    tiles = unit.permute(0, 2, 3, 1).numpy()
    return np.repeat(tiles, 3, axis=-1) if spec.channels == 1 else tiles


class Grid(NamedTuple):
    """Tiles of one size in rows and columns, in pixels of the page."""

    columns: int
    rows: int
    width: int
    height: int
    gap: int

    @property
    def across(self) -> int:
        """Width of the whole grid."""
        return self.columns * (self.width + self.gap) - self.gap

    @property
    def down(self) -> int:
        """Height of the whole grid."""
        return self.rows * (self.height + self.gap) - self.gap

    def place(self, i: int) -> tuple[int, int]:
        """Where tile ``i`` goes, from the grid's upper left corner."""
        row, column = divmod(i, self.columns)
        return column * (self.width + self.gap), row * (self.height + self.gap)


def tile_size(height: int, width: int, target: int) -> tuple[int, int]:
    """``(height, width)`` of an image's tile, in pixels of the page: near ``target`` on its longer side.

    Small images are enlarged by a whole number, so that all their pixels are squares of one size.

    >>> tile_size(28, 28, 200), tile_size(8, 4, 128), tile_size(256, 256, 200), tile_size(512, 1024, 200)
    ((196, 196), (128, 64), (256, 256), (200, 400))
    """
    longer = max(height, width)
    if longer > 2 * target:
        target *= 2
        return max(1, round(height * target / longer)), max(1, round(width * target / longer))
    scale = max(1, round(target / longer))
    return height * scale, width * scale


def fill_grid(count: int, height: int, width: int, *, target: int, across: int, gap: int = 8) -> Grid:
    """A grid for ``count`` images of ``height`` x ``width`` pixels, about ``across`` pixels wide, nearly full.

    >>> fill_grid(16, 32, 32, target=128, across=1200)
    Grid(columns=8, rows=2, width=128, height=128, gap=8)
    """
    tile_height, tile_width = tile_size(height, width, target)
    most = max(1, (across + gap) // (tile_width + gap))
    rows = -(-count // most)
    return Grid(-(-count // rows), rows, tile_width, tile_height, gap)


def code_tile_target(codes: int) -> int:
    """How large, in pixels of the page, a tile should be when there is one per code.

    >>> code_tile_target(64), code_tile_target(1024)
    (144, 64)
    """
    return 144 if codes <= 64 else 96 if codes <= 256 else 64
