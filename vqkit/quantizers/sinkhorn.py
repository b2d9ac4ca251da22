"""``SinkhornVQ``: training assigns rows to codes in balance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.errors import ArgumentError
from vqkit.functional.sinkhorn import sinkhorn_assignment
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import GumbelStraightThrough, IndexBackpropagation
from vqkit.quantizers.vector import VectorQuantize
from vqkit.shapes import check_int, check_number


@registered
class SinkhornVQ(VectorQuantize):
    """A ``VectorQuantize`` whose training indices come from a balanced transport plan (OptVQ, Zhang et al. 2024,
    arXiv:2412.15195): every code gets about as many rows, so none dies. Eval takes the nearest code.

    The plan balances the rows of a forward, of all ranks and of each table; micro-batches are balanced one by one. It
    costs ``iters`` + 1 passes over all pairs of rows and codes, in blocks (see ``functional.sinkhorn``).

    Args:
        dim: width of the input. codebook_size: number of codes K.
        epsilon: how soft the plan is, as a share of how much distances vary.
        iters: Sinkhorn iterations a step.
        **options: those of ``VectorQuantize``. ``revive`` is None unless given. Estimators that choose the code
            themselves, and codes drawn at random, leave nothing to balance and are refused.

    Example:
        >>> import torch
        >>> vq = SinkhornVQ(dim=4, codebook_size=16)
        >>> _ = torch.manual_seed(0)
        >>> vq(torch.randn(160, 4) + 10).indices.unique().numel()
        16
    """

    def __init__(self, dim: int, codebook_size: int, *, epsilon: float = 0.1, iters: int = 5, **options: Any):
        if not {"revive", "threshold_ema_dead_code"} & options.keys():
            options["revive"] = None
        super().__init__(dim, codebook_size, **options)
        self.epsilon = check_number("epsilon", epsilon, 0, open_low=True)
        self.iters = check_int("iters", iters)
        self._arguments |= {"epsilon": epsilon, "iters": iters}
        if isinstance(self.estimator, (GumbelStraightThrough, IndexBackpropagation)) or self.stochastic:
            chooser = "stochastic_sample_codes" if self.stochastic else f"estimator {self.estimator}"
            raise ArgumentError(f"{chooser}: expected one that leaves the choice of codes to the transport plan")
        if self.book.metric == "dot":
            raise ArgumentError("metric: expected 'euclidean' or 'cosine', a distance to transport over, got 'dot'")

    def _select(
        self, x_HND: Tensor, valid_HN: Tensor, codes: Tensor, temperature: float
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        if not self.training:
            return super()._select(x_HND, valid_HN, codes, temperature)
        balance = {"epsilon": self.epsilon, "iters": self.iters, "metric": self.book.metric}
        heads = zip(x_HND, codes, valid_HN, strict=True)
        found = [sinkhorn_assignment(x, c, v, over_ranks=self.book.sync, **balance) for x, c, v in heads]
        return None, torch.stack(found), None
