"""Exact nearest codes on a GPU: screen in float16 on tensor cores, verify in float64; four launches, no host sync."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from vqkit.kernels.triton.launch import Kernel, Workspace, aligned, power_of_two
from vqkit.kernels.triton.pairs import COSINE, DOT, EUCLIDEAN
from vqkit.kernels.triton.prepare import ARRIVALS, HALF, IEEE, SPLIT, prepare
from vqkit.kernels.triton.screen import screen
from vqkit.kernels.triton.settle import measure_more, settle

SCREENS = {"half": HALF.value, "split": SPLIT.value, "ieee": IEEE.value}
SETTLED = 512  # differences that a program of ``settle`` holds
METRICS = {"euclidean": EUCLIDEAN.value, "cosine": COSINE.value, "dot": DOT.value}
KEPT = 5  # slots of a row that the screen names
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
    screen: str
    tiles: Tiles | None
    dtype: torch.dtype
    device: torch.device
    units: int  # multiprocessors
    alignment: tuple[bool, bool]


def nearest(
    x_HND: Tensor, codebook_HKD: Tensor, metric: str, screen_in: str | None = None, tiles: Tiles | None = None
) -> tuple[Tensor, Tensor]:
    """Indices (H, N, 1) int64 and distances (H, N, 1) float64, as ``reference.nearest`` with ``topk`` 1.

    ``screen_in``: "half" (float16), "split" (float16 pairs, about float32's precision at three times the width) or
    "ieee" (float32 without tensor cores); None chooses by width. ``tiles``: how the screen is cut; None: as measured.
    """
    x, codes = x_HND.contiguous(), codebook_HKD.float().contiguous()
    H, N, D = x.shape
    indices = torch.empty((H, N, 1), dtype=torch.int64, device=x.device)
    distances = torch.empty((H, N, 1), dtype=torch.float64, device=x.device)
    if N:
        screen_in = screen_in or screen_for(D)
        alignment = (aligned(x), aligned(codes))
        sizes = (H, N, codes.shape[1], D)
        problem = Problem(*sizes, metric, screen_in, tiles, x.dtype, x.device, processors(x.device), alignment)
        plan_for(problem).run(x, codes, indices, distances)
    return indices, distances


class Plan:
    """The sizes, grids and kernels of one problem."""

    def __init__(self, problem: Problem):
        H, N, K, D = problem.heads, problem.rows, problem.codes, problem.width
        W, BW = _widths(3 * D if problem.screen == "split" else D)
        n_pad, k_pad = multiple(N, PADDED), multiple(K, PADDED)
        tiles = problem.tiles or tiles_for(K, W)
        units = problem.units
        splits, each = _splits(H * n_pad // tiles.rows, k_pad // tiles.codes, units)
        bits = max(1, ((2 if tiles.group == 1 else 1) * each - 1).bit_length())
        chunk = chunk_for(D)
        settled, vectors = max(4, min(64, SETTLED // chunk // tiles.group)), vectors_of(D)
        parts = {"PARTS": 64, "PLACES": ARRIVALS.value, "BN": tiles.codes, "MEMBERS": max(2, tiles.group)}
        exact = {"num_warps": 4, "enable_fp_fusion": False}  # equal pairs must not be rounded in different ways
        blocks = k_pad // vectors
        row_tiles = max(1, min(8, n_pad // vectors // (8 * units)))
        row_programs = -(-(n_pad // vectors) // row_tiles)
        stored = torch.float32 if problem.screen == "ieee" else torch.float16
        self.workspace = Workspace(
            rows=(stored, H * n_pad * W),
            codes=(stored, H * k_pad * W),
            row_stats=(torch.float32, H * 4 * n_pad),
            code_stats=(torch.float32, H * 4 * blocks),
            heights=(torch.float32, H * k_pad),
            centre=(torch.float32, H * D),
            unit=(torch.float32, H),
            scores=(torch.float32, splits * KEPT * H * n_pad),
            candidates=(torch.int32, splits * KEPT * H * n_pad),
            rest=(torch.float32, splits * H * n_pad),
            hidden=(torch.int32, splits * H * n_pad),
            slack=(torch.float32, H * n_pad),
            open_count=(torch.int32, H),
            open_rows=(torch.int32, H * N),
            open_slots=(torch.int32, H * N),
            arrivals=(torch.int32, H * ARRIVALS.value),
            part_distance=(torch.float64, H * ARRIVALS.value),
            part_code=(torch.int64, H * ARRIVALS.value),
        )
        shape = {"D": D, "W": W}
        pairs = {"CHUNK": chunk, "LEVELS": chunk.bit_length() - 1}
        mode, metric = {"SCREEN": SCREENS[problem.screen]}, {"METRIC": METRICS[problem.metric]}
        group, keeps = {"GROUP": tiles.group}, {"KEPT": KEPT}
        wide = min(256, power_of_two(D))
        cut = {"BW": BW, "BM": tiles.rows, "BN": tiles.codes, "BITS": bits}
        bound = {"BLOCKS": min(1024, power_of_two(blocks))}
        row_blocks, code_blocks = n_pad // PADDED, k_pad // PADDED
        self.steps = [
            (
                Kernel(prepare, shape | {"CHUNK": wide, "P": vectors} | mode | metric, num_warps=4),
                (blocks + row_programs, H, 1),
                "x codebook rows codes row_stats code_stats heights centre unit open_count arrivals",
                (N, K, row_tiles, row_blocks, code_blocks),
            ),
            (
                Kernel(
                    screen,
                    shape | cut | keeps | group | mode | bound | metric,
                    num_warps=tiles.warps,
                    num_stages=tiles.stages,
                ),
                (n_pad // tiles.rows, splits, H),
                "rows codes heights row_stats code_stats unit scores candidates rest hidden slack",
                (row_blocks, code_blocks, blocks, each, H),
            ),
            (
                Kernel(
                    settle,
                    {"D": D, "P": settled} | pairs | keeps | group | metric,
                    **exact | {"num_warps": 1 if chunk >= 32 else 4},
                ),
                (-(-N // settled), H, 1),
                (
                    "x codebook row_stats scores candidates rest hidden slack indices distances open_count"
                    " open_rows open_slots"
                ),
                (N, K, row_blocks, splits, H),
            ),
            (
                Kernel(measure_more, {"D": D, "P": min(64, 4096 // chunk)} | pairs | metric | parts, **exact),
                (min(-(-ARRIVALS.value // H), 8 * units), H, 1),
                "x codebook indices distances open_count open_rows open_slots arrivals part_distance part_code",
                (N, K, each),
            ),
        ]

    def run(self, x: Tensor, codes: Tensor, indices: Tensor, distances: Tensor) -> Tensor:
        """Search; returns the memory that ``workspace`` divides."""
        own = {"x": x, "codebook": codes, "indices": indices, "distances": distances}
        return self.workspace.run(self.steps, own, x.device)


plan_for = lru_cache(maxsize=512)(Plan)


def multiple(size: int, of: int) -> int:
    """``size`` rounded up to a multiple."""
    return -(-size // of) * of


def _widths(width: int) -> tuple[int, int]:
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


def _splits(row_tiles: int, code_tiles: int, units: int) -> tuple[int, int]:
    """Over how many programs a row's codes are spread, and how many tiles each takes.

    Enough to fill the device, and to number the tiles of each in few bits, which scores give up.
    """
    filling = min(max(1, 2 * units // row_tiles), code_tiles, 16)
    each = min(-(-code_tiles // filling), MAX_TILES)
    return -(-code_tiles // each), each


@lru_cache(maxsize=64)
def processors(device: torch.device) -> int:
    """How many multiprocessors a GPU has."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
