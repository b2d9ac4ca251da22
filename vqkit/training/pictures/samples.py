from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqkit.data.spec import ImageSpec
from vqkit.shapes import check_int
from vqkit.training.code_counts import index_sizes
from vqkit.training.pictures.page import FOOTER, HEADER, MARGIN, Page
from vqkit.training.pictures.tiles import fill_grid, to_tiles

ACROSS = 1880


def draw_samples(
    images: Tensor, spec: ImageSpec, path: str | Path, *, title: str = "Samples from random codes", note: str = ""
) -> Path:
    """Draw generated images in a grid.

    Args:
        images: (B, C, H, W) floats in the range of ``spec``.
        spec: what the images are.
        path: the PNG to write.
        title, note: the heading.

    Returns:
        ``path``.

    Raises:
        ArgumentError, ArgumentTypeError: for tensors that are not images of ``spec``.
        OSError: when the picture cannot be written; nothing half written is left.
    """
    tiles = to_tiles(images, spec)
    grid = fill_grid(len(tiles), spec.height, spec.width, target=208, across=ACROSS)
    page = Page(MARGIN * 2 + grid.across, HEADER + grid.down + FOOTER, title, note)
    for i, tile in enumerate(tiles):
        x, y = grid.place(i)
        page.tile(tile, MARGIN + x, HEADER + y, grid.width, grid.height)
    return page.save(path)


def random_codes(model: Any, count: int, seed: int) -> Tensor:
    """Indices drawn independently and uniformly: (count, *latent_shape) int64, the same for the same seed.

    Args:
        model: a VQ-VAE with ``latent_shape`` and ``quantizer``.
        count: how many images' worth.
        seed: at least 0; torch's global random state is not touched.
    """
    generator = torch.Generator().manual_seed(check_int("seed", seed, minimum=0))
    shape = (check_int("count", count), *model.latent_shape)
    return torch.randint(min(index_sizes(model.quantizer)), shape, generator=generator)


def shuffled_codes(indices: Tensor, count: int, seed: int) -> Tensor:
    """Indices drawn place by place from (N, ...) real ones: each place keeps its codes' frequencies.

    >>> shuffled_codes(torch.tensor([[0, 5], [0, 7]]), 4, seed=0)[:, 0]
    tensor([0, 0, 0, 0])
    """
    generator = torch.Generator().manual_seed(check_int("seed", seed, minimum=0))
    rows = torch.randint(len(indices), (check_int("count", count), indices[0].numel()), generator=generator)
    return indices.flatten(1).gather(0, rows.to(indices.device)).view(count, *indices.shape[1:])
