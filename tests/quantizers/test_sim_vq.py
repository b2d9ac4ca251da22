from __future__ import annotations

import pytest
import torch
from torch import nn

from vqkit import SimVQ, VectorQuantize
from vqkit.codebook import Gradient, Normal
from vqkit.errors import ArgumentError, VqkitError
from vqkit.quantizers import (
    DiVeQ,
    GumbelStraightThrough,
    NoGradient,
    NoiseSubstitution,
    Rotation,
    StraightThrough,
    build,
)

ESTIMATORS = [StraightThrough(), Rotation(), DiVeQ(), NoiseSubstitution(), NoGradient(), GumbelStraightThrough()]


def test_codes_are_the_map_of_a_frozen_table():
    torch.manual_seed(0)
    vq = SimVQ(6, 40, frozen_codebook_dim=3)
    assert vq.codebook.shape == (40, 6)
    assert vq.book.vectors.shape == (1, 40, 3)
    assert not vq.book.vectors.requires_grad
    assert [name for name, _ in vq.named_parameters()] == ["book.bridge.weight"]
    torch.testing.assert_close(vq.codebook, vq.book.vectors[0] @ vq.book.bridge.weight.t())
    assert abs(SimVQ(64, 4000).book.vectors.std().item() * 8 - 1) < 0.01


def test_a_value_is_a_row_of_the_codebook_to_the_bit_in_any_batch():
    torch.manual_seed(0)
    vq = SimVQ(32, 300).eval()
    x = torch.randn(50, 32)
    quantized, indices, _ = vq(x)
    assert torch.equal(vq.codebook[indices], quantized)
    for row in range(0, 50, 9):
        assert torch.equal(vq.decode(indices[row]), quantized[row])


def test_one_step_moves_every_code_and_not_the_table():
    torch.manual_seed(0)
    vq = SimVQ(6, 40)
    table, codes = vq.book.vectors.clone(), vq.codebook.detach()
    optimizer = torch.optim.SGD(vq.parameters(), lr=0.5)
    vq(torch.randn(4, 6)).loss.backward()
    optimizer.step()
    assert torch.equal(vq.book.vectors, table)
    assert bool((vq.codebook != codes).any(1).all())


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_who_gets_gradient(estimator):
    torch.manual_seed(0)
    vq = SimVQ(6, 40, estimator=estimator)
    task_reaches_x = not isinstance(estimator, NoGradient)
    task_reaches_map = isinstance(estimator, (DiVeQ, NoiseSubstitution, NoGradient, GumbelStraightThrough))
    for source, expected in (("quantized", (task_reaches_x, task_reaches_map)), ("loss", (True, True))):
        x = torch.randn(64, 6, requires_grad=True)
        vq.zero_grad()
        getattr(vq(x), source).square().sum().backward()
        weight = vq.book.bridge.weight.grad
        assert (x.grad is not None and bool(x.grad.any()), weight is not None and bool(weight.any())) == expected


def test_a_frozen_quantizer_sends_nothing_to_its_map():
    vq = SimVQ(6, 40, freeze_codebook=True)
    x = torch.randn(5, 6, requires_grad=True)
    out = vq(x)
    (out.quantized.sum() + out.loss).backward()
    assert vq.book.bridge.weight.grad is None
    assert bool(x.grad.any())


def test_a_map_keeps_more_codes_alive_than_a_table_of_its_own():
    """Far data: of a plain table without revival only the codes that happen to be nearest ever move."""
    torch.manual_seed(0)
    x = torch.randn(512, 4) + 4
    plain = VectorQuantize(4, 32, init=Normal(0.5), update=Gradient(), revive=None)
    live = []
    for vq in (SimVQ(4, 32, codebook_transform=nn.Linear(4, 4)), plain):
        optimizer = torch.optim.Adam(vq.parameters(), lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            vq(x).loss.backward()
            optimizer.step()
        live.append(vq.encode(x).unique().numel())
    assert live[0] >= 2 * live[1]


def test_config_builds_it_again():
    vq = SimVQ(6, 8, commitment_weight=2.0, frozen_codebook_dim=3, estimator=DiVeQ(0.01), channel_dim=1)
    again = build(vq.config)
    again.load_state_dict(vq.state_dict())
    x = torch.randn(2, 6, 5)
    assert torch.equal(again.eval()(x).quantized, vq.eval()(x).quantized)
    with pytest.raises(ArgumentError, match="codebook_transform"):
        SimVQ(6, 8, nn.Linear(6, 6)).config  # noqa: B018 - reading it raises


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dim": 0}, "dim"),
        ({"frozen_codebook_dim": 0}, "frozen_codebook_dim"),
        ({"commitment_weight": -1}, "commitment_weight"),
        ({"codebook_transform": 3}, "codebook_transform: expected an nn.Module"),
        ({"codebook_transform": nn.Linear(6, 5)}, "codebook_transform: expected shape"),
        ({"codebook_transform": nn.Linear(5, 6)}, "codebook_transform: expected a map from width 6 to 6"),
        ({"init_fn": lambda table: table[:, :2]}, "init_fn: expected shape"),
        ({"channel_first": True, "channel_dim": 1}, "channel_first: expected either"),
        ({"rotation_trick": True, "estimator": StraightThrough()}, "rotation_trick: expected either"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_options_are_named(options, match):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        SimVQ(**{"dim": 6, "codebook_size": 8, **options})
    assert isinstance(caught.value, VqkitError)
