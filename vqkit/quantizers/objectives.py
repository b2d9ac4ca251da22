"""Loss terms as policies. The maths is in ``functional.losses``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from vqkit import distributed, functional
from vqkit.codebook.update import Update
from vqkit.errors import ArgumentError, bad_type
from vqkit.functional.assignment import assignment_error
from vqkit.functional.losses import masked_mean, weighted
from vqkit.quantizers.estimators import Estimator
from vqkit.quantizers.output import LossBreakdown
from vqkit.shapes import check_flag, check_int, check_number


@dataclass(frozen=True)
class Assignment:
    """One forward, as the loss terms see it: x, q (H, N, D), codes (H, K, D), indices and valid (H, N), metric.

    tabled: whether q are the ``codes`` of the indices. squared: |x − q|² (H, N) float64 where the search measured it.
    soft: the output (H, N, D) with its gradient, where the choice itself made one (Gumbel, IBQ), else None.
    over_ranks: statistics of the batch are those of all ranks.
    """

    x: Tensor
    q: Tensor
    codes: Tensor
    indices: Tensor
    valid: Tensor
    metric: str
    soft: Tensor | None = None
    over_ranks: bool = False
    tabled: bool = True
    squared: Tensor | None = None

    @property
    def heads(self) -> range:
        return range(self.codes.shape[0])


class Objective(Protocol):
    """One weighted loss term; ``term`` names its place in ``LossBreakdown``."""

    term: ClassVar[str]

    @property
    def weight(self) -> float: ...

    def __call__(self, step: Assignment) -> Tensor:
        """The unweighted term, () float32."""
        ...


def check_objectives(name: str, value: object) -> None:
    """Raise unless ``value`` is a sequence of objectives, not of their classes."""
    terms = value if isinstance(value, Sequence) and not isinstance(value, str) else [None]
    if any(isinstance(term, type) or not hasattr(term, "term") for term in terms):
        raise bad_type(name, "a sequence of objectives of vqkit.quantizers, such as (Commitment(),)", value)


@dataclass(frozen=True)
class _Weighted:
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_number("weight", self.weight, 0)


@dataclass(frozen=True)
class Commitment(_Weighted):
    """mean |x − sg(q)|²; β of VQ-VAE is the weight."""

    term: ClassVar[str] = "commitment"

    def __call__(self, step: Assignment) -> Tensor:
        if step.tabled:
            return assignment_error(step.x, step.codes, step.indices, step.squared, to_codes=False)
        squared = (step.x - step.q.detach()).square().flatten(0, 1)
        return masked_mean(squared, step.valid.flatten()).float()


@dataclass(frozen=True)
class CodebookFit(_Weighted):
    """mean |sg(x) − q|²; what moves codes that learn by gradient."""

    term: ClassVar[str] = "codebook"

    def __call__(self, step: Assignment) -> Tensor:
        if step.tabled:
            return assignment_error(step.x, step.codes, step.indices, step.squared, to_rows=False)
        squared = (step.x.detach() - step.q).square().flatten(0, 1)
        return masked_mean(squared, step.valid.flatten()).float()


@dataclass(frozen=True)
class SoftCommitment(_Weighted):
    """mean |x − y|² with y the output and its softmax gradient, to both sides: aligns scores and codes (IBQ)."""

    term: ClassVar[str] = "commitment"

    def __call__(self, step: Assignment) -> Tensor:
        output = step.q if step.soft is None else step.soft
        squared = (step.x - output).square().flatten(0, 1)
        return masked_mean(squared, step.valid.flatten()).float()


@dataclass(frozen=True)
class CrossEntropyCommitment(_Weighted):
    """−log softmax of the row's own code among all codes, in place of the plain commitment."""

    term: ClassVar[str] = "commitment"

    def __call__(self, step: Assignment) -> Tensor:
        losses = [
            functional.cross_entropy_loss(step.x[h], step.codes[h], step.indices[h], metric=step.metric)
            for h in step.heads
        ]
        return torch.stack(losses).mean()


@dataclass(frozen=True)
class Orthogonal(_Weighted):
    """Pushes codes apart in angle; acts on codes that learn by gradient."""

    max_codes: int | None = None
    active_only: bool = False
    term: ClassVar[str] = "orthogonal_reg"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("active_only", self.active_only)
        if self.max_codes is not None:
            check_int("max_codes", self.max_codes)

    def __call__(self, step: Assignment) -> Tensor:
        K = step.codes.shape[1]
        losses = []
        for h in step.heads:
            active = None
            if self.active_only:
                slot = torch.where(step.valid[h], step.indices[h], K)
                active = torch.zeros(K + 1, dtype=torch.bool, device=slot.device).index_fill(0, slot, True)[:K]
                active = distributed.summed([active])[0] if step.over_ranks else active
            losses.append(functional.orthogonal_loss(step.codes[h], active, self.max_codes))
        return torch.stack(losses).mean()


@dataclass(frozen=True)
class Diversity(_Weighted):
    """The negative entropy of how all rows spread over the codes."""

    temperature: float = 100.0
    term: ClassVar[str] = "codebook_diversity"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("temperature", self.temperature, 0, open_low=True)

    def __call__(self, step: Assignment) -> Tensor:
        losses = [
            functional.diversity_loss(
                step.x[h],
                step.codes[h],
                step.valid[h],
                temperature=self.temperature,
                metric=step.metric,
                over_ranks=step.over_ranks,
            )
            for h in step.heads
        ]
        return torch.stack(losses).mean()


@dataclass(frozen=True)
class Entropy(_Weighted):
    """a·(mean entropy of the rows' softmax over codes) − b·(entropy of its mean): sure choices, even use.

    ``temperature``: τ, which divides the scores. ``sure``: a. ``even``: b.
    """

    temperature: float = 0.01
    sure: float = 1.0
    even: float = 1.0
    term: ClassVar[str] = "codebook_diversity"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("temperature", self.temperature, 0, open_low=True)
        check_number("sure", self.sure, 0)
        check_number("even", self.even, 0)

    def __call__(self, step: Assignment) -> Tensor:
        losses = []
        for h in step.heads:
            found = functional.code_entropies(
                step.x[h],
                step.codes[h],
                step.valid[h],
                temperature=self.temperature,
                metric=step.metric,
                over_ranks=step.over_ranks,
            )
            losses.append(self.sure * found.per_row - self.even * found.overall)
        return torch.stack(losses).mean()


def with_codebook_fit(terms: tuple[Objective, ...], update: Update, estimator: Estimator) -> tuple[Objective, ...]:
    """The loss terms, and the one that moves codes that learn by gradient, if their ``update`` has a weight for it."""
    if any(isinstance(term, Orthogonal) and term.weight for term in terms) and not update.by_gradient:
        raise ArgumentError(
            f"objectives: Orthogonal moves codes by gradient, so expected update Gradient, got {update}"
        )
    weight = getattr(update, "weight", 0.0) if update.by_gradient else 0.0
    # DiVeQ and NSVQ carry the task's gradient to the codes themselves.
    return terms if not weight or estimator.stochastic else (*terms, CodebookFit(weight))


def total_loss(
    objectives: Iterable[Objective], step: Assignment, targets: Tensor | None
) -> tuple[Tensor, LossBreakdown]:
    """The weighted sum () float32 and its terms; with targets (H, N), −1 for none, their cross-entropy in its place."""
    zero = step.x.new_zeros((), dtype=torch.float32)
    terms = dict.fromkeys(LossBreakdown._fields, zero)
    if targets is not None:
        wanted = torch.where(step.valid, targets, -1)
        scores = [
            functional.cross_entropy_loss(step.x[h], step.codes[h], wanted[h], metric=step.metric) for h in step.heads
        ]
        terms["cross_entropy"] = torch.stack(scores).mean()
        return terms["cross_entropy"], LossBreakdown(**terms)
    loss: Tensor | None = None
    for objective in objectives:
        value = objective(step)
        known = terms[objective.term]
        terms[objective.term] = value if known is zero else known + value
        part = weighted(objective.weight, value)
        loss = part if loss is None else loss + part
    return zero if loss is None else loss, LossBreakdown(**terms)
