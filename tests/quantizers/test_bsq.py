from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from tests.functional.test_entropy import brute_force
from vqkit import BSQ, LFQ
from vqkit.errors import VqkitError
from vqkit.quantizers import build


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_codes_are_the_signs_on_the_unit_sphere():
    bsq, x = BSQ(dim=9), rows(2, 7, 9)
    out = bsq(x)
    torch.testing.assert_close(out.quantized, x.sign() / 3)
    codes = bsq.decode(torch.arange(512))
    assert torch.equal(out.indices, (F.normalize(x, dim=-1) @ codes.t()).argmax(-1))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("group", [None, 4, 1])
def test_the_loss_is_the_papers(mode: str, group: int | None):
    bsq = BSQ(dim=8, beta=0.25, gamma0=0.5, gamma=2.0, zeta=0.1, inv_temperature=10.0, group_size=group)
    getattr(bsq, mode)()
    x = rows(40, 8).requires_grad_()
    out = bsq(x, return_loss_breakdown=True)

    exact = x.detach().double().requires_grad_()
    u = F.normalize(exact, dim=-1)
    s = 1 / math.sqrt(8)
    per_sample, batch = brute_force(u, s, 10.0)
    if group is not None:
        batch = sum(brute_force(part, s, 10.0)[1] for part in u.split(group, 1))
    commitment = (u - s * exact.detach().sign()).square().sum(-1).mean()
    loss = 0.25 * commitment + 0.1 * (0.5 * per_sample - 2.0 * batch) / 10.0

    breakdown = out.loss_breakdown
    expected = (loss, per_sample, batch, commitment / 8)
    got = (out.loss, breakdown.per_sample_entropy, breakdown.batch_entropy, breakdown.commitment)
    for value, want in zip(got, expected, strict=True):
        torch.testing.assert_close(value.double(), want, rtol=1e-5, atol=1e-7)
    slope = torch.autograd.grad(out.loss, x)[0].double()
    torch.testing.assert_close(slope, torch.autograd.grad(loss, exact)[0], rtol=1e-4, atol=1e-7)


def test_its_gradient_is_orthogonal_to_the_row_and_weaker_far_out():
    bsq, x, g = BSQ(dim=6), rows(5, 6), rows(5, 6, seed=1)
    leaf = x.clone().requires_grad_()
    (bsq(leaf).quantized * g).sum().backward()
    u, length = F.normalize(x, dim=-1), x.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(leaf.grad, (g - u * (u * g).sum(-1, keepdim=True)) / length, rtol=1e-5, atol=1e-6)
    assert (leaf.grad * x).sum(-1).abs().max() < 1e-5
    assert not bsq.straight


@pytest.mark.parametrize("layout", [(2, 5, 36), (2, 36, 3, 4)], ids=str)
def test_an_index_per_group(layout: tuple[int, ...]):
    grouped, whole = BSQ(dim=36, group_size=9, group_indices=True), BSQ(dim=36, group_size=9)
    x = rows(*layout)
    out, one = grouped(x), whole(x)
    assert out.indices.shape == (*one.indices.shape, 4)
    assert grouped.index_sizes == (512,) * 4
    written = sum(out.indices[..., i] << (9 * (3 - i)) for i in range(4))
    assert torch.equal(written, one.indices)
    assert torch.equal(grouped.decode(out.indices), out.quantized)
    assert torch.equal(out.quantized, one.quantized)
    assert grouped.usage().shape == (4,)


def test_62_bits():
    bsq, x = BSQ(dim=62, group_size=2), rows(20, 62)
    x[0] = 1.0
    out = bsq(x)
    assert int(out.indices[0]) == 2**62 - 1
    assert torch.equal(bsq.decode(out.indices), out.quantized)
    torch.testing.assert_close(out.quantized.norm(dim=-1), torch.ones(20))


def test_it_is_spherical_lfq():
    x = rows(2, 30, 8)
    bsq = BSQ(dim=8, zeta=0.5, inv_temperature=5.0)
    lfq = LFQ(dim=8, spherical=True, entropy_loss_weight=0.1, commitment_loss_weight=0.0, inv_temperature=5.0)
    assert all(torch.equal(a, b) for a, b in zip(bsq(x), lfq(x), strict=True))


def test_the_config_builds_it_again():
    bsq = BSQ(dim=12, codebook_size=2**8, group_size=4, group_indices=True, beta=0.25, zeta=0.1, channel_first=True)
    again = build(bsq.config)
    again.load_state_dict(bsq.state_dict())
    x = rows(2, 12, 5)
    assert bsq.config["type"] == "BSQ"
    assert again.config == bsq.config
    assert all(torch.equal(a, b) for a, b in zip(bsq(x), again(x), strict=True))


BAD_OPTIONS = [
    ({}, "dim, codebook_size: expected at least one"),
    ({"dim": 36}, "group_size: expected the size of groups.*got None with 36 bits"),
    ({"dim": 36, "group_size": 7}, "^group_size: expected a divisor of the 36 bits, at most 24, got 7"),
    ({"dim": 64, "group_size": 8}, r"codebook_size: expected at most 2\^62"),
    ({"dim": 8, "group_indices": True}, "group_size: expected the size of a group"),
    ({"dim": 8, "beta": -1}, "beta"),
    ({"dim": 8, "gamma0": -1}, "gamma0"),
    ({"dim": 8, "gamma": float("nan")}, "gamma"),
    ({"dim": 8, "zeta": "1"}, "zeta"),
    ({"dim": 8, "inv_temperature": 0}, "inv_temperature"),
]


@pytest.mark.parametrize(("options", "match"), BAD_OPTIONS, ids=[b[1] for b in BAD_OPTIONS])
def test_bad_options(options: dict, match: str):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        BSQ(**options)
    assert isinstance(caught.value, VqkitError)
