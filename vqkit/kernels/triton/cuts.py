"""How a search on a GPU is cut: widths, tiles and programs, by the sizes of a problem alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from vqkit.kernels.triton.launch import power_of_two

MAX_TILES = 512  # of a split
PADDED = 128  # rows and codes come in multiples of this


@dataclass(frozen=True)
class Tiles:
    """How the screen is cut: rows and codes of a tile, codes of a group, warps, stages of the load pipeline."""

    rows: int
    codes: int
    group: int
    warps: int
    stages: int


@dataclass(frozen=True)
class Problem:
    """What a plan is made for."""

    heads: int
    rows: int
    codes: int
    width: int
    metric: str
    topk: int
    screen: str
    tiles: Tiles | None
    dtype: torch.dtype
    device: torch.device
    units: int  # multiprocessors
    alignment: tuple[bool, bool]


def multiple(size: int, of: int) -> int:
    """``size`` rounded up to a multiple."""
    return -(-size // of) * of


def widths(width: int) -> tuple[int, int]:
    """The padded width of a rounded vector, and how much of it a tile holds."""
    if width <= 256:
        padded = max(16, power_of_two(width))
        return padded, padded
    return multiple(width, 64), 64


def screen_for(width: int) -> str:
    """The screen that is fastest for rows of a width: a split product costs nothing more where it fits one tile."""
    return "split" if 3 * width <= 64 else "half"


def chunk_for(width: int) -> int:
    """How many coordinates of a distance are taken at once. By the width alone: it sets the order of its sum."""
    return min(128 if width > 128 else 64 if width > 64 else 32, power_of_two(width))


def vectors_of(width: int) -> int:
    """How many vectors one tile of ``prepare`` holds."""
    return max(16, min(64, 4096 // power_of_two(width)))


def tiles_for(codes: int, width: int) -> Tiles:
    """The cut that was fastest for so many codes of so wide a tile, as measured on an H100."""
    if width <= 64:
        return Tiles(128, 128, 4, 4, 3) if codes >= 4096 else Tiles(128, 64, 2 if codes >= 1024 else 1, 4, 3)
    if width == 128:
        return Tiles(128, 128, 4, 8, 3) if codes >= 4096 else Tiles(64, 128, 2 if codes >= 1024 else 1, 4, 3)
    if width == 256:
        return Tiles(128, 64, 2 if codes >= 2048 else 1, 4, 3)
    return Tiles(64, 128, 1, 4, 3)


def candidates(codes: int, width: int) -> list[Tiles]:
    """The cuts that are worth timing for so many codes of so wide a tile, the table's first."""
    if width <= 64:
        others = [Tiles(128, 128, 4, 4, 3), Tiles(128, 64, 2, 4, 3), Tiles(128, 128, 4, 8, 3), Tiles(64, 128, 2, 4, 3)]
    elif width == 128:
        others = [Tiles(128, 128, 4, 8, 3), Tiles(64, 128, 2, 4, 3), Tiles(128, 64, 2, 4, 3), Tiles(64, 64, 2, 4, 3)]
    elif width == 256:
        others = [Tiles(128, 64, 2, 4, 3), Tiles(64, 64, 2, 4, 3), Tiles(128, 64, 4, 8, 2)]
    else:
        others = [Tiles(64, 128, 2, 4, 3), Tiles(128, 128, 2, 8, 3), Tiles(64, 64, 1, 4, 4)]
    table = tiles_for(codes, width)
    return [table, *[tiles for tiles in others if tiles != table]]


def splits_of(row_tiles: int, code_tiles: int, units: int, most: int = 16) -> tuple[int, int]:
    """Over how many programs a row's codes are spread, and how many tiles each takes.

    Enough to fill the device, and to number the tiles of each in few bits, which scores give up.
    """
    filling = min(max(1, 2 * units // row_tiles), code_tiles, most)
    each = min(-(-code_tiles // filling), MAX_TILES)
    return -(-code_tiles // each), each


@lru_cache(maxsize=64)
def processors(device: torch.device) -> int:
    """How many multiprocessors a GPU has."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
