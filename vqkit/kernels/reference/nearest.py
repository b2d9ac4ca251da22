"""Exact nearest codes: screen in float32, verify in float64.

Screening. Minimising |x − e|² over codes is maximising s(e) = x'·e' − ½|e'|² with x' = x − c, e' = e − c for any centre
c; the codebook's mean removes the cancellation that offset data would cause. Cosine is the same with x̂·(ê − c): the
dropped term x̂·c is one number per row.

The bound. Let u = 2⁻²⁴. A float32 subtraction has relative error u, so every x'ᵢ, e'ᵢ carries a factor (1 + δ),
|δ| ≤ u (a normalised x̂ᵢ: a common factor that changes no order, times (1 + δ)²). A product sum of D terms in any
order, fused or not, is off by at most γ_D Σ|x'ᵢe'ᵢ| ≤ γ_D |x'||e'|, where γ_n = nu / (1 − nu) (Higham, Accuracy and
Stability of Numerical Algorithms, §3.1); the norms and the last subtraction add fewer than eight more factors. Hence
|s_computed − s| ≤ β_e := γ_{D+8} (|x'||e'| + ½|e'|²) + D·2⁻¹²⁶; the last term covers products that underflow. Both
sides are first scaled by the power of two that brings the largest |e'| near one, so codes far from one neither
overflow nor underflow. A code with s_computed + β below the T-th largest s_computed − β cannot be among the T nearest.
Overflow turns scores or β into inf or NaN, and NaN compares false, so such rows keep every code.

Verifying. The survivors, nearly always one, are measured again in float64 straight from differences, where identical
codes give identical distances and so ties go to the lowest index. Where many survive, because many codes are the same,
the search goes on among the different ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vqkit.kernels.reference.unit import unit

SCORES_PER_BLOCK = 2**21  # 8 MiB of float32: stays in cache, and no N×K is ever built
TERMS_PER_CHUNK = 2**22  # float64 differences held at once while verifying
MANY = 16  # survivors a row from which on it pays to look for repeated codes


def nearest(x_HND: Tensor, codebook_HKD: Tensor, metric: str, topk: int) -> tuple[Tensor, Tensor]:
    """Return indices (H, N, T) int64 and distances (H, N, T) float64, nearest first; −x·e for ``"dot"``.

    Rows that hold NaN or inf get index −1 and distance inf. Codes must be finite.
    """
    if metric == "dot":
        return largest_product(x_HND, codebook_HKD, topk, nearest)
    H, N, _ = x_HND.shape
    indices = torch.empty((H, N, topk), dtype=torch.int64, device=x_HND.device)
    distances = torch.empty((H, N, topk), dtype=torch.float64, device=x_HND.device)
    with torch.autocast(x_HND.device.type, enabled=False):
        for head in range(H):
            search = _Search(codebook_HKD[head], metric, topk)
            for start in range(0, N, search.rows_per_block):
                rows = slice(start, start + search.rows_per_block)
                indices[head, rows], distances[head, rows] = search(x_HND[head, rows])
    return indices, distances


def lifted(x_HND: Tensor, codebook_HKD: Tensor, bias_HK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, codes and a number a head, t, such that |x − e|² − b of the rows and codes given, with a number b for every
    code, is |x − e|² − t of those returned: points with one coordinate more, √(t − b) for a code, zero for a row.
    """
    top_H1 = bias_HK.amax(1, keepdim=True)
    height_HK1 = (top_H1 - bias_HK).sqrt()[..., None].double()
    codes = torch.cat([codebook_HKD.double(), height_HK1], -1)
    return torch.nn.functional.pad(x_HND.double(), (0, 1)), codes, top_H1[..., None]


def largest_product(
    x_HND: Tensor, codebook_HKD: Tensor, topk: int, search: Callable[..., tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """``nearest`` for ``"dot"`` by that for ``"euclidean"``: −2x·e = |x − e|² − |e|² − |x|²."""
    rows, codes, top_H11 = lifted(x_HND, codebook_HKD, codebook_HKD.double().square().sum(-1))
    indices, distances = search(rows, codes, "euclidean", topk)
    distances = (distances - top_H11 - x_HND.double().square().sum(-1, keepdim=True)) / 2
    return indices, torch.where(indices < 0, torch.inf, distances)


def nearest_index(x_HND: Tensor, codebook_HKD: Tensor, metric: str) -> Tensor:
    """``nearest`` without the distances: (H, N) int64."""
    return nearest(x_HND, codebook_HKD, metric, 1)[0][..., 0]


class _Search:
    """One codebook, prepared for screening."""

    def __init__(self, codes_KD: Tensor, metric: str, topk: int):
        K, D = codes_KD.shape
        self.topk, self.cosine = topk, metric == "cosine"
        self.rows_per_block = max(16, SCORES_PER_BLOCK // max(K, D))
        terms = (D + 8) * 2.0**-24
        self.gamma, self.underflow = terms / (1 - terms), D * 2.0**-126
        self.screens_exactly = _float32_product_is_ieee(codes_KD.device)
        exact = codes_KD.double()
        self._prepare(unit(exact) if self.cosine else exact)
        self.number_K: Tensor | None = None  # of each code searched, its lowest index; None: its own

    def _prepare(self, codes_KD: Tensor) -> None:
        self.codes_KD = codes_KD
        # The centre is a float32 number, so that one rounding and no more separates x − c from the truth.
        self.centre_D = codes_KD.mean(0).float().double()
        shifted = codes_KD - self.centre_D
        _, exponent = torch.frexp(shifted.norm(dim=1).amax())
        self.scale = torch.ldexp(torch.ones_like(self.centre_D[0]), -exponent)
        shifted = shifted * self.scale
        self.screen_DK = shifted.float().t()
        half = torch.zeros_like(shifted[:, 0]) if self.cosine else shifted.square().sum(1) / 2
        self.minus_half_K = -half.float()
        self.reach_K = shifted.norm(dim=1).float()

    def __call__(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        finite_N = x_ND.isfinite().all(1)
        exact_ND = torch.where(finite_N[:, None], x_ND, 0).double()
        if self.cosine:
            exact_ND = unit(exact_ND)
        keep_NK = self._survivors(exact_ND)
        if self._many(keep_NK) and self._leave_out_repeats():
            keep_NK = self._survivors(exact_ND)
        row, code = keep_NK.nonzero().unbind(1)
        distance = self._measure(exact_ND, row, code)
        if self.topk == 1:
            indices, distances = _closest(row, code, distance, x_ND.shape[0], keep_NK.shape[1])
        else:
            indices, distances = _sorted(row, code, distance, keep_NK.sum(1), self.topk)
        indices = indices if self.number_K is None else self.number_K[indices]
        return torch.where(finite_N[:, None], indices, -1), torch.where(finite_N[:, None], distances, torch.inf)

    def _many(self, keep_NK: Tensor) -> bool:
        return self.topk == 1 and self.number_K is None and int(keep_NK.sum()) > MANY * keep_NK.shape[0]

    def _leave_out_repeats(self) -> bool:
        """Go on with the different codes only, in the order of their lowest index; whether there were repeats."""
        K = self.codes_KD.shape[0]
        _, group_K = torch.unique(self.codes_KD, dim=0, return_inverse=True)
        index_K = torch.arange(K, device=group_K.device)
        lowest_K = torch.full_like(index_K, K).scatter_reduce_(0, group_K, index_K, "amin")
        self.number_K = lowest_K[lowest_K < K].sort().values
        self._prepare(self.codes_KD[self.number_K])
        return self.number_K.shape[0] < K

    def _survivors(self, exact_ND: Tensor) -> Tensor:
        """Mark every code that may be among the nearest: (N, K) of this block, bool."""
        shifted = exact_ND if self.cosine else exact_ND - self.centre_D
        shifted_ND = (shifted * self.scale).float()
        if self.screens_exactly:
            scores_NK = torch.addmm(self.minus_half_K, shifted_ND, self.screen_DK)
        else:
            product = shifted_ND.double() @ self.screen_DK.double()
            scores_NK = (product + self.minus_half_K.double()).float()
        slack_NK = torch.outer(shifted_ND.norm(dim=1) * self.gamma, self.reach_K)
        slack_NK += self.gamma * self.reach_K.square() / 2 + self.underflow
        lower_NK = scores_NK - slack_NK
        best_N = lower_NK.amax(1) if self.topk == 1 else lower_NK.topk(self.topk, dim=1).values[:, -1]
        return ~(scores_NK + slack_NK < best_N[:, None])

    def _measure(self, exact_ND: Tensor, row_P: Tensor, code_P: Tensor) -> Tensor:
        """Distances (P,) float64 of pairs: |x − e|², or 1 − cos (1 where either vector is zero)."""
        chunk = max(1, TERMS_PER_CHUNK // exact_ND.shape[1])
        pieces = []
        for rows, codes in zip(row_P.split(chunk), code_P.split(chunk), strict=True):
            x_PD, e_PD = exact_ND[rows], self.codes_KD[codes]
            squared_P = (x_PD - e_PD).square().sum(1)
            if self.cosine:
                directed_P = x_PD.any(1) & e_PD.any(1)
                squared_P = torch.where(directed_P, squared_P / 2, 1.0)
            pieces.append(squared_P)
        return torch.cat(pieces) if pieces else exact_ND.new_empty(0)


def _closest(row_P: Tensor, code_P: Tensor, distance_P: Tensor, rows: int, codes: int) -> tuple[Tensor, Tensor]:
    """Of each row's pairs the closest, of equals the lowest code: (rows, 1) each."""
    if row_P.shape[0] == rows:  # every row has one survivor, in order
        return code_P[:, None], distance_P[:, None]
    least = distance_P.new_full((rows,), torch.inf).scatter_reduce_(0, row_P, distance_P, "amin")
    # Not "greater" rather than "equal": NaN codes of a run that diverged still give an index that exists.
    contender = torch.where(distance_P > least[row_P], codes, code_P)
    return code_P.new_full((rows,), codes).scatter_reduce_(0, row_P, contender, "amin")[:, None], least[:, None]


def _sorted(row_P: Tensor, code_P: Tensor, distance_P: Tensor, count_N: Tensor, topk: int) -> tuple[Tensor, Tensor]:
    """Of each row's pairs the ``topk`` closest, nearest first: (rows, topk) each."""
    # Stable sorts: by distance, then by row; equal distances stay in the order of their code.
    order = distance_P.argsort(stable=True)
    order = order[row_P[order].argsort(stable=True)]
    first_N = count_N.cumsum(0) - count_N
    picked = order[first_N[:, None] + torch.arange(topk, device=row_P.device)]
    return code_P[picked], distance_P[picked]


def _float32_product_is_ieee(device: torch.device) -> bool:
    """Whether a float32 matrix product rounds as the bound assumes, not to TF32 or bfloat16."""
    try:
        if device.type == "cuda":
            return not torch.backends.cuda.matmul.allow_tf32
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set through torch's newer switches, which the older ones then refuse to speak of
        return False
