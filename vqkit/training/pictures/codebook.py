from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.data import ImageDataset, ImageSpec
from vqkit.errors import bad_value
from vqkit.shapes import check_indices, check_int, check_shape, check_tensor
from vqkit.training.pictures.page import FOOTER, HEADER, MARGIN, Page
from vqkit.training.pictures.tiles import code_tile_target, fill_grid, to_tiles

ACROSS = 2000
MOST_CODES = 1024
# A patch reaches one place of the latent beyond its own on every side.
REACH = 3
BATCH = 128
BLANK = 0.93


def draw_codebook(
    patches: Tensor,
    counts: Tensor,
    spec: ImageSpec,
    path: str | Path,
    *,
    title: str = "Codebook",
    note: str | None = None,
) -> Path:
    """Draw what each code stands for, most used first; codes that were never used are left out and counted.

    Args:
        patches: (K, C, p, p) floats in the range of ``spec``, as :func:`mean_patches` gives them; NaN is left blank.
        counts: (K,) how often each code is used, at least one of them.
        spec: what the images are.
        path: the PNG to write.
        title, note: the heading; the note defaults to what is shown.

    Returns:
        ``path``.

    Raises:
        ArgumentError, ArgumentTypeError: for tensors of other shapes, or no code in use.
        OSError: when the picture cannot be written; nothing half written is left.
    """
    size, _, side, _ = check_shape("patches", patches, ("K", spec.channels, "p", "p")).shape
    counts = check_shape("counts", check_tensor("counts", counts), (size,)).cpu()
    used = int((counts > 0).sum())
    if used == 0:
        raise bad_value("counts", "at least one code in use", "none")
    order = counts.argsort(descending=True, stable=True)[: min(used, MOST_CODES)]
    if note is None:
        shown = (
            f"all {size}" if len(order) == size else f"the {len(order)} {'most ' * (used > len(order))}used of {size}"
        )
        note = f"{shown} codes, most used first: the mean of the image around the places that got the code"
    tiles = to_tiles(patches[order], ImageSpec(spec.channels, side, side, spec.low, spec.high), "patches")
    tiles = np.where(np.isnan(tiles), BLANK, tiles)
    grid = fill_grid(len(order), side, side, target=code_tile_target(len(order)), across=ACROSS, gap=6)
    page = Page(MARGIN * 2 + grid.across, HEADER + grid.down + FOOTER, title, note)
    for i, tile in enumerate(tiles):
        x, y = grid.place(i)
        page.tile(tile, MARGIN + x, HEADER + y, grid.width, grid.height)
    return page.save(path)


def has_patches(latent_shape: tuple[int, ...], spec: ImageSpec) -> bool:
    """Whether indices lie on a plane whose places are equal squares of the image."""
    if len(latent_shape) != 2:
        return False
    height, width = latent_shape
    return spec.height % height == 0 and spec.width % width == 0 and spec.height // height == spec.width // width


def mean_patches(dataset: ImageDataset, indices: Tensor, codebook_size: int) -> Tensor:
    """The mean of the image around the places that got a code: (K, C, p, p) floats, p three places wide.

    What lies outside an image does not count; pixels no place of a code saw are NaN, all of an unused one too.

    Args:
        dataset: N images.
        indices: (N, h, w) integers in [-1, K), the codes of each; see :func:`has_patches`.
        codebook_size: K.

    Raises:
        ArgumentError, ArgumentTypeError: for indices of another shape or type.
    """
    spec, size = dataset.spec, check_int("codebook_size", codebook_size)
    check_shape("indices", check_indices("indices", indices), (len(dataset), "h", "w"))
    if not has_patches(tuple(indices.shape[1:]), spec):
        raise bad_value("indices", f"maps that divide {spec.height}x{spec.width} images", tuple(indices.shape[1:]))
    stride = spec.height // indices.shape[1]
    side = REACH * stride
    sums = torch.zeros(size + 1, (spec.channels + 1) * side * side, dtype=torch.float64)
    for start in range(0, len(dataset), BATCH):
        images = dataset.batch(range(start, min(start + BATCH, len(dataset)))).double()
        # A channel of ones counts the pixels that were inside.
        marked = torch.cat([images, torch.ones_like(images[:, :1])], dim=1)
        patches = F.unfold(marked, side, padding=stride, stride=stride).transpose(1, 2).flatten(0, 1)
        codes = indices[start : start + BATCH].cpu().flatten()
        sums.index_add_(0, torch.where(codes < 0, size, codes), patches)
    table = sums[:size].view(size, spec.channels + 1, side, side)
    inside = table[:, -1:]
    return (table[:, :-1] / inside).float()
