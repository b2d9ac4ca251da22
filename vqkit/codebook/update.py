"""How codes learn. A policy owns its state tensors and its one step; the codebook owns the vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from vqkit.errors import bad_type, bad_value
from vqkit.kernels import ops
from vqkit.shapes import check_flag, check_number

if TYPE_CHECKING:
    from vqkit.codebook.codebook import Codebook
    from vqkit.codebook.stats import BatchStats

Weight = float | Tensor | Callable[[Tensor, Tensor], "float | Tensor"] | None


class Update(Protocol):
    """How a codebook learns."""

    @property
    def by_gradient(self) -> bool:
        """Whether the vectors are a Parameter that losses reach."""
        ...

    @property
    def changes_output(self) -> bool:
        """Whether the step comes before the lookup, so that the forward returns the new codes."""
        ...

    def state(self, vectors: Tensor) -> dict[str, Tensor]:
        """Buffers, by name."""
        ...

    def step_(self, book: Codebook, stats: BatchStats, weight: Weight) -> None:
        """Learn from one step's statistics."""
        ...

    def moved_(self, book: Codebook, where: Tensor, weight: float | None) -> None:
        """Codes ``where`` (H, K) were put elsewhere: make the state agree, at this weight in rows (None: as it was)."""
        ...


class Stateless:
    """Nothing to keep and nothing to make agree."""

    by_gradient = False
    changes_output = False

    def state(self, vectors: Tensor) -> dict[str, Tensor]:
        del vectors
        return {}

    def moved_(self, book: Codebook, where: Tensor, weight: float | None) -> None:
        """Nothing to do: no state hangs on where a code is."""


@dataclass(frozen=True)
class EMA:
    """Codes are moving averages of the rows they draw (VQ-VAE, arXiv:1711.00937).

    n ← γn + (1 − γ)·count, m ← γm + (1 − γ)·sum, e = m/ñ with Laplace smoothing ñ = (n + ε)/(Σn + Kε)·Σn.

    Args:
        decay: γ. eps: ε.
        debias: divide n and m by what their start at zero leaves out, as Sonnet does.
        manual: the averages move each step, the codes only at ``Codebook.update_ema_()``.
        hold_idle: a code that drew no row in a step stays where it is. Its m and n shrink alike, so nothing was learned
            of it, and the smoothing would only pull it to zero. False writes it all the same, as Sonnet does: a code
            that was never hit then lies at zero from the first step on.
    """

    decay: float = 0.8
    eps: float = 1e-5
    debias: bool = False
    manual: bool = False
    hold_idle: bool = True
    by_gradient = False
    changes_output = False

    def __post_init__(self) -> None:
        check_number("decay", self.decay, 0, 1)
        check_number("eps", self.eps, 0)
        for name in ("debias", "manual", "hold_idle"):
            check_flag(name, getattr(self, name))

    def state(self, vectors: Tensor) -> dict[str, Tensor]:
        H, K, _ = vectors.shape
        start = 0.0 if self.debias else 1.0
        return {
            "ema_counts": torch.full((H, K), start, dtype=torch.float32),
            "ema_sums": vectors * start,
            # The share of the start still in the averages: Π(1 − rate). Per code, since a step's weight may be.
            "ema_start": torch.full((H, K), 1 - start, dtype=torch.float32),
            "ema_hit": torch.zeros(H, K, dtype=torch.bool),
        }

    def step_(self, book: Codebook, stats: BatchStats, weight: Weight) -> None:
        if callable(weight):
            largest = torch.finfo(torch.float32).max
            weight = weight(stats.sums.clamp(-largest, largest).float(), stats.counts.float())
        factor = None if weight is None else _factor(weight, stats.counts)
        ops.ema_step_(_averages(book), stats.counts, stats.sums, stats.rows, self.decay, factor)
        if not self.manual:
            self.write_(book)

    def write_(self, book: Codebook) -> None:
        """Write the averages of every code hit since the last writing into the vectors."""
        how = {"everywhere": not self.hold_idle, "unit_codes": book.unit_codes}
        ops.ema_write_(book.vectors, _averages(book), book.frozen, self.eps, **how)

    def moved_(self, book: Codebook, where: Tensor, weight: float | None) -> None:
        ops.ema_moved_(book.vectors, _averages(book), where, weight)


def _averages(book: Codebook) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return book.ema_counts, book.ema_sums, book.ema_start, book.ema_hit


def check_weight(weight: Weight, shape: Sequence[int]) -> None:
    """Raise unless a step's weight is None, a function, a number, or a tensor that broadcasts to (H, K)."""
    if weight is None or (callable(weight) and not isinstance(weight, Tensor)):
        return
    if isinstance(weight, bool) or not isinstance(weight, (int, float, Tensor)):
        raise bad_type("ema_update_weight", "a number, a tensor or a function that returns one", weight)
    got = weight.shape if isinstance(weight, Tensor) else ()
    if len(got) > 2 or any(a not in (1, b) for a, b in zip(got[::-1], shape[::-1], strict=False)):
        raise bad_value("ema_update_weight", f"a shape that broadcasts to {tuple(shape)}", tuple(got))


def _factor(weight: float | Tensor, counts: Tensor) -> Tensor:
    """A step's weight as a tensor (H, K); one that is not finite weighs nothing."""
    check_weight(weight, counts.shape)
    factor = torch.as_tensor(weight, dtype=torch.float32, device=counts.device)
    return torch.where(factor.isfinite(), factor, 0).clamp(min=0).expand(counts.shape)


@dataclass(frozen=True)
class Gradient(Stateless):
    """Codes are parameters: the caller's optimizer moves them, along the codebook loss times ``weight`` and whatever
    else reaches them.
    """

    weight: float = 1.0
    by_gradient = True

    def __post_init__(self) -> None:
        check_number("weight", self.weight, 0)

    def step_(self, book: Codebook, stats: BatchStats, weight: Weight) -> None:
        """Nothing to do: the optimizer steps."""


@dataclass(frozen=True)
class Fixed(Stateless):
    """Codes never learn."""

    def step_(self, book: Codebook, stats: BatchStats, weight: Weight) -> None:
        """Nothing to do."""
