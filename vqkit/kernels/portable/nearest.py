"""Exact nearest codes in operations that every runtime of an exported program has.

Screening, as in ``reference.nearest``, but in float64: with u = 2⁻⁵³ the score s = x'·e' − ½|e'|² = ½(|x'|² − d) of a
row and a code, both less the codebook's mean, is off by at most γ_{D+8} (|x'||e'| + ½|e'|²) + D·2⁻¹⁰²²; of directions
it is x̂·ê. A distance d measured from differences is off by at most γ_{D+2} d, and d ≤ (|x'| + |e'|)². Together that is
less than β_e = γ_{D+8} (|x'| + |e'|)² + D·2⁻¹⁰²² in a score, so that no code is left out which could measure least.
A float32 product would need less, but runtimes are free to round it to TF32, which no bound survives.

Verifying. The survivors are measured from differences in float64, by the formula of the reference. So an exported
program can differ from eager code only where the float64 distances of two codes agree up to the order of their D terms,
which each runtime is free to choose: |d − d'| ≤ 2γ_{D+2}·max(d, d'). Repeated codes have the same terms, and the lowest
index wins.

Memory is N times a block of codes, and a row's worth for every survivor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels.reference.nearest import largest_product
from vqkit.kernels.reference.unit import unit
from vqkit.kernels.tracing import least

CODES_PER_BLOCK = 4096
UNIT_ROUNDOFF = 2.0**-53


def nearest(x_HND: Tensor, codebook_HKD: Tensor, metric: str, topk: int) -> tuple[Tensor, Tensor]:
    """``reference.nearest``: indices (H, N, T) int64 and distances (H, N, T) float64; −1 and inf for rows that are not
    finite. Codes must be finite.
    """
    if metric == "dot":
        return largest_product(x_HND, codebook_HKD, topk, nearest)
    found = [
        _of_one_table(x_ND, codes_KD, metric == "cosine", topk)
        for x_ND, codes_KD in zip(x_HND.unbind(0), codebook_HKD.unbind(0), strict=True)
    ]
    return torch.stack([index for index, _ in found]), torch.stack([distance for _, distance in found])


def nearest_index(x_HND: Tensor, codebook_HKD: Tensor, metric: str) -> Tensor:
    """``nearest`` without the distances: (H, N) int64."""
    return nearest(x_HND, codebook_HKD, metric, 1)[0][..., 0]


def _of_one_table(x_ND: Tensor, codes_KD: Tensor, cosine: bool, topk: int) -> tuple[Tensor, Tensor]:
    finite_N1 = x_ND.isfinite().all(1, keepdim=True)
    exact_ND, codes_KD = torch.where(finite_N1, x_ND, 0).double(), codes_KD.double()
    if cosine:
        exact_ND, codes_KD = unit(exact_ND), unit(codes_KD)
    if topk == 1:
        index, distance = _closest(exact_ND, codes_KD, cosine)
    else:
        distance, index = least(_distances(exact_ND, codes_KD, cosine, topk), topk)
    return torch.where(finite_N1, index, -1), torch.where(finite_N1, distance, torch.inf)


def _closest(x_ND: Tensor, codes_KD: Tensor, cosine: bool) -> tuple[Tensor, Tensor]:
    """(N, 1) each: the best of every block of codes, and of equals that of the first block."""
    indices, distances = [], []
    for start in range(0, codes_KD.shape[0], CODES_PER_BLOCK):
        distance_NK = _distances(x_ND, codes_KD[start : start + CODES_PER_BLOCK], cosine, 1)
        index_N1 = distance_NK.argmin(1, keepdim=True)
        indices.append(index_N1 + start)
        distances.append(distance_NK.gather(1, index_N1))
    index_NB, distance_NB = torch.cat(indices, 1), torch.cat(distances, 1)
    best_N1 = distance_NB.argmin(1, keepdim=True)
    return index_NB.gather(1, best_N1), distance_NB.gather(1, best_N1)


def _distances(x_ND: Tensor, codes_KD: Tensor, cosine: bool, topk: int) -> Tensor:
    """(N, K) float64: of every code that may be among the ``topk`` nearest |x − e|², or 1 − cos; of the others inf."""
    K = codes_KD.shape[0]
    row_P, code_P = _survivors(x_ND, codes_KD, cosine, topk).nonzero().unbind(1)
    x_PD, e_PD = x_ND[row_P], codes_KD[code_P]
    off_PD = x_PD - e_PD
    distance_P = (off_PD * off_PD).sum(1)  # not a power, which a runtime may round twice
    if cosine:  # where either vector is zero, there is no angle
        directed_P = (x_PD != 0).any(1) & (e_PD != 0).any(1)
        distance_P = torch.where(directed_P, distance_P / 2, 1.0)
    everywhere = x_ND.new_full((x_ND.shape[0] * K,), torch.inf)
    return everywhere.scatter(0, row_P * K + code_P, distance_P).reshape(-1, K)


def _survivors(x_ND: Tensor, codes_KD: Tensor, cosine: bool, topk: int) -> Tensor:
    """Mark every code that may be among the ``topk`` nearest: (N, K) bool."""
    D = codes_KD.shape[1]
    gamma = (D + 8) * UNIT_ROUNDOFF / (1 - (D + 8) * UNIT_ROUNDOFF)
    centre_D = torch.zeros_like(codes_KD[0]) if cosine else codes_KD.mean(0)
    x_ND, e_KD = x_ND - centre_D, codes_KD - centre_D
    half_K = torch.zeros_like(e_KD[:, 0]) if cosine else e_KD.square().sum(1) / 2
    scores_NK = x_ND @ e_KD.t() - half_K
    reach_K, length_N1 = e_KD.square().sum(1).sqrt(), x_ND.square().sum(1, keepdim=True).sqrt()
    farthest_NK = length_N1 + reach_K
    slack_NK = gamma * farthest_NK * farthest_NK + D * torch.finfo(torch.float64).tiny
    lower_NK = scores_NK - slack_NK
    best_N1 = lower_NK.amax(1, keepdim=True) if topk == 1 else lower_NK.topk(topk, 1).values[:, -1:]
    keep_NK = ~(scores_NK + slack_NK < best_N1)
    if topk == 1:  # what could only tie with a lower index need not be measured
        keep_NK = keep_NK & _may_win(x_ND, codes_KD, cosine)
    return keep_NK


def _may_win(x_ND: Tensor, codes_KD: Tensor, cosine: bool) -> Tensor:
    """False for a code that repeats the one before it, as all do in a table that has not begun; and, where a row has no
    direction, for all but the first. (N, K) bool.
    """
    first_K = torch.arange(codes_KD.shape[0], device=codes_KD.device) == 0
    new_K = first_K | (codes_KD != codes_KD.roll(1, 0)).any(1)
    return new_K & (first_K | (x_ND != 0).any(1, keepdim=True)) if cosine else new_K[None]
