"""Every quantizer with a table of its own kind is one graph, in training and in eval, without a look at the values."""

from __future__ import annotations

import pytest
import torch

from vqkit import IBQ, SQVAE, GumbelQuantize, ProductQuantize, RandomProjectionQuantizer, SimVQ, SinkhornVQ
from vqkit.codebook import Normal

MAKERS = {
    "sim": lambda: SimVQ(8, 16),
    "ibq": lambda: IBQ(8, 16, init=Normal(), entropy_weight=0.1),
    "gumbel_hard": lambda: GumbelQuantize(8, 16, 2, diversity_weight=0.1),
    "gumbel_soft": lambda: GumbelQuantize(8, 16, hard=False),
    "sq_gaussian": lambda: SQVAE(8, 16),
    "sq_vmf": lambda: SQVAE(8, 16, "vmf"),
    "sinkhorn": lambda: SinkhornVQ(8, 16),
    "product": lambda: ProductQuantize(8, 4, 16, "random"),
    "random_projection": lambda: RandomProjectionQuantizer(8, 16, 4, num_codebooks=3),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MAKERS)
def test_it_compiles_into_one_graph(name: str, training: bool):
    torch.manual_seed(0)
    torch.compiler.reset()
    quantizer = MAKERS[name]().train(training)
    x = torch.randn(32, 8, requires_grad=True)
    got = torch.compile(quantizer, fullgraph=True, backend="eager")(x)
    # A training step has moved the state and drawn numbers; that it came through as one graph is the point.
    want = quantizer(x)
    for first, second in zip(got, want, strict=True):
        assert first.shape == second.shape
        assert training or torch.equal(first, second)
