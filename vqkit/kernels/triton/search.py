"""Exact nearest codes on a GPU: screen in float16 on tensor cores, verify in float64; four launches, no host sync."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from vqkit.kernels.triton.cuts import Problem, Tiles, processors, screen_for, splits_of, tiles_for
from vqkit.kernels.triton.entry import EXACT, Entry
from vqkit.kernels.triton.launch import Kernel, Workspace, aligned
from vqkit.kernels.triton.prepare import ARRIVALS
from vqkit.kernels.triton.screen import screen
from vqkit.kernels.triton.search_several import PlanOfSeveral
from vqkit.kernels.triton.settle import measure_more, settle
from vqkit.kernels.triton.tune import TUNER

SETTLED = 512  # differences that a program of ``settle`` holds
KEPT = 5  # slots of a row that the screen names


def nearest(
    x_HND: Tensor,
    codebook_HKD: Tensor,
    metric: str,
    topk: int = 1,
    screen_in: str | None = None,
    tiles: Tiles | None = None,
) -> tuple[Tensor, Tensor]:
    """Indices (H, N, T) int64 and distances (H, N, T) float64, as ``reference.nearest``, for a ``topk`` T up to 64.

    ``screen_in``: "half" (float16), "split" (float16 pairs, about float32's precision at three times the width) or
    "ieee" (float32 without tensor cores); None chooses by width. ``tiles``: how the screen is cut; None: as ``tune``
    found fastest, or the table says.
    """
    x, codes = x_HND.contiguous(), codebook_HKD.float().contiguous()
    H, N, D = x.shape
    indices = torch.empty((H, N, topk), dtype=torch.int64, device=x.device)
    distances = torch.empty((H, N, topk), dtype=torch.float64, device=x.device)
    if N:
        screen_in = screen_in or screen_for(D)
        alignment = (aligned(x), aligned(codes))
        sizes = (H, N, codes.shape[1], D)
        problem = Problem(*sizes, metric, topk, screen_in, tiles, x.dtype, x.device, processors(x.device), alignment)
        if tiles is None:
            problem = TUNER.tuned(problem, lambda tried: plan_for(tried).run(x, codes, indices, distances))
        plan_for(problem).run(x, codes, indices, distances)
    return indices, distances


class Plan:
    """The sizes, grids and kernels of one problem."""

    def __init__(self, problem: Problem):
        H, N, K, entry = problem.heads, problem.rows, problem.codes, Entry(problem)
        tiles = problem.tiles or tiles_for(K, entry.shape["W"])
        splits, each = splits_of(H * entry.rows // tiles.rows, entry.codes // tiles.codes, problem.units)
        bits = max(1, ((2 if tiles.group == 1 else 1) * each - 1).bit_length())
        chunk, D = entry.chunk, {"D": problem.width}
        settled = max(4, min(64, SETTLED // chunk // tiles.group))
        parts = {"PARTS": 64, "PLACES": ARRIVALS.value, "BN": tiles.codes, "MEMBERS": max(2, tiles.group)}
        self.workspace = Workspace(
            **entry.arrays,
            scores=(torch.float32, splits * KEPT * H * entry.rows),
            candidates=(torch.int32, splits * KEPT * H * entry.rows),
            rest=(torch.float32, splits * H * entry.rows),
            hidden=(torch.int32, splits * H * entry.rows),
            slack=(torch.float32, H * entry.rows),
            open_rows=(torch.int32, H * N),
            open_slots=(torch.int32, H * N),
            part_distance=(torch.float64, H * ARRIVALS.value),
            part_code=(torch.int64, H * ARRIVALS.value),
        )
        group, keeps = {"GROUP": tiles.group}, {"KEPT": KEPT}
        cut = {"BW": entry.held, "BM": tiles.rows, "BN": tiles.codes, "BITS": bits}
        self.steps = [
            entry.step,
            (
                Kernel(
                    screen,
                    entry.shape | cut | keeps | group | entry.mode | entry.bound | entry.metric,
                    num_warps=tiles.warps,
                    num_stages=tiles.stages,
                ),
                (entry.rows // tiles.rows, splits, H),
                "rows codes heights row_stats code_stats unit scores candidates rest hidden slack",
                (entry.row_blocks, entry.code_blocks, entry.blocks, each, H),
            ),
            (
                Kernel(
                    settle,
                    D | {"P": settled} | entry.pairs | keeps | group | entry.metric,
                    **EXACT | {"num_warps": 1 if chunk >= 32 else 4},
                ),
                (-(-N // settled), H, 1),
                (
                    "x codebook row_stats scores candidates rest hidden slack indices distances open_count"
                    " open_rows open_slots"
                ),
                (N, K, entry.row_blocks, splits, H),
            ),
            (
                Kernel(measure_more, D | {"P": min(64, 4096 // chunk)} | entry.pairs | entry.metric | parts, **EXACT),
                (min(-(-ARRIVALS.value // H), 8 * problem.units), H, 1),
                "x codebook indices distances open_count open_rows open_slots arrivals part_distance part_code",
                (N, K, each),
            ),
        ]

    def run(self, x: Tensor, codes: Tensor, indices: Tensor, distances: Tensor) -> Tensor:
        """Search; returns the memory that ``workspace`` divides."""
        own = {"x": x, "codebook": codes, "indices": indices, "distances": distances}
        return self.workspace.run(self.steps, own, x.device)


@lru_cache(maxsize=512)
def plan_for(problem: Problem) -> Plan | PlanOfSeveral:
    """The plan of a problem, made once."""
    return Plan(problem) if problem.topk == 1 else PlanOfSeveral(problem)
