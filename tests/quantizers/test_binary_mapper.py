from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from vqkit import BinaryMapper
from vqkit.errors import ArgumentError, VqkitError
from vqkit.quantizers import build


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2


def bits_of(indices: torch.Tensor, bits: int) -> torch.Tensor:
    return indices[..., None] >> torch.arange(bits) & 1


def test_the_first_bit_is_the_least_significant():
    mapper = BinaryMapper(3)
    assert mapper.encode(torch.tensor([[9.0, -9.0, -9.0], [-9.0, -9.0, 9.0]])).tolist() == [1, 4]
    assert mapper.decode(torch.tensor([1, -1])).tolist() == [[0, 1, 0, 0, 0, 0, 0, 0], [0] * 8]


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_bits_are_drawn_with_their_probabilities(mode: str, temperature: float):
    torch.manual_seed(0)
    mapper, row = BinaryMapper(3), torch.tensor([1.5, -0.4, 0.0])
    getattr(mapper, mode)()
    out = mapper(row.expand(40_000, 3), temperature)
    share = bits_of(out.indices, 3).double().mean(0)
    expected = torch.sigmoid(row.double() / temperature)
    # Five standard deviations.
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / 40_000).sqrt()).all()
    # The bits are independent: so are the codes of the first and the second.
    both = (bits_of(out.indices, 3)[:, :2].prod(1)).double().mean()
    assert abs(both - expected[0] * expected[1]) < 0.0125


def test_the_one_hot_is_that_of_the_index_in_every_mode():
    mapper, x = BinaryMapper(4), logits(3, 5, 4)
    for module in (mapper.train(), mapper.eval()):
        out = module(x)
        assert torch.equal(out.quantized, F.one_hot(out.indices, 16).float())
        assert torch.equal(out.quantized, module.decode(out.indices))


def test_when_it_draws():
    x = logits(200, 4) * 0.1
    mapper = BinaryMapper(4, deterministic_on_eval=True)
    likely = mapper.encode(x)
    assert not torch.equal(mapper(x).indices, likely)
    assert torch.equal(mapper(x, deterministic=True).indices, likely)
    assert torch.equal(mapper.eval()(x).indices, likely)
    assert not torch.equal(mapper(x, deterministic=False).indices, likely)
    assert not torch.equal(BinaryMapper(4).eval()(x).indices, likely)


def test_the_gradient_is_that_of_every_codes_probability():
    mapper, weights = BinaryMapper(4), torch.randn(16, generator=torch.Generator().manual_seed(1))
    x, leaf = logits(6, 4), logits(6, 4).double().requires_grad_()
    bits = bits_of(torch.arange(16), 4)
    table = torch.where(bits == 1, torch.sigmoid(leaf)[:, None], torch.sigmoid(-leaf)[:, None]).prod(-1)
    expected = torch.autograd.grad((table * weights).sum(), leaf)[0]
    for options, reaches in (({}, True), ({"straight_through": False}, False)):
        rows = x.clone().requires_grad_()
        out = mapper(rows, 0.7, **options)
        assert out.quantized.requires_grad == reaches
        if reaches:
            (out.quantized * weights).sum().backward()
            torch.testing.assert_close(rows.grad.double(), expected, rtol=1e-5, atol=1e-7)
    assert not mapper.eval()(x.clone().requires_grad_()).quantized.requires_grad


@pytest.mark.parametrize("threshold", [0.0, math.log(2), 100.0])
def test_the_loss_is_what_the_bits_tell_beyond_the_threshold(threshold: float):
    mapper, x = BinaryMapper(4, threshold), logits(3, 5, 4)
    coins = torch.distributions.Bernoulli(logits=x.double())
    divergence = torch.distributions.kl_divergence(coins, torch.distributions.Bernoulli(probs=torch.tensor(0.5)))
    expected = (divergence.sum(-1) - threshold).clamp(min=0)
    torch.testing.assert_close(mapper(x).loss.double(), expected.mean(), rtol=1e-5, atol=1e-7)
    mask = torch.rand(3, 5, generator=torch.Generator().manual_seed(1)) > 0.4
    torch.testing.assert_close(mapper(x, mask=mask).loss.double(), expected[mask].mean(), rtol=1e-5, atol=1e-7)
    each = mapper(x, mask=mask, reduce_aux_kl_loss=False).loss
    torch.testing.assert_close(each.double(), torch.where(mask, expected, 0), rtol=1e-5, atol=1e-6)


def test_log_probabilities_add_up():
    mapper, x = BinaryMapper(3), logits(5, 3)
    every = torch.stack([mapper.log_prob(x, torch.full((5,), code)) for code in range(8)])
    torch.testing.assert_close(every.exp().sum(0), torch.ones(5))
    indices = mapper(x).indices
    bits = mapper.log_prob(x, indices, sum_bits=False)
    torch.testing.assert_close(bits.sum(-1), mapper.log_prob(x, indices))
    torch.testing.assert_close(bits, torch.distributions.Bernoulli(logits=x).log_prob(bits_of(indices, 3).float()))


def test_masked_rows_are_no_code():
    mapper, x = BinaryMapper(3), logits(2, 4, 3)
    out = mapper(x, lens=torch.tensor([4, 1]))
    assert out.indices[1, 1:].tolist() == [-1, -1, -1]
    assert not out.quantized[1, 1:].any()


def test_the_config_builds_it_again():
    mapper = BinaryMapper(5, 0.3, True)
    again = build(mapper.config)
    assert again.config == mapper.config
    x = logits(7, 5)
    assert all(torch.equal(a, b) for a, b in zip(mapper.eval()(x), again.eval()(x), strict=True))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: BinaryMapper(0), "bits: expected an int >= 1"),
        (lambda: BinaryMapper(17), "bits: expected at most 16.*got 17"),
        (lambda: BinaryMapper(3, -1.0), "kl_loss_threshold"),
        (lambda: BinaryMapper(3)(logits(2, 3), 0.0), "temperature"),
        (lambda: BinaryMapper(3)(logits(2, 4)), "x: expected 3 channels"),
        (lambda: BinaryMapper(3).log_prob(logits(2, 3), torch.zeros(4).long()), r"logits: expected shape \(4, 3\)"),
    ],
)
def test_bad_arguments(call, match):
    with pytest.raises(ArgumentError, match=match) as caught:
        call()
    assert isinstance(caught.value, VqkitError)
