"""Every estimator under every quantizer with a learned table; where that makes no sense, the error says why."""

from __future__ import annotations

import pytest
import torch

from vqkit import IBQ, SQVAE, GumbelQuantize, ProductQuantize, ResidualVQ, SimVQ, SinkhornVQ, VectorQuantize
from vqkit.codebook import Gradient
from vqkit.errors import ArgumentError
from vqkit.quantizers import (
    DiVeQ,
    GumbelStraightThrough,
    IndexBackpropagation,
    NoGradient,
    NoiseSubstitution,
    Rotation,
    StraightThrough,
)

CROSSING = [StraightThrough(), Rotation(), DiVeQ(), NoiseSubstitution(), NoGradient()]
SOFT = [GumbelStraightThrough(), IndexBackpropagation()]
TABLES = {
    "VectorQuantize": lambda **o: VectorQuantize(8, 16, update=Gradient(), **o),
    "SimVQ": lambda **o: SimVQ(8, 16, **o),
    "SinkhornVQ": lambda **o: SinkhornVQ(8, 16, **o),
    "ProductQuantize": lambda **o: ProductQuantize(8, 2, 16, update=Gradient(), **o),
    "ResidualVQ": lambda **o: ResidualVQ(8, 2, 16, update=Gradient(), **o),
}


@pytest.mark.parametrize("estimator", [*CROSSING, *SOFT], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("name", TABLES)
def test_it_trains_or_says_why_not(name: str, estimator):
    torch.manual_seed(0)
    refused = {("ResidualVQ", "GumbelStraightThrough"), ("ResidualVQ", "IndexBackpropagation")}
    refused |= {("SinkhornVQ", "GumbelStraightThrough"), ("SinkhornVQ", "IndexBackpropagation")}
    if (name, type(estimator).__name__) in refused:
        with pytest.raises(ArgumentError, match=r"estimator.*: .+"):
            TABLES[name](estimator=estimator)
        return
    quantizer, x = TABLES[name](estimator=estimator), torch.randn(40, 8, requires_grad=True)
    out = quantizer(x)
    (out.quantized.square().sum() + out.loss.sum()).backward()
    assert torch.isfinite(x.grad).all()
    out = quantizer.eval()(x)
    assert torch.equal(quantizer.decode(out.indices), out.quantized)


@pytest.mark.parametrize("make", [lambda e: GumbelQuantize(8, 16, estimator=e), lambda e: SQVAE(8, 16, estimator=e)])
def test_relaxed_draws_have_a_gradient_of_their_own(make):
    with pytest.raises(ArgumentError, match="estimator: expected None, since the relaxed draw has a gradient"):
        make(Rotation())


def test_ibq_is_its_estimator():
    with pytest.raises(ArgumentError, match="estimator: expected None, since the softmax over all codes"):
        IBQ(8, 16, estimator=Rotation())
