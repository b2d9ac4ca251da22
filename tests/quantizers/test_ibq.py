from __future__ import annotations

import pytest
import torch

from vqkit import IBQ, VectorQuantize
from vqkit.codebook import Gradient, Normal
from vqkit.errors import VqkitError
from vqkit.quantizers import IndexBackpropagation, build


def test_outputs_losses_and_gradients_are_those_of_the_dense_formula():
    """With z·e as scores, the one-hot as (hard + p − sg(p)), and the double quantization loss."""
    torch.manual_seed(0)
    ibq = IBQ(6, 20, init=Normal(), temperature=0.8, codebook_weight=0.25, entropy_weight=0.3, entropy_temperature=0.5)
    z = torch.randn(30, 6, requires_grad=True)
    out = ibq(z)
    codes = ibq.book.vectors[0]
    scores = z @ codes.t()
    p = (scores / 0.8).softmax(1)
    hard = torch.nn.functional.one_hot(p.argmax(1), 20).float()
    y, q = (hard + p - p.detach()) @ codes, hard @ codes
    sharp = (scores / 0.5).softmax(1)
    entropy = torch.special.entr(sharp).sum(1).mean() - torch.special.entr(sharp.mean(0)).sum()
    loss = (y - z).square().mean() + (q.detach() - z).square().mean() + 0.25 * (q - z.detach()).square().mean()
    loss = loss + 0.3 * entropy
    assert torch.equal(out.indices, p.argmax(1))
    torch.testing.assert_close(out.loss, loss)
    task = torch.randn(30, 6)
    got = torch.autograd.grad((out.quantized * task).sum() + out.loss, [z, ibq.book.vectors])
    want = torch.autograd.grad((y * task).sum() + loss, [z, codes])
    torch.testing.assert_close(got[0], want[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got[1][0], want[1], rtol=1e-4, atol=1e-5)


def test_every_code_learns_from_one_row():
    torch.manual_seed(0)
    ibq, plain = IBQ(6, 64, init=Normal(0.5)), VectorQuantize(6, 64, update=Gradient(), revive=None)
    reached = []
    for vq in (ibq, plain):
        out = vq(torch.randn(1, 6))
        (out.quantized.square().sum() + out.loss).backward()
        reached.append(int(vq.book.vectors.grad[0].any(1).sum()))
    assert reached == [64, 1]


def test_config_builds_it_again():
    ibq = IBQ(6, 8, init=Normal(0.3), entropy_weight=0.1, heads=2, codebook_dim=3)
    again = build(ibq.config)
    assert again.objectives == ibq.objectives
    assert again.estimator == IndexBackpropagation()
    again.load_state_dict(ibq.state_dict())
    x = torch.randn(5, 6)
    assert torch.equal(again.eval()(x).quantized, ibq.eval()(x).quantized)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"codebook_size": 0}, "codebook_size"),
        ({"temperature": 0.0}, "temperature"),
        ({"entropy_weight": -1}, "entropy_weight"),
        ({"entropy_weight": 1, "entropy_temperature": 0.0}, "temperature"),
        ({"codebook_weight": "much"}, "codebook_weight"),
        ({"init": 1.0}, "init"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_options_are_named(options, match):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        IBQ(**{"dim": 6, "codebook_size": 8, **options})
    assert isinstance(caught.value, VqkitError)
