from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vqkit import RandomProjectionQuantizer
from vqkit.errors import ArgumentError, VqkitError


def test_the_formula_of_the_paper():
    """argmin |norm(c) − norm(A·x)|, each codebook with its own A."""
    torch.manual_seed(0)
    quantizer = RandomProjectionQuantizer(20, 50, 6, num_codebooks=3)
    x = torch.randn(40, 20) * 5 + 2
    normed = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    projected = F.normalize(torch.einsum("nd,cde->nce", normed, quantizer.projection.matrices), dim=-1)
    codes = F.normalize(quantizer.book.vectors, dim=-1)
    distance = (projected[:, :, None] - codes).norm(dim=-1)
    assert torch.equal(quantizer(x), distance.argmin(-1))


def test_the_norm_keeps_a_shift_of_the_input_from_collapsing_the_labels():
    torch.manual_seed(0)
    x = torch.randn(2000, 20) + 30
    counts = [RandomProjectionQuantizer(20, 64, 8, norm=norm)(x).unique().numel() for norm in (True, False)]
    assert counts[0] > 5 * counts[1]


@pytest.mark.parametrize("name", ["dim", "codebook_size", "codebook_dim", "num_codebooks"])
def test_bad_options_are_named(name: str):
    with pytest.raises(ArgumentError, match=name) as caught:
        RandomProjectionQuantizer(**{"dim": 4, "codebook_size": 4, "codebook_dim": 2, name: 0})
    assert isinstance(caught.value, VqkitError)


def test_a_use_that_needs_vectors_says_why_it_cannot():
    quantizer = RandomProjectionQuantizer(4, 4, 2)
    with pytest.raises(ArgumentError, match="no way back"):
        quantizer.step(torch.zeros(2, 4), torch.ones(2, dtype=torch.bool))
