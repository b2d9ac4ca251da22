"""One step of a quantizer, as a model takes it: a dense gradient comes back from the decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Stepped:
    """What a training step made: quantized, indices, loss (zero where there is none), gradient to the input."""

    def __init__(self, out: Sequence[Tensor], gradient: Tensor):
        self.quantized, self.indices = out[0].detach(), out[1]
        self.loss = out[2].detach() if len(out) > 2 else torch.zeros(())
        self.gradient = gradient


def train(module: nn.Module, x: Tensor, upstream: Tensor | None) -> Stepped:
    """Forward and backward; ``upstream``: the gradient of the quantized output, None for that of the loss alone."""
    rows = x.detach().requires_grad_()
    out: Any = module(rows)
    ends: list[tuple[Tensor, Tensor | None]] = [] if upstream is None else [(out[0], upstream)]
    if len(out) > 2:
        ends.append((out[2].sum(), None))
    torch.autograd.backward([end for end, _ in ends], [gradient for _, gradient in ends])
    assert rows.grad is not None
    return Stepped(out, rows.grad)


def training(module: nn.Module, inputs: list[Tensor], upstream: Tensor) -> Callable[[int], object]:
    module.train()
    return lambda turn: train(module, inputs[turn % len(inputs)], upstream)


def evaluation(module: nn.Module, inputs: list[Tensor]) -> Callable[[int], Any]:
    module.eval()

    def step(turn: int) -> Any:
        with torch.no_grad():
            return module(inputs[turn % len(inputs)])

    return step
