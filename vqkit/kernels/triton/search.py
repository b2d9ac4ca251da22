"""Exact nearest codes on a GPU: screen in float16 on tensor cores, verify in float64; four launches, no host sync."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from vqkit.kernels.triton.prepare import HALF, IEEE, SPLIT, prepare
from vqkit.kernels.triton.screen import screen
from vqkit.kernels.triton.settle import measure_all, settle

SCREENS = {"half": HALF, "split": SPLIT, "ieee": IEEE}
CODES_PER_BLOCK = 64  # of ``prepare``
KEPT = 4  # candidates the screen names for a row
PADDED = 128  # rows and codes come in multiples of this


@dataclass(frozen=True)
class Tiles:
    """How the screen is cut: rows and codes of a tile, warps, stages of the load pipeline."""

    rows: int
    codes: int
    warps: int
    stages: int


def nearest(x_HND: Tensor, codebook_HKD: Tensor, metric: str, screen_in: str | None = None) -> tuple[Tensor, Tensor]:
    """Indices (H, N, 1) int64 and distances (H, N, 1) float64, as ``reference.nearest`` with ``topk`` 1.

    ``screen_in``: "half" (float16), "split" (float16 pairs, about float32's precision at three times the width) or
    "ieee" (float32 without tensor cores); None chooses by width.
    """
    x, codes = x_HND.contiguous(), codebook_HKD.float().contiguous()
    (H, N, D), K, device = x.shape, codes.shape[1], x.device
    indices = torch.empty((H, N, 1), dtype=torch.int64, device=device)
    distances = torch.empty((H, N, 1), dtype=torch.float64, device=device)
    if N == 0:
        return indices, distances
    screen_in = screen_in or ("split" if 3 * D <= 64 else "half")
    W, BW = _widths(3 * D if screen_in == "split" else D)
    cosine = metric == "cosine"
    N_pad, K_pad = _multiple(N, PADDED), _multiple(K, PADDED)
    tiles = _tiles(N_pad, K_pad, BW, W)
    splits, tiles_each = _splits(H * N_pad // tiles.rows, K_pad // tiles.codes, device)
    blocks = K_pad // CODES_PER_BLOCK
    chunk = min(32, triton.next_power_of_2(D))  # by D alone: it sets the order in which a distance is summed
    levels = chunk.bit_length() - 1
    bits = max(1, (2 * tiles_each - 1).bit_length())

    stored = torch.float32 if screen_in == "ieee" else torch.float16
    rounded = torch.empty(H * (N_pad + K_pad) * W, dtype=stored, device=device)
    rows16, codes16 = rounded[: H * N_pad * W], rounded[H * N_pad * W :]
    floats = torch.empty(H * (4 * N_pad + 4 * blocks + K_pad + D), dtype=torch.float32, device=device)
    row_stats, code_stats, heights, centre = floats.split([H * 4 * N_pad, H * 4 * blocks, H * K_pad, H * D])
    unit = torch.empty(H, dtype=torch.float64, device=device)
    row_unit, code_unit = torch.empty(
        (H * 2 * (N_pad + K_pad)) if cosine else 2, dtype=torch.float64, device=device
    ).split([H * 2 * N_pad, H * 2 * K_pad] if cosine else [1, 1])
    scores = torch.empty(splits * (KEPT + 1) * H * N_pad, dtype=torch.float32, device=device)
    scores, rest = scores.split([splits * KEPT * H * N_pad, splits * H * N_pad])
    numbers = torch.empty(splits * KEPT * H * N_pad + H * N + H, dtype=torch.int32, device=device)
    candidates, open_rows, open_count = numbers.split([splits * KEPT * H * N_pad, H * N, H])

    prepare[(blocks + N_pad // CODES_PER_BLOCK, H)](
        *(x, codes, rows16, codes16, row_stats, code_stats, heights, row_unit, code_unit, centre, unit, open_count),
        *(N, K, N_pad, K_pad),
        **{"D": D, "W": W, "CHUNK": chunk, "LEVELS": levels, "P": CODES_PER_BLOCK},
        **{"SCREEN": SCREENS[screen_in].value, "COSINE": cosine, "num_warps": 4},
    )
    bound = {"D": D, "W": W, "BITS": bits, "KEPT": KEPT, "BLOCKS": triton.next_power_of_2(blocks)}
    screen[(N_pad // tiles.rows, splits, H)](
        *(rows16, codes16, heights, row_stats, code_stats, unit, scores, candidates, rest),
        *(N_pad, K_pad, blocks, tiles_each, H),
        **bound,
        **{"BW": BW, "BM": tiles.rows, "BN": tiles.codes, "SCREEN": SCREENS[screen_in].value},
        **{"num_warps": tiles.warps, "num_stages": tiles.stages},
    )
    pairs = {"CHUNK": chunk, "LEVELS": levels, "COSINE": cosine, "num_warps": 4}
    settle[(triton.cdiv(N, 32), H)](
        *(x, codes, row_unit, code_unit, row_stats, code_stats, unit, scores, candidates, rest),
        *(indices, distances, open_count, open_rows, N, K, N_pad, K_pad, blocks, splits, H),
        **bound,
        **pairs,
        P=32,
    )
    measure_all[(min(N, 8 * _processors(device)), H)](
        *(x, codes, row_unit, code_unit, indices, distances, open_count, open_rows, N, K, N_pad, K_pad),
        D=D,
        P=64,
        **pairs,
    )
    return indices, distances


def _multiple(size: int, of: int) -> int:
    return -(-size // of) * of


def _widths(width: int) -> tuple[int, int]:
    """The padded width of a rounded vector, and how much of it a tile holds."""
    if width <= 256:
        padded = max(16, triton.next_power_of_2(width))
        return padded, padded
    return _multiple(width, 64), 64


def _tiles(N_pad: int, K_pad: int, BW: int, W: int) -> Tiles:
    del N_pad, K_pad, W
    if BW <= 128:
        return Tiles(128, 128, 8, 3)
    return Tiles(128, 64, 8, 2)


def _splits(row_tiles: int, code_tiles: int, device: torch.device) -> tuple[int, int]:
    """Over how many programs a row's codes are spread, and how many tiles each takes: enough to fill the device."""
    wanted = min(max(1, 2 * _processors(device) // row_tiles), code_tiles, 16)
    each = -(-code_tiles // wanted)
    return -(-code_tiles // each), each


def _processors(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).multi_processor_count
    return 2
