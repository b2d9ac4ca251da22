"""How every search on a GPU begins: rows and codes rounded for the screen, in one launch."""

from __future__ import annotations

import torch

from vqkit.kernels.triton.cuts import PADDED, Problem, chunk_for, multiple, vectors_of, widths
from vqkit.kernels.triton.launch import Kernel, Step, power_of_two
from vqkit.kernels.triton.pairs import COSINE, DOT, EUCLIDEAN
from vqkit.kernels.triton.prepare import ARRIVALS, HALF, IEEE, SPLIT, prepare

SCREENS = {"half": HALF.value, "split": SPLIT.value, "ieee": IEEE.value}
METRICS = {"euclidean": EUCLIDEAN.value, "cosine": COSINE.value, "dot": DOT.value}
EXACT = {"num_warps": 4, "enable_fp_fusion": False}  # equal pairs must not be rounded in different ways


class Entry:
    """The padded sizes of a problem, the arrays that hold what was rounded, and the launch that fills them."""

    def __init__(self, problem: Problem):
        H, N, K, D = problem.heads, problem.rows, problem.codes, problem.width
        W, self.held = widths(3 * D if problem.screen == "split" else D)
        self.rows, self.codes = multiple(N, PADDED), multiple(K, PADDED)
        self.row_blocks, self.code_blocks = self.rows // PADDED, self.codes // PADDED
        vectors, chunk = vectors_of(D), chunk_for(D)
        self.blocks = self.codes // vectors
        row_tiles = max(1, min(8, self.rows // vectors // (8 * problem.units)))
        row_programs = -(-(self.rows // vectors) // row_tiles)
        stored = torch.float32 if problem.screen == "ieee" else torch.float16
        self.arrays = {
            "rows": (stored, H * self.rows * W),
            "codes": (stored, H * self.codes * W),
            "row_stats": (torch.float32, H * 4 * self.rows),
            "code_stats": (torch.float32, H * 4 * self.blocks),
            "heights": (torch.float32, H * self.codes),
            "centre": (torch.float32, H * D),
            "unit": (torch.float32, H),
            "open_count": (torch.int32, H),
            "arrivals": (torch.int32, H * ARRIVALS.value),
        }
        self.shape = {"D": D, "W": W}
        self.chunk, self.pairs = chunk, {"CHUNK": chunk, "LEVELS": chunk.bit_length() - 1}
        self.mode, self.metric = {"SCREEN": SCREENS[problem.screen]}, {"METRIC": METRICS[problem.metric]}
        self.bound = {"BLOCKS": min(1024, power_of_two(self.blocks))}
        tile = {"CHUNK": min(256, power_of_two(D)), "P": vectors}
        self.step: Step = (
            Kernel(prepare, self.shape | tile | self.mode | self.metric, num_warps=4),
            (self.blocks + row_programs, H, 1),
            "x codebook rows codes row_stats code_stats heights centre unit open_count arrivals",
            (N, K, row_tiles, self.row_blocks, self.code_blocks),
        )
