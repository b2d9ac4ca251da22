from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from vqkit.data.spec import ImageSpec
from vqkit.shapes import check_shape
from vqkit.training.image_metrics import mse, psnr
from vqkit.training.pictures.page import FAINT, FOOTER, HEADER, INK, MARGIN, Page
from vqkit.training.pictures.tiles import fill_grid, to_tiles

LABELS = 230
ACROSS = 1880
MAGNIFIED = 5
# What red and blue of the difference stand for, light enough in the middle to vanish where nothing differs.
BRIGHTER, DARKER = np.array([0.78, 0.12, 0.15]), np.array([0.10, 0.30, 0.70])


def draw_reconstructions(
    images: Tensor,
    reconstructions: Tensor,
    spec: ImageSpec,
    path: str | Path,
    *,
    title: str = "Reconstructions",
    note: str | None = None,
) -> Path:
    """Draw input, reconstruction and 5x difference of every image, one under the other, with its PSNR.

    Args:
        images, reconstructions: (B, C, H, W) floats in the range of ``spec``; 8 to 24 make a good page.
        spec: what the images are.
        path: the PNG to write.
        title, note: the heading; the note defaults to the mean PSNR and MSE of these images.

    Returns:
        ``path``.

    Raises:
        ArgumentError, ArgumentTypeError: for tensors that are not images of ``spec``.
        OSError: when the picture cannot be written; nothing half written is left.
    """
    check_shape("reconstructions", reconstructions, tuple(images.shape))
    shown, redrawn = to_tiles(images, spec), to_tiles(reconstructions, spec, "reconstructions")
    bands = (shown, redrawn, difference_tiles(images, reconstructions, spec))
    decibels = psnr(images, reconstructions, spec.span)
    if note is None:
        note = f"mean PSNR {decibels.mean():.2f} dB · MSE {mse(images, reconstructions).mean():.5f}"
    grid = fill_grid(len(images), spec.height, spec.width, target=192, across=ACROSS)
    band = 3 * (grid.height + grid.gap) + 60
    page = Page(MARGIN * 2 + LABELS + grid.across, HEADER + grid.rows * band + FOOTER, title, note)
    down = grid.height + grid.gap
    for row in range(grid.rows):
        for line, label in enumerate(("input", "reconstruction", f"{MAGNIFIED}× difference")):
            page.text(MARGIN, HEADER + row * band + line * down + grid.height / 2, label, color=INK, va="center")
    for i, decibel in enumerate(decibels.tolist()):
        row, column = divmod(i, grid.columns)
        x, top = MARGIN + LABELS + column * (grid.width + grid.gap), HEADER + row * band
        for line, tiles in enumerate(bands):
            page.tile(tiles[i], x, top + line * down, grid.width, grid.height)
        page.text(x + grid.width / 2, top + 3 * down + 4, f"{decibel:.1f} dB", size=8.5, color=FAINT, ha="center")
    explained = "red: too bright, blue: too dark" if spec.channels == 1 else "absolute, per colour"
    page.text(page.width - MARGIN, page.height - 36, f"difference: {explained}", size=8, color=FAINT, ha="right")
    return page.save(path)


def difference_tiles(images: Tensor, reconstructions: Tensor, spec: ImageSpec) -> np.ndarray:
    """(B, H, W, 3) in [0, 1]: five times the difference, clipped.

    Grey images show its sign, red on white where the reconstruction is too bright and blue where it is too dark; colour
    images its size in each colour, on black.
    """
    difference = (reconstructions - images).detach().cpu().double().permute(0, 2, 3, 1).numpy()
    strength = np.clip(difference * MAGNIFIED / spec.span, -1, 1)
    if spec.channels != 1:
        return np.abs(strength)
    up, down = np.clip(strength, 0, 1), np.clip(-strength, 0, 1)
    return 1 - up * (1 - BRIGHTER) - down * (1 - DARKER)
