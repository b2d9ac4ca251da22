from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from torch import Tensor

from vqkit.data.spec import ImageSpec
from vqkit.errors import CodeIndexError, bad_value
from vqkit.shapes import check_indices, check_int
from vqkit.training.pictures.colours import paint, readable_on
from vqkit.training.pictures.page import DPI, FAINT, FOOTER, HEADER, MARGIN, Page
from vqkit.training.pictures.tiles import Grid, tile_size, to_tiles

ACROSS = 1900
MAX_STAGES = 4
GAP, APART = 12, 44
# A cell at least this wide, in pixels, has room for its index.
ROOM_FOR_TEXT = 28


def draw_index_maps(
    images: Tensor,
    indices: Tensor,
    codebook_size: int,
    spec: ImageSpec,
    path: str | Path,
    *,
    title: str = "Index maps",
    note: str | None = None,
) -> Path:
    """Draw each image beside the codes that stand for it: one colour per code, its number where there is room.

    Args:
        images: (B, C, H, W) floats in the range of ``spec``.
        indices: (B, n), (B, h, w) or (B, h, w, Q) integers in [-1, K); a sequence is folded into rows, of several
            stages the first four are shown.
        codebook_size: K.
        spec: what the images are.
        path: the PNG to write.
        title, note: the heading; the note defaults to how many codes an image takes.

    Returns:
        ``path``.

    Raises:
        ArgumentError, ArgumentTypeError: for tensors of other shapes or types.
        CodeIndexError: for an index outside the codebook.
        OSError: when the picture cannot be written; nothing half written is left.
    """
    tiles, maps = to_tiles(images, spec), fold_indices(indices, codebook_size)
    if len(maps) != len(tiles):
        raise bad_value("indices", f"one map per image, {len(tiles)}", len(maps))
    if note is None:
        folded = ", a sequence in reading order" if indices.ndim == 2 else ""
        note = f"{indices[0].numel()} codes per image{folded}, from a codebook of {codebook_size}"
    height, width = tile_size(spec.height, spec.width, 256)
    stages, rows, columns = maps.shape[1:]
    cell = cell_size(height, rows, columns)
    grid = map_grid(len(tiles), width + stages * (columns * cell + GAP), max(height, rows * cell))
    footer = FOOTER if stages == 1 else FOOTER + 24
    page = Page(MARGIN * 2 + grid.across, HEADER + grid.down + footer, title, note)
    for i, tile in enumerate(tiles):
        x, y = grid.place(i)
        page.tile(tile, MARGIN + x, HEADER + y, width, height)
        for stage in range(stages):
            left = MARGIN + x + width + GAP + stage * (columns * cell + GAP)
            draw_map(page, maps[i, stage], codebook_size, left, HEADER + y, cell)
    if stages > 1:
        page.text(MARGIN, page.height - 36, "maps from left to right: stage 1, 2, …", size=8, color=FAINT)
    return page.save(path)


def fold_indices(indices: Tensor, codebook_size: int) -> np.ndarray:
    """(B, n), (B, h, w) or (B, h, w, Q) indices to (B, stages, rows, columns)."""
    check_int("codebook_size", codebook_size)
    maps = check_indices("indices", indices).cpu().numpy()
    if maps.size == 0 or not 2 <= maps.ndim <= 4:
        raise bad_value("indices", "shape (B, n), (B, h, w) or (B, h, w, Q), not empty", f"shape {maps.shape}")
    outside = (maps < -1) | (maps >= codebook_size)
    if outside.any():
        raise CodeIndexError(f"indices: expected -1 to {codebook_size - 1}, got {maps[outside][0]}")
    if maps.ndim == 2:
        count = maps.shape[1]
        columns = next(c for c in range(math.isqrt(count - 1) + 1, count + 1) if count % c == 0)
        # A long prime sequence has no rows to fold into: it is filled up with empty cells.
        if columns > 32:
            columns = math.isqrt(count - 1) + 1
            maps = np.pad(maps, ((0, 0), (0, -count % columns)), constant_values=-1)
        return maps.reshape(len(maps), 1, -1, columns)
    if maps.ndim == 3:
        return maps[:, None]
    return maps.transpose(0, 3, 1, 2)[:, :MAX_STAGES]


def cell_size(height: int, rows: int, columns: int) -> int:
    """The side of a cell that makes a map as high as its image, unless the map would be over twice as wide as that.

    >>> cell_size(256, 8, 8), cell_size(256, 1, 16)
    (32, 32)
    """
    return max(1, round(min(height / rows, 2 * height / columns)))


def map_grid(count: int, width: int, height: int) -> Grid:
    """Where ``count`` blocks of an image and its maps go: as many abreast as the page has room for."""
    abreast = min(count, max(1, (ACROSS + APART) // (width + APART)))
    return Grid(abreast, -(-count // abreast), width, height, APART)


def draw_map(page: Page, indices: np.ndarray, count: int, x: int, y: int, cell: int) -> None:
    """One (rows, columns) map as coloured square cells of ``cell`` pixels, numbered where there is room."""
    colours = paint(indices, count)
    rows, columns = indices.shape
    page.tile(colours, x, y, columns * cell, rows * cell)
    if cell < ROOM_FOR_TEXT:
        return
    # Three fifths of an em is a digit's width; a point is DPI / 72 pixels.
    size = min(9.0, cell * 0.8 / (0.6 * len(str(count - 1))) * 72 / DPI)
    for (row, column), index in np.ndenumerate(indices):
        if index >= 0:
            at = x + (column + 0.5) * cell, y + (row + 0.5) * cell
            colour = readable_on(colours[row, column])
            page.text(*at, str(index), size=size, color=colour, ha="center", va="center_baseline")
