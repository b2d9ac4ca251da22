"""One case of the contract: a quantizer, the shape it takes, and what is peculiar about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tests.contracts.compare import loss_of
from vqkit.quantizers import Quantizer

DIM, SIZE = 12, 16


@dataclass(frozen=True)
class Case:
    """A quantizer and the shape it takes, DIM channels wide.

    draws: training consumes torch's random numbers, so reshaped batches differ. noisy: the training output is not a
    code. projects: a learned map lies between input and codes, and may round differently in another batch.
    pools: rows are not quantized one by one, so what holds row by row does not apply.
    width: channels of the output, where they are not those of the input.
    couples: training chooses codes for all rows of a batch together, so micro-batches choose otherwise.
    counts: it knows its usage. drops: training leaves out stages at random.
    moves_within: codes move within the forward, before later stages see what is left.
    returns_vectors: False where forward returns indices alone, so that what the contract says of vectors does not
    apply (``test_indices_alone.py`` holds the rest). options: what it was made of.
    """

    name: str
    make: Callable[[], Quantizer]
    shape: tuple[int, ...] = (2, 9, DIM)
    draws: bool = False
    noisy: bool = False
    projects: bool = False
    pools: bool = False
    couples: bool = False
    width: int = DIM
    counts: bool = True
    drops: bool = False
    moves_within: bool = False
    returns_vectors: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def rows_last(self) -> bool:
        """Whether it takes sequences with channels last."""
        return self.shape == (2, 9, DIM) and not self.pools

    def build(self, seed: int = 0) -> Quantizer:
        torch.manual_seed(seed)
        return self.make()

    def x(self, seed: int = 0) -> Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(seed)) * 0.7

    def trained(self, steps: int = 3) -> Quantizer:
        """The quantizer after a few steps of the loop a user writes."""
        quantizer = self.build()
        parameters = [p for p in quantizer.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.1) if parameters else None
        for step in range(steps):
            out = quantizer(self.x(100 + step))
            loss = out.quantized.square().mean() + loss_of(out)
            if optimizer is not None and loss.requires_grad:  # a frozen table moves nothing, and x is data here
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return quantizer
