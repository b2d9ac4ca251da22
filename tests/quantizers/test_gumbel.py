from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from vqkit import GumbelQuantize
from vqkit.codebook import KMeansInit, Normal, accumulating
from vqkit.errors import VqkitError
from vqkit.functional.pair_noise import noise_seed, pair_noise
from vqkit.quantizers import build


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("combine", [True, False])
def test_outputs_losses_and_gradients_are_those_of_the_dense_formula(hard: bool, combine: bool):
    torch.manual_seed(0)
    gumbel = GumbelQuantize(
        6, 10, groups=2, combine_groups=combine, temperature=0.7, hard=hard, kl_weight=0.3, diversity_weight=0.2
    )
    x = torch.randn(40, 6, requires_grad=True)
    task = torch.randn(40, 6)
    torch.manual_seed(7)
    out = gumbel(x)

    torch.manual_seed(7)
    logits = gumbel.to_logits(x).reshape(40, 2, 10)
    noise = [pair_noise(noise_seed(x), 40, 10) for _ in range(2)]
    tables = gumbel.book.vectors.expand(2, -1, -1)
    values, indices = [], []
    for g in range(2):
        soft = ((logits[:, g] + noise[g]) / 0.7).softmax(1)
        index = soft.argmax(1) if hard else logits[:, g].argmax(1)
        weights = F.one_hot(index, 10) + soft - soft.detach() if hard else soft
        values.append(weights @ tables[g])
        indices.append(index)
    p = logits.softmax(-1)
    kl = (p * (p * 10).log()).sum(-1).mean(0).sum()
    diversity = 1 - torch.special.entr(p.mean(0)).sum(-1).exp().sum() / 20
    loss = 0.3 * kl + 0.2 * diversity

    assert torch.equal(out.indices, torch.stack(indices, 1))
    torch.testing.assert_close(out.quantized, torch.cat(values, 1))
    torch.testing.assert_close(out.loss, loss)
    inputs = [x, gumbel.to_logits.weight, gumbel.to_logits.bias, gumbel.book.vectors]
    got = torch.autograd.grad((out.quantized * task).sum() + out.loss, inputs)
    want = torch.autograd.grad((torch.cat(values, 1) * task).sum() + loss, inputs)
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-5)


def test_codes_are_drawn_in_training_and_the_most_probable_in_eval():
    torch.manual_seed(0)
    gumbel = GumbelQuantize(4, 3)
    with torch.no_grad():
        gumbel.to_logits.weight.zero_()
        gumbel.to_logits.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    x = torch.randn(8000, 4)
    share = torch.bincount(gumbel(x).indices, minlength=3) / 8000
    torch.testing.assert_close(share, torch.tensor([0.0, 1.0, -1.0]).softmax(0), rtol=0, atol=0.03)
    assert bool((gumbel.eval()(x).indices == 1).all())


def test_the_temperature_falls_with_training_steps_and_travels_in_the_state():
    gumbel, x = GumbelQuantize(4, 3, temperature=(2.0, 0.5, 0.5)), torch.randn(5, 4)
    seen = []
    for _ in range(4):
        seen.append(gumbel.temperature.item())
        gumbel(x)
    assert seen == [2.0, 1.0, 0.5, 0.5]
    again = GumbelQuantize(4, 3, temperature=(2.0, 0.5, 0.9))
    again.load_state_dict(gumbel.state_dict())
    assert int(again.annealing.steps) == 4
    gumbel(x, freeze_codebook=True)
    gumbel.eval()(x)
    with accumulating(gumbel.train()):
        gumbel(x)
    assert int(gumbel.annealing.steps) == 4


def test_even_choices_have_no_loss_and_one_choice_for_all_has_the_most():
    x = torch.randn(50, 4)
    losses = []
    for bias in (torch.zeros(8), torch.tensor([30.0] + [0.0] * 7)):
        gumbel = GumbelQuantize(4, 8, kl_weight=1.0, diversity_weight=1.0)
        with torch.no_grad():
            gumbel.to_logits.weight.zero_()
            gumbel.to_logits.bias.copy_(bias)
        losses.append(gumbel(x).loss.item())
    assert abs(losses[0]) < 1e-5
    assert math.isclose(losses[1], math.log(8) + 1 - 1 / 8, rel_tol=1e-4)


@pytest.mark.parametrize("hard", [True, False])
def test_masked_and_bad_rows_count_nowhere(hard: bool):
    torch.manual_seed(0)
    gumbel = GumbelQuantize(4, 8, hard=hard, kl_weight=1.0, diversity_weight=1.0)
    with torch.no_grad():
        gumbel.to_logits.weight.copy_(gumbel.to_logits.weight.abs() + 1)
    x, mask = torch.randn(1, 12, 4), torch.arange(12)[None] < 8
    x[0, 2] = torch.nan
    x[0, 3] = 3e38  # whose scores overflow
    x.requires_grad_()
    with pytest.warns(RuntimeWarning, match="1 rows"):
        out = gumbel(x, mask=mask)
    counted = mask.clone()
    counted[0, 2:4] = False
    assert torch.equal(out.indices >= 0, counted)
    assert not out.quantized[~counted].any()
    torch.testing.assert_close(out.loss, GumbelQuantize.forward(gumbel, x.detach()[counted]).loss)
    (out.quantized.sum() + out.loss).backward()
    assert torch.isfinite(x.grad).all()
    assert not x.grad[~counted].any()
    assert torch.isfinite(gumbel.to_logits.weight.grad).all()


def test_eval_has_the_gradient_of_the_softmax_without_noise():
    torch.manual_seed(0)
    gumbel = GumbelQuantize(4, 8, temperature=0.5).eval()
    x = torch.randn(10, 4, requires_grad=True)
    out = gumbel(x)
    (gradient,) = torch.autograd.grad(out.quantized.sum(), x)
    soft = (gumbel.to_logits(x) / 0.5).softmax(1) @ gumbel.book.vectors[0].detach()
    torch.testing.assert_close(gradient, torch.autograd.grad(soft.sum(), x)[0], rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(gumbel(x).quantized, out.quantized)


def test_it_learns_to_use_its_codes():
    torch.manual_seed(0)
    centres = torch.randn(8, 4) * 3
    x = centres.repeat(40, 1) + 0.1 * torch.randn(320, 4)
    gumbel = GumbelQuantize(4, 8, temperature=(1.0, 0.2, 0.98), diversity_weight=0.5)
    optimizer = torch.optim.Adam(gumbel.parameters(), lr=0.05)
    first = (gumbel.eval()(x).quantized - x).square().mean().item()
    gumbel.train()
    for _ in range(300):
        optimizer.zero_grad()
        out = gumbel(x)
        ((out.quantized - x).square().mean() + out.loss).backward()
        optimizer.step()
    out = gumbel.eval()(x)
    assert (out.quantized - x).square().mean() < 0.3 * first
    assert out.indices.unique().numel() >= 6


def test_config_builds_it_again():
    gumbel = GumbelQuantize(6, 8, groups=2, temperature=(1.0, 0.5, 0.9), init=Normal(0.1))
    again = build(gumbel.config)
    again.load_state_dict(gumbel.state_dict())
    x = torch.randn(5, 6)
    assert torch.equal(again.eval()(x).quantized, gumbel.eval()(x).quantized)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"codebook_size": 0}, "codebook_size"),
        ({"groups": 4}, "groups: expected a divisor of dim 6, got 4"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": (1.0, 2.0, 0.9)}, r"temperature \(stop\)"),
        ({"temperature": (1.0, 0.5)}, "temperature: expected a number, or three"),
        ({"temperature": "cold"}, "temperature"),
        ({"kl_weight": -1}, "kl_weight"),
        ({"diversity_weight": float("nan")}, "diversity_weight"),
        ({"init": KMeansInit()}, "init: expected one without rows"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_options_are_named(options, match):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        GumbelQuantize(**{"dim": 6, "codebook_size": 8, **options})
    assert isinstance(caught.value, VqkitError)
