"""Balanced assignment: optimal transport from rows to codes, every code with the same share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqkit import distributed
from vqkit.errors import bad_value
from vqkit.functional.logits import code_logits, row_blocks
from vqkit.functional.nearest import METRICS, search_biased
from vqkit.kernels.ops import one_node
from vqkit.kernels.reference.unit import unit
from vqkit.shapes import check_choice, check_float, check_int, check_number, check_shape, check_tensor


@torch.no_grad()
def sinkhorn_assignment(
    x: Tensor,
    codebook: Tensor,
    valid: Tensor | None = None,
    *,
    epsilon: float = 0.1,
    iters: int = 5,
    metric: str = "euclidean",
    over_ranks: bool = False,
) -> Tensor:
    """Each row's largest entry of the balanced transport plan (Cuturi 2013, arXiv:1306.0895; as an assignment to codes
    OptVQ, Zhang et al. 2024, arXiv:2412.15195).

    The plan P = diag(a)·exp(−C/ε)·diag(b) gives every row one unit and every code N/K of them. C is |x − e|² (for
    cosine of unit vectors) without what depends on the row or the code alone, which changes no plan, over its standard
    deviation. So ε has no unit, and neither scale nor offset of the rows matters. The smaller it is, the nearer are
    the codes taken, and the more iterations it needs until they are even. Only the K logarithms of b are kept: scores
    are computed again in blocks in every iteration, so memory is N + K, and time that of iters + 1 searches.

    Args:
        x: rows (N, D), finite. codebook: codes (K, D). valid: (N,) bool, rows that count, or None for all.
        epsilon: ε > 0. iters: Sinkhorn iterations, >= 1. metric: ``"euclidean"`` or ``"cosine"``.
        over_ranks: balance over the rows of all ranks, every one of which must call this.

    Returns:
        indices (N,) int64, of rows that do not count too.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [0.1], [0.2], [0.3]])
        >>> sinkhorn_assignment(x, torch.tensor([[0.0], [9.0]]), iters=100)
        tensor([0, 0, 1, 1])
    """
    check_shape("codebook", check_float("codebook", codebook), ("K", "D"))
    if codebook.shape[0] == 0:
        raise bad_value("codebook", "at least one code", f"shape {tuple(codebook.shape)}")
    check_shape("x", check_float("x", x), ("N", codebook.shape[1]))
    check_number("epsilon", epsilon, 0, open_low=True)
    check_int("iters", iters)
    check_choice("metric", metric, [name for name in METRICS if name != "dot"])
    if valid is None:
        valid = torch.ones(x.shape[0], dtype=torch.bool, device=x.device)
    check_shape("valid", check_tensor("valid", valid), x.shape[:1])
    if metric == "cosine":
        x, codebook = unit(x), unit(codebook)  # |x − e|² is then 2(1 − cos)
    x_ND, codes_KD, spread = _centred(x, codebook, valid, over_ranks)
    width = epsilon * spread
    log_b = codes_KD.square().sum(1) / width  # cancels what the code alone adds
    for _ in range(iters):
        log_b = _balanced(x_ND, codes_KD, valid, width, log_b, over_ranks)
    return search_biased(x_ND[None], codes_KD[None], (width * log_b)[None])[0][0, :, 0]


def _centred(x: Tensor, codebook: Tensor, valid: Tensor, over_ranks: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and codes about their means, which changes no plan, and how much x·e then varies, twice: all float64.

    −2(x − x̄)·(e − ē) is what of |x − e|² neither row nor code alone explains. Its standard deviation is
    2·√tr(Cov x · Cov e): D×D matrices, no N×K.
    """
    centre_D = codebook.double().mean(0)
    codes_KD, x_ND = codebook.double() - centre_D, x.double() - centre_D
    kept_ND = torch.where(valid[:, None], x_ND, 0)
    sums = [kept_ND.t() @ kept_ND, kept_ND.sum(0), valid.sum().double()]
    gram_DD, total_D, count = distributed.summed(sums) if over_ranks else sums
    mean_D = total_D / count.clamp(min=1)
    rows_DD = gram_DD / count.clamp(min=1) - torch.outer(mean_D, mean_D)
    variance = 4 * (rows_DD * (codes_KD.t() @ codes_KD / codes_KD.shape[0])).sum()
    return x_ND - mean_D, codes_KD, torch.where(variance > 0, variance, 1).sqrt()


def _log_masses(x_ND: Tensor, codes_KD: Tensor, valid: Tensor, width: Tensor, log_b: Tensor) -> Tensor:
    """What every code gets when every row gives one unit, its logarithm: (K,) float64."""
    log_mass = torch.full_like(log_b, -torch.inf)
    for rows in row_blocks(x_ND.shape[0], codes_KD.shape[0]):
        log_kernel = code_logits(x_ND[rows], codes_KD, "euclidean").double() / width
        log_plan = log_kernel - (log_kernel + log_b).logsumexp(1, keepdim=True)
        log_plan = torch.where(valid[rows, None], log_plan, -torch.inf)
        log_mass = torch.logaddexp(log_mass, log_plan.logsumexp(0))
    return log_mass


@torch.library.custom_op("vqkit::sinkhorn_log_masses", mutates_args=())
def _log_masses_op(x_ND: Tensor, codes_KD: Tensor, valid: Tensor, width: Tensor, log_b: Tensor) -> Tensor:
    """``_log_masses`` as one node."""
    return _log_masses(x_ND, codes_KD, valid, width, log_b)


@_log_masses_op.register_fake
def _(x_ND: Tensor, codes_KD: Tensor, valid: Tensor, width: Tensor, log_b: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(log_b)


def _balanced(x_ND: Tensor, codes_KD: Tensor, valid: Tensor, width: Tensor, log_b: Tensor, over_ranks: bool) -> Tensor:
    """One iteration: every row to one unit, then every code to its share; log b (K,) float64."""
    K = codes_KD.shape[0]
    log_mass = (_log_masses_op if one_node(x_ND) else _log_masses)(x_ND, codes_KD, valid, width, log_b)
    count = valid.sum().double()
    if over_ranks:
        log_mass = distributed.gathered([log_mass])[0].logsumexp(0)
        (count,) = distributed.summed([count])
    # No row, no balance to seek.
    return torch.where(log_mass.isfinite(), count.log() - math.log(K) - log_mass, log_b)
