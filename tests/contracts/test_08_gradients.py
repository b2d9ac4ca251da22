"""Contract 8: which tensor each mode sends gradient to, and how much."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.cases import CASES, DIM, SIZE, Case
from vqkit import VectorQuantize
from vqkit.codebook import EMA, Gradient
from vqkit.quantizers import (
    CodebookFit,
    Commitment,
    DiVeQ,
    GumbelStraightThrough,
    IndexBackpropagation,
    NoGradient,
    NoiseSubstitution,
    Rotation,
    StraightThrough,
)

# A projection changes the gradient on purpose.
FREE = [c for c in CASES if c.name.startswith("VectorQuantize-straight_through") and "projected" not in c.name]


@pytest.mark.parametrize("free", FREE, ids=lambda c: c.name)
def test_straight_through_is_exactly_one(free: Case):
    quantizer = free.build()
    quantizer.objectives = ()
    x = free.x(1).requires_grad_()
    weights = torch.randn(free.shape)
    (quantizer(x).quantized * weights).sum().backward()
    assert torch.equal(x.grad, weights)


# estimator, update -> does the task's gradient reach (x, codes)?; do the loss terms reach (x, codes)?
TABLE = [
    (StraightThrough(), EMA(), (True, False), (True, False)),
    (StraightThrough(), Gradient(), (True, False), (True, True)),
    (Rotation(), EMA(), (True, False), (True, False)),
    (Rotation(), Gradient(), (True, False), (True, True)),
    (DiVeQ(), Gradient(), (True, True), (True, False)),
    (NoiseSubstitution(), Gradient(), (True, True), (True, False)),
    (GumbelStraightThrough(), EMA(), (True, False), (True, False)),
    (GumbelStraightThrough(), Gradient(), (True, True), (True, True)),
    (IndexBackpropagation(), EMA(), (True, False), (True, False)),
    (IndexBackpropagation(), Gradient(), (True, True), (True, True)),
    (NoGradient(), Gradient(), (False, True), (True, True)),
    (NoGradient(), EMA(), (False, False), (True, False)),
]


@pytest.mark.parametrize(("estimator", "update", "task", "losses"), TABLE, ids=lambda v: str(v))
def test_who_gets_gradient(estimator, update, task, losses):
    torch.manual_seed(0)
    quantizer = VectorQuantize(DIM, SIZE, estimator=estimator, update=update, revive=None)
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


def test_sync_update_adds_nu_to_the_codes_and_leaves_the_encoder():
    torch.manual_seed(0)
    quantizer = VectorQuantize(
        DIM, SIZE, update=Gradient(0.0), estimator=StraightThrough(), sync_update_v=0.5, objectives=(), revive=None
    )
    x = torch.randn(6, DIM, requires_grad=True)
    weights = torch.randn(6, DIM)
    out = quantizer(x)
    (out.quantized * weights).sum().backward()
    assert torch.equal(x.grad, weights)
    expected = torch.zeros(SIZE, DIM).index_add_(0, out.indices, 0.5 * weights)
    torch.testing.assert_close(quantizer.book.vectors.grad[0], expected)


def test_the_three_terms_of_equation_3():
    """VQ-VAE, eq. 3: |x − D(e)|² + |sg z − e|² + β|z − sg e|², here with means over D: D times them is the paper's
    sum.
    """
    torch.manual_seed(0)
    beta = 0.25
    quantizer = VectorQuantize(DIM, SIZE, update=Gradient(1.0), objectives=(Commitment(beta),), revive=None)
    z = torch.randn(40, DIM, requires_grad=True)
    out = quantizer(z, return_loss_breakdown=True)
    codes = quantizer.book.vectors[0]
    e = codes[out.indices]
    codebook_term, commitment_term = (z.detach() - e).square().sum(1).mean(), (z - e.detach()).square().sum(1).mean()
    breakdown = out.loss_breakdown
    torch.testing.assert_close(breakdown.codebook * DIM, codebook_term, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(breakdown.commitment * DIM, commitment_term, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(out.loss * DIM, codebook_term + beta * commitment_term, rtol=1e-6, atol=1e-6)

    out.loss.backward(retain_graph=True)
    expected = torch.autograd.grad(codebook_term / DIM, codes)[0]
    torch.testing.assert_close(quantizer.book.vectors.grad[0], expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(z.grad, torch.autograd.grad(beta * commitment_term / DIM, z)[0], rtol=1e-5, atol=1e-7)


def test_rotation_returns_the_code_for_a_zero_row_too():
    quantizer = VectorQuantize(DIM, SIZE, estimator=Rotation())
    x = torch.randn(5, DIM)
    x[2] = 0
    x.requires_grad_()
    out = quantizer(x, freeze_codebook=True)
    assert torch.equal(out.quantized, quantizer.decode(out.indices))
    out.quantized.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_codes_that_learn_by_gradient_learn_from_one_codebook_term():
    quantizer = VectorQuantize(DIM, SIZE, learnable_codebook=True, codebook_weight=0.5)
    assert [type(term) for term in quantizer.objectives] == [Commitment, CodebookFit]
    assert quantizer.objectives[1].weight == 0.5
