"""Which tensor each estimator sends gradient to, under every quantizer with a table of its own kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from vqkit import ProductQuantize, SinkhornVQ
from vqkit.codebook import EMA, Gradient
from vqkit.quantizers import DiVeQ, NoGradient, NoiseSubstitution, Quantizer, Rotation, StraightThrough

DIM, SIZE = 12, 16
MAKERS: dict[str, Callable[..., Quantizer]] = {
    "sinkhorn": lambda **policies: SinkhornVQ(DIM, SIZE, **policies),
    "product": lambda **policies: ProductQuantize(DIM, 3, SIZE, "random", revive=None, **policies),
}
# estimator, update -> does the task's gradient reach (x, codes)?; do the loss terms reach (x, codes)?
TABLE = [
    (StraightThrough(), EMA(), (True, False), (True, False)),
    (StraightThrough(), Gradient(), (True, False), (True, True)),
    (Rotation(), EMA(), (True, False), (True, False)),
    (Rotation(), Gradient(), (True, False), (True, True)),
    (DiVeQ(), Gradient(), (True, True), (True, False)),
    (NoiseSubstitution(), Gradient(), (True, True), (True, False)),
    (NoGradient(), Gradient(), (False, True), (True, True)),
    (NoGradient(), EMA(), (False, False), (True, False)),
]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("estimator", "update", "task", "losses"), TABLE, ids=lambda v: str(v))
def test_who_gets_gradient(name: str, estimator, update, task, losses):
    torch.manual_seed(0)
    quantizer = MAKERS[name](estimator=estimator, update=update)
    for source, expected in (("quantized", task), ("loss", losses)):
        x = torch.randn(64, DIM, requires_grad=True)
        quantizer.zero_grad()
        value = getattr(quantizer(x), source).square().sum()
        got = (False, False)
        if value.requires_grad:
            value.backward()
            codes = quantizer.book.vectors.grad
            got = (x.grad is not None and bool(x.grad.any()), codes is not None and bool(codes.any()))
        assert got == expected, source
