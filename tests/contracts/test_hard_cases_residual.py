"""Cases of residual and grouped quantizers that once broke a promise of the contract."""

from __future__ import annotations

import pytest
import torch

from vqkit.errors import ArgumentError
from vqkit.quantizers import GumbelStraightThrough, ImplicitVQ, IndexBackpropagation


def _implicit(**options) -> ImplicitVQ:
    torch.manual_seed(0)
    vq = ImplicitVQ(4, 16, depth=1, **options)
    with torch.no_grad():
        for parameter in vq.net.parameters():
            parameter.normal_()
    return vq


@pytest.mark.parametrize("preselect", [None, 5])
def test_an_implicit_codebook_alone_decodes_to_what_its_network_made(preselect: int | None):
    vq, x = _implicit(preselect=preselect).eval(), torch.randn(3, 5, 4)
    out = vq(x)
    assert torch.equal(vq.decode(out.indices), out.quantized)
    assert torch.equal(vq.encode(x), out.indices)
    assert torch.equal(vq.get_codes_from_indices(out.indices), out.quantized)
    table = vq.book.codes()[0]
    assert not torch.equal(out.quantized, table[out.indices])


def test_an_implicit_codebook_alone_trains_its_network_unless_frozen():
    x = torch.randn(3, 5, 4)
    for frozen in (False, True):
        vq = _implicit()
        loss = vq(x.requires_grad_(), freeze_codebook=frozen).loss
        loss.backward()
        assert all((p.grad is None) is frozen for p in [*vq.net.parameters(), vq.book.vectors])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"project": True}, "project: expected False"),
        ({"heads": 2}, "heads: expected 1"),
        ({"metric": "dot"}, "metric"),
        ({"estimator": GumbelStraightThrough()}, "estimator"),
        ({"estimator": IndexBackpropagation()}, "estimator"),
        ({"return_zeros_for_masked_padding": False}, "return_zeros_for_masked_padding"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_an_implicit_codebook_refuses_what_it_would_ignore(options: dict, match: str):
    with pytest.raises(ArgumentError, match=match):
        ImplicitVQ(4, 16, **options)


def test_an_implicit_codebook_encodes_float64_as_forward_does():
    vq = _implicit().double().eval()
    x = torch.randn(200, 4, dtype=torch.float64)
    assert torch.equal(vq.encode(x), vq(x).indices)
