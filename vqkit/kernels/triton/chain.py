"""All stages of a residual quantizer on a GPU: three launches, no host sync."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from vqkit.kernels.triton.cuts import PADDED, chunk_for, multiple, processors, vectors_of
from vqkit.kernels.triton.launch import Kernel, Workspace, aligned, power_of_two
from vqkit.kernels.triton.pairs import EUCLIDEAN
from vqkit.kernels.triton.prepare import ARRIVALS, HALF, prepare
from vqkit.kernels.triton.search import nearest
from vqkit.kernels.triton.stages import finish_rows, run_stages

ON_CHIP = 256  # the widest residual that registers hold
MAX_CODES = 2**15  # of a stage: more take too many of a score's bits to number their tiles


def residual_chain(x_ND: Tensor, codebooks_QKD: Tensor) -> Tensor:
    """As ``reference.residual_chain``; stage by stage where rows are wider than ``ON_CHIP`` or codes are many."""
    x, codebooks = x_ND.contiguous(), codebooks_QKD.contiguous()
    if x.shape[1] > ON_CHIP or codebooks.shape[1] > MAX_CODES or x.shape[0] == 0:
        return _stage_by_stage(x, codebooks)
    indices = torch.empty((x.shape[0], codebooks.shape[0]), dtype=torch.int64, device=x.device)
    plan = _plan_for(*x.shape, *codebooks.shape[:2], x.device, processors(x.device), (aligned(x), aligned(codebooks)))
    plan.run(x, codebooks, indices)
    return indices


def _stage_by_stage(x_ND: Tensor, codebooks_QKD: Tensor) -> Tensor:
    total_ND, columns = torch.zeros_like(x_ND), []
    for codes_KD in codebooks_QKD:
        index_N = nearest((x_ND - total_ND)[None], codes_KD[None], "euclidean")[0][0, :, 0]
        columns.append(index_N)
        total_ND = total_ND + torch.where((index_N >= 0)[:, None], codes_KD[index_N.clamp(min=0)], 0)
    return torch.stack(columns, 1)


def cut_for(width: int) -> tuple[int, int, int, int]:
    """Rows and codes of a tile, warps and stages, as measured on an H100."""
    return (64, 64, 4, 3) if width <= 64 else (64, 128, 8, 2)


class Plan:
    """The sizes, grids and kernels of one problem."""

    def __init__(
        self, N: int, D: int, Q: int, K: int, _device: torch.device, units: int, _alignment: tuple[bool, bool]
    ):
        W, k_pad, P = max(16, power_of_two(D)), multiple(K, PADDED), vectors_of(D)
        rows, codes, warps, stages = cut_for(W)
        blocks = k_pad // P
        self.workspace = Workspace(
            codes=(torch.float16, Q * k_pad * W),
            code_stats=(torch.float32, Q * 4 * blocks),
            heights=(torch.float32, Q * k_pad),
            centre=(torch.float32, Q * D),
            unit=(torch.float32, Q),
            open_count=(torch.int32, Q),
            arrivals=(torch.int32, Q * ARRIVALS.value),
            open_rows=(torch.int32, N),
            open_stages=(torch.int32, N),
            residuals=(torch.float32, N * D),
            nothing=(torch.float32, 4),
        )
        shape, chunk = {"D": D, "W": W}, chunk_for(D)
        pairs = {"CHUNK": chunk, "LEVELS": chunk.bit_length() - 1}
        bits = max(1, (2 * k_pad // codes - 1).bit_length())
        wide = min(256, power_of_two(D))
        mode = {"CHUNK": wide, "P": P, "SCREEN": HALF.value, "METRIC": EUCLIDEAN.value}
        cut = {"BM": rows, "BN": codes, "BITS": bits}
        self.steps = [
            (
                Kernel(prepare, shape | mode, num_warps=4),
                (blocks, Q, 1),
                "x codebooks codes codes nothing code_stats heights centre unit open_count arrivals",
                (0, K, 1, 0, k_pad // PADDED),
            ),
            (
                Kernel(
                    run_stages,
                    shape | cut | {"BLOCKS": min(1024, power_of_two(blocks))} | pairs,
                    num_warps=warps,
                    enable_fp_fusion=False,
                    num_stages=stages,
                ),
                (-(-N // rows), 1, 1),
                ("x codebooks codes heights code_stats centre unit indices open_count open_rows open_stages residuals"),
                (N, K, Q, k_pad // PADDED, blocks),
            ),
            (
                Kernel(finish_rows, shape | {"P": max(16, min(256, 16384 // W))}, num_warps=8, enable_fp_fusion=False),
                (min(N, 4 * units), 1, 1),
                "x codebooks indices open_count open_rows open_stages",
                (K, Q),
            ),
        ]

    def run(self, x: Tensor, codebooks: Tensor, indices: Tensor) -> None:
        own = {"x": x, "codebooks": codebooks, "indices": indices}
        self.workspace.run(self.steps, own, x.device)


_plan_for = lru_cache(maxsize=512)(Plan)
