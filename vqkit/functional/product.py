"""Product quantization with an optimised rotation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.functional.kmeans import kmeans
from vqkit.functional.lookup import take
from vqkit.functional.nearest import search
from vqkit.kernels import ops
from vqkit.shapes import check_float, check_int, check_shape


class RotatedCodes(NamedTuple):
    """rotation R (D, D), orthogonal, and codes (H, K, D/H) of the slices of x·R; float32."""

    rotation: Tensor
    codes: Tensor


@torch.no_grad()
def optimised_product(
    x: Tensor,
    num_codebooks: int,
    size: int,
    *,
    iters: int = 20,
    kmeans_iters: int = 10,
    generator: torch.Generator | None = None,
) -> RotatedCodes:
    """The rotation under which H codebooks of K codes lose least (OPQ, Ge et al. 2013, Optimized Product Quantization).

    Begins where the slices are independent and of equal spread (``balanced_rotation``), then alternates:
    a Lloyd step of every codebook on the slices of x·R, and R = U·Vᵀ from the singular vectors of xᵀ·decoded
    (orthogonal Procrustes, Schönemann 1966). Neither raises |x·R − decoded|².

    Args:
        x: rows (N, D), finite. num_codebooks: H, a divisor of D. size: codes K of each, at most N.
        iters: alternations. kmeans_iters: Lloyd iterations before the first and after the last one.
        generator: of the CPU; decides the seeds of k-means.

    Example:
        >>> import torch
        >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> found = optimised_product(x, 2, 8)
        >>> found.codes.shape, (found.rotation @ found.rotation.t()).allclose(torch.eye(4), atol=1e-5)
        (torch.Size([2, 8, 2]), True)
    """
    rotation = balanced_rotation(x, num_codebooks)
    check_int("iters", iters, 0)
    rows = x.float()
    slices = _slices(rows @ rotation, num_codebooks)
    codes = torch.stack([kmeans(s, size, iters=kmeans_iters, generator=generator).centroids for s in slices])
    for _ in range(iters):
        codes, decoded = _lloyd(_slices(rows @ rotation, num_codebooks), codes)
        U, _, Vt = torch.linalg.svd(rows.double().t() @ decoded.double())
        rotation = (U @ Vt).float()
    for _ in range(kmeans_iters):
        codes, _ = _lloyd(_slices(rows @ rotation, num_codebooks), codes)
    return RotatedCodes(rotation, codes)


@torch.no_grad()
def balanced_rotation(x: Tensor, num_codebooks: int) -> Tensor:
    """Principal axes dealt out so that all slices have as equal a product of variances as can be: (D, D) float32
    (eigenvalue allocation, Ge et al. 2013). Optimal for Gaussian rows.

    Args:
        x: rows (N, D), finite. num_codebooks: slices H, a divisor of D.

    Example:
        >>> import torch
        >>> x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([4.0, 3.0, 2.0, 1.0])
        >>> (x @ balanced_rotation(x, 2)).var(0).round().int().tolist()  # 16·1 beside 9·4
        [15, 1, 10, 4]
    """
    check_shape("x", check_float("x", x), ("N", "D"))
    D = x.shape[1]
    if D % check_int("num_codebooks", num_codebooks):
        raise bad_value("num_codebooks", f"a divisor of the width {D}", num_codebooks)
    if x.shape[0] == 0:
        raise bad_value("x", "at least one row", "none")
    rows = x.double() - x.double().mean(0)
    variances, axes = torch.linalg.eigh(rows.t() @ rows / rows.shape[0])
    logs = variances.clamp(min=torch.finfo(torch.float64).tiny).log().tolist()
    slices: list[list[int]] = [[] for _ in range(num_codebooks)]
    products = [0.0] * num_codebooks
    for axis in reversed(range(D)):  # the widest first
        open_ones = [h for h in range(num_codebooks) if len(slices[h]) < D // num_codebooks]
        h = min(open_ones, key=lambda h: products[h])
        slices[h].append(axis)
        # Counted from the least, so that no axis makes a slice look emptier than it was.
        products[h] += logs[axis] - logs[0]
    return axes[:, [axis for members in slices for axis in members]].float()


def _slices(rows: Tensor, num_codebooks: int) -> Tensor:
    """(N, D) to (H, N, D/H)."""
    return rows.reshape(rows.shape[0], num_codebooks, -1).transpose(0, 1)


def _lloyd(slices_HND: Tensor, codes_HKD: Tensor) -> tuple[Tensor, Tensor]:
    """The means of the rows that each code drew (one that drew none stays), and the rows decoded from them (N, D)."""
    indices_HN = search(slices_HND, codes_HKD, "euclidean")[0][..., 0]
    counts, sums = ops.code_sums(slices_HND, indices_HN, codes_HKD.shape[1], "")
    means = (sums / counts.clamp(min=1)[..., None]).to(codes_HKD.dtype)
    codes = torch.where(counts[..., None] > 0, means, codes_HKD)
    return codes, take(codes, indices_HN).transpose(0, 1).flatten(1)
