from __future__ import annotations

import pytest
import torch

from vqkit import SinkhornVQ, VectorQuantize
from vqkit.codebook import Gradient, ReplaceRare
from vqkit.errors import VqkitError
from vqkit.functional import sinkhorn_assignment
from vqkit.quantizers import GumbelStraightThrough, IndexBackpropagation, build


def test_training_indices_come_from_the_plan_and_eval_indices_are_the_nearest():
    torch.manual_seed(0)
    vq = SinkhornVQ(6, 16, epsilon=0.2, iters=7, update=Gradient())
    x = torch.randn(100, 6)
    assert torch.equal(vq(x).indices, sinkhorn_assignment(x, vq.codebook.detach(), epsilon=0.2, iters=7))
    plain = VectorQuantize(6, 16, update=Gradient(), revive=None).eval()
    plain.load_state_dict(vq.state_dict())
    assert torch.equal(vq.eval()(x).indices, plain(x).indices)


def test_every_table_is_balanced_by_itself():
    torch.manual_seed(0)
    vq = SinkhornVQ(6, 8, codebook_dim=3, heads=2, separate_codebook_per_head=True, update=Gradient())
    x = torch.randn(100, 6)
    codes, indices = vq.codebook.detach(), vq(x).indices
    for head, part in enumerate(x.split(3, 1)):
        assert torch.equal(indices[:, head], sinkhorn_assignment(part, codes[head]))


def test_no_code_dies_on_data_far_from_all_codes():
    live = []
    for make in (SinkhornVQ, VectorQuantize):
        torch.manual_seed(0)
        vq = make(4, 32, revive=None)
        for _ in range(30):
            vq(torch.randn(320, 4) + 10)
        live.append(vq.eval()(torch.randn(2000, 4) + 10).indices.unique().numel())
    assert live[0] == 32
    assert live[1] <= 4


def test_config_builds_it_again():
    vq = SinkhornVQ(6, 8, epsilon=0.2, iters=3, heads=2, codebook_dim=3, revive=ReplaceRare(), decay=0.9)
    again = build(vq.config)
    assert (again.epsilon, again.iters, again.book.revive, again.book.update) == (0.2, 3, ReplaceRare(), vq.book.update)
    again.load_state_dict(vq.state_dict())
    x = torch.randn(5, 6)
    assert torch.equal(again.eval()(x).quantized, vq.eval()(x).quantized)
    assert build(SinkhornVQ(6, 8).config).book.revive is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"epsilon": 0}, "epsilon"),
        ({"iters": 0}, "iters"),
        ({"estimator": GumbelStraightThrough()}, "estimator GumbelStraightThrough.*leaves the choice"),
        ({"estimator": IndexBackpropagation()}, "estimator IndexBackpropagation.*leaves the choice"),
        ({"stochastic_sample_codes": True}, "stochastic_sample_codes.*leaves the choice"),
        ({"metric": "dot"}, "metric: expected 'euclidean' or 'cosine'"),
        ({"epsilom": 1}, "epsilom"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_options_are_named(options, match):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        SinkhornVQ(**{"dim": 6, "codebook_size": 8, **options})
    assert isinstance(caught.value, VqkitError)
