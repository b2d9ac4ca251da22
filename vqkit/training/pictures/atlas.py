from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqkit.shapes import check_shape, check_tensor
from vqkit.training.code_counts import index_sizes
from vqkit.training.pictures.page import FOOTER, HEADER, MARGIN, Page
from vqkit.training.pictures.tiles import code_tile_target, fill_grid, to_tiles

ACROSS = 2000
MOST_CODES = 1024
BATCH = 64


def draw_atlas(
    model: Any, path: str | Path, *, counts: Tensor | None = None, title: str = "Code atlas", note: str | None = None
) -> Path:
    """Draw every code as the image it decodes to when it stands at every place of the latent.

    Args:
        model: a VQ-VAE with ``decode``, ``spec``, ``latent_shape`` and ``quantizer``.
        path: the PNG to write.
        counts: (K,) how often each code is used: most used first, unused ones faded; ``None`` keeps their order.
        title, note: the heading; the note defaults to what is shown and how it is ordered.

    Returns:
        ``path``.

    Raises:
        ArgumentError: for counts of another shape.
        OSError: when the picture cannot be written; nothing half written is left.
    """
    spec, size = model.spec, min(index_sizes(model.quantizer))
    order = torch.arange(size)
    if counts is not None:
        counts = check_shape("counts", check_tensor("counts", counts), (size,)).cpu()
        order = counts.argsort(descending=True, stable=True)
    order = order[:MOST_CODES]
    tiles = to_tiles(decode_each(model, order), spec)
    if note is None:
        shown = f"all {size} codes" if len(order) == size else f"the first {len(order)} of {size} codes"
        note = f"{shown}, each decoded from an image that is that code everywhere"
        note += "" if counts is None else "; most used first, unused ones faded"
    grid = fill_grid(len(order), spec.height, spec.width, target=code_tile_target(len(order)), across=ACROSS, gap=6)
    page = Page(MARGIN * 2 + grid.across, HEADER + grid.down + FOOTER, title, note)
    for i, tile in enumerate(tiles):
        x, y = grid.place(i)
        faded = counts is not None and counts[order[i]] == 0
        page.tile(tile * 0.2 + 0.8 if faded else tile, MARGIN + x, HEADER + y, grid.width, grid.height)
    return page.save(path)


@torch.no_grad()
def decode_each(model: Any, codes: Tensor) -> Tensor:
    """(n, C, H, W): for each of the (n,) ``codes`` the image of a latent filled with it."""
    device = next(model.parameters()).device
    places = (1,) * len(model.latent_shape)
    filled = codes.view(-1, *places).expand(-1, *model.latent_shape)
    return torch.cat([model.decode(part.to(device)).cpu() for part in filled.split(BATCH)])
