"""The T nearest codes on a GPU: four launches, no host sync."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels.triton.cuts import Problem, Tiles, splits_of
from vqkit.kernels.triton.entry import EXACT, Entry
from vqkit.kernels.triton.launch import Kernel, Workspace, power_of_two
from vqkit.kernels.triton.several import choose, collect, set_limits

MOST_LIMITS = 4  # splits that set limits: the more there are, the lower lies the limit

MEASURED = 2048  # differences that a program of ``choose`` holds


class PlanOfSeveral:
    """The sizes, grids and kernels of one problem."""

    def __init__(self, problem: Problem):
        H, N, K, T = problem.heads, problem.rows, problem.codes, problem.topk
        entry = Entry(problem)
        tiles = problem.tiles or tiles_of_several(entry.shape["W"])
        row_tiles, code_tiles = entry.rows // tiles.rows, entry.codes // tiles.codes
        limits, each = splits_of(H * row_tiles, code_tiles, problem.units, MOST_LIMITS)
        splits, fewer = splits_of(H * row_tiles, code_tiles, problem.units)
        listed = max(32, 2 * power_of_two(T))
        best = max(16, power_of_two(T))
        # Directions take registers too.
        room_for = MEASURED // 2 if problem.metric == "cosine" and entry.chunk == 128 else MEASURED
        measured = {"P": min(best, room_for // entry.chunk), "BEST": best}
        held = measured["P"] * entry.chunk
        warps = {"num_warps": 1 if held <= room_for // 4 else 2 if held <= room_for // 2 else 4}
        self.workspace = Workspace(
            **entry.arrays,
            whole=(torch.float32, limits * H * entry.rows),
            share=(torch.float32, limits * H * entry.rows),
            slack=(torch.float32, H * entry.rows),
            counts=(torch.int32, H * entry.rows),
            block=(torch.float64, H * N * measured["P"]),
            list=(torch.int32, H * entry.rows * listed),
        )
        cut = {"BW": entry.held, "BM": tiles.rows, "BN": tiles.codes}
        room = {"C": listed}
        options = {"num_warps": tiles.warps, "num_stages": tiles.stages}
        self.steps = [
            entry.step,
            (
                Kernel(set_limits, entry.shape | cut | entry.mode | entry.bound | entry.metric, **options),
                (row_tiles, limits, H),
                "rows codes heights row_stats code_stats unit whole share slack counts",
                (entry.row_blocks, entry.code_blocks, entry.blocks, each, H, T, -(-T // limits)),
            ),
            (
                Kernel(collect, {"W": entry.shape["W"]} | cut | room | entry.mode, **options),
                (row_tiles, splits, H),
                "rows codes heights row_stats whole share slack counts list",
                (N, K, entry.row_blocks, entry.code_blocks, fewer, limits, H),
            ),
            (
                Kernel(choose, {"D": problem.width} | measured | room | entry.pairs | entry.metric, **EXACT | warps),
                (N, H, 1),
                "x codebook row_stats counts list block indices distances",
                (N, K, entry.row_blocks, T),
            ),
        ]

    def run(self, x: Tensor, codes: Tensor, indices: Tensor, distances: Tensor) -> Tensor:
        """Search; returns the memory that ``workspace`` divides."""
        own = {"x": x, "codebook": codes, "indices": indices, "distances": distances}
        return self.workspace.run(self.steps, own, x.device)


def tiles_of_several(width: int) -> Tiles:
    """How both screens are cut; not measured yet. Registers hold two scores for each of a tile, besides the product."""
    return Tiles(64, 64, 1, 4, 3 if width <= 128 else 2)
