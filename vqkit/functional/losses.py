"""Loss terms of learned codebooks. Means run over all values of all rows that count (``valid``, (N,) bool, or None)."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.functional.affinity import affinity
from vqkit.functional.counted import zero_unless
from vqkit.functional.nearest import METRICS
from vqkit.functional.softmax_cross_entropy import softmax_cross_entropy
from vqkit.functional.softmax_entropy import code_entropies
from vqkit.kernels.reference.unit import unit
from vqkit.shapes import check_choice, check_float, check_indices, check_int, check_number, check_shape, check_tensor


def masked_mean(values: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of ``values`` (N, ...) over the rows that count; zero when none does. No data-dependent shape."""
    if valid is None:
        return values.sum() / max(1, values.numel())
    kept = zero_unless(valid, values)
    per_row = values[0].numel() if values.shape[0] else 1
    return kept.sum() / (valid.sum() * per_row).clamp(min=1)


def weighted(weight: float, value: Tensor) -> Tensor:
    """weight·value, with its gradient; of weight zero it is zero even where the value overflowed.

    >>> import torch
    >>> weighted(0.0, torch.tensor(torch.inf)).item()
    0.0
    """
    return weight * (value if weight else value.clamp(max=torch.finfo(value.dtype).max))


def _check_rows(x: Tensor, q: Tensor, valid: Tensor | None) -> None:
    check_float("x", x)
    check_float("q", q)
    if x.shape != q.shape:
        raise bad_value("q", f"shape {tuple(x.shape)}, that of x", f"shape {tuple(q.shape)}")
    _check_valid(x, valid)


def _check_valid(x: Tensor, valid: Tensor | None) -> None:
    if valid is not None:
        check_shape("valid", check_tensor("valid", valid), x.shape[:1])


def commitment_loss(x: Tensor, q: Tensor, valid: Tensor | None = None) -> Tensor:
    """mean |x − sg(q)|²: pulls the encoder to its codes (VQ-VAE, arXiv:1711.00937, eq. 3, third term, as a mean over
    D too).

    >>> import torch
    >>> commitment_loss(torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0]])).item()
    2.0
    """
    _check_rows(x, q, valid)
    return masked_mean((x - q.detach()).square(), valid)


def codebook_loss(x: Tensor, q: Tensor, valid: Tensor | None = None) -> Tensor:
    """mean |sg(x) − q|²: pulls the codes to the encoder (VQ-VAE, arXiv:1711.00937, eq. 3, second term, as a mean over
    D too).

    >>> import torch
    >>> codebook_loss(torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0]])).item()
    2.0
    """
    _check_rows(x, q, valid)
    return masked_mean((x.detach() - q).square(), valid)


def cross_entropy_loss(
    x: Tensor, codebook: Tensor, indices: Tensor, *, metric: str = "euclidean", temperature: float = 1.0
) -> Tensor:
    """mean −log p(index | x) with p = softmax(−|x − e|²/τ): classification against the codes, in blocks, never N×K at
    once.

    With the rows' own indices it is a commitment loss that also pushes away from the other codes; with given indices it
    scores a prediction. Rows of index −1 do not count.

    Args:
        x: rows (N, D). codebook: codes (K, D). indices: (N,) int64. metric: ``"cosine"`` uses cos(x, e)/τ,
            ``"dot"`` x·e/τ. temperature: τ.

    Example:
        >>> import torch
        >>> codes = torch.tensor([[0.0], [1.0]])
        >>> round(cross_entropy_loss(torch.tensor([[0.5]]), codes, torch.tensor([0])).item(), 4)  # ln 2
        0.6931
    """
    check_shape("codebook", check_float("codebook", codebook), ("K", "D"))
    check_shape("x", check_float("x", x), ("N", codebook.shape[1]))
    check_shape("indices", check_indices("indices", indices), x.shape[:1])
    check_choice("metric", metric, METRICS)
    check_number("temperature", temperature, 0, open_low=True)

    total = softmax_cross_entropy(affinity(x, codebook, metric, temperature), indices.long())
    return total / (indices >= 0).sum().clamp(min=1)


def diversity_loss(
    x: Tensor,
    codebook: Tensor,
    valid: Tensor | None = None,
    *,
    temperature: float = 100.0,
    metric: str = "euclidean",
    over_ranks: bool = False,
) -> Tensor:
    """−H(mean over rows of softmax(−T|x − e|²)): the negative entropy, in nats, of how all rows spread over the codes.

    Between −ln K (even use, the optimum) and 0. The mean runs over every row that counts, not over batch items.

    Args:
        x: rows (N, D). codebook: codes (K, D). valid: (N,) bool or None. temperature: the sharpness T (it multiplies).
            over_ranks: the rows of all ranks, every one of which must call this.

    Example:
        >>> import torch
        >>> codes = torch.tensor([[0.0], [1.0]])
        >>> round(diversity_loss(torch.tensor([[0.0], [1.0]]), codes).item(), 4)  # −ln 2
        -0.6931
    """
    check_number("temperature", temperature, 0, open_low=True)
    return -code_entropies(
        x, codebook, valid, temperature=1 / temperature, metric=metric, over_ranks=over_ranks, with_rows=False
    ).overall


def orthogonal_loss(codebook: Tensor, active: Tensor | None = None, max_codes: int | None = None) -> Tensor:
    """|ÊÊᵀ − I|²_F / K² with Ê the unit codes: pushes codes apart in angle (Shin et al. 2021, arXiv:2112.00384).

    Uses |ÊÊᵀ|_F = |ÊᵀÊ|_F, a D×D product, so no K×K is built.

    Args:
        codebook: codes (K, D). active: (K,) bool, the codes that count (None: all). max_codes: at most so many, at
            random.

    Example:
        >>> import torch
        >>> orthogonal_loss(torch.eye(3)).item(), round(orthogonal_loss(torch.ones(2, 3)).item(), 4)
        (0.0, 0.5)
    """
    check_shape("codebook", check_float("codebook", codebook), ("K", "D"))
    K = codebook.shape[0]
    if active is not None:
        check_shape("active", check_tensor("active", active), (K,))
    kept_K = torch.ones(K, dtype=torch.bool, device=codebook.device) if active is None else active
    if max_codes is not None and check_int("max_codes", max_codes) < K:
        # Random ranks, those that do not count last; the first max_codes of them stay.
        drawn_K = torch.rand(K, dtype=torch.float32, device=codebook.device)
        rank_K = torch.where(kept_K, drawn_K, 2.0).argsort().argsort()
        kept_K = kept_K & (rank_K < max_codes)
    unit_KD = torch.where(kept_K[:, None], unit(codebook.float()), 0)
    count = kept_K.sum().clamp(min=1)
    with torch.autocast(codebook.device.type, enabled=False):
        return ((unit_KD.t() @ unit_KD).square().sum() / count - unit_KD.square().sum() / count) / count
