from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vqkit import SQVAE, codebook_warmup
from vqkit.codebook import Normal
from vqkit.errors import ArgumentError, VqkitError
from vqkit.functional.pair_noise import noise_seed, pair_noise
from vqkit.quantizers import build


@pytest.mark.parametrize(("distribution", "given"), [("gaussian", False), ("gaussian", True), ("vmf", False)])
def test_outputs_losses_and_gradients_are_those_of_the_dense_formula(distribution: str, given: bool):
    gaussian = distribution == "gaussian"
    torch.manual_seed(0)
    sq = SQVAE(5, 12, distribution, precision=0.8, temperature=0.6)
    x = torch.randn(3, 10, 5, requires_grad=True)
    log_variance = torch.randn(3, 10, requires_grad=True)
    task = torch.randn(3, 10, 5)
    torch.manual_seed(7)
    out = sq(x, log_variance=log_variance) if given else sq(x)

    torch.manual_seed(7)
    rows, codes = x.reshape(-1, 5), sq.book.vectors[0]
    if not gaussian:
        rows, codes = F.normalize(rows, dim=1), F.normalize(codes, dim=1)
    rho = sq.log_precision.exp().expand(30)
    if given:
        rho = 1 / (1 / rho + log_variance.exp().reshape(-1))
    if gaussian:
        scores = -rho[:, None] / 2 * (rows[:, None] - codes).square().sum(-1)
    else:
        scores = rho[:, None] * (rows @ codes.t())
    y = ((scores + pair_noise(noise_seed(x), *scores.shape)) / 0.6).softmax(1) @ codes
    p = scores.softmax(1)
    offset = (rows - y).square() / 2 if gaussian else rows * (rows - y)
    loss = (rho[:, None] * offset).sum(1).mean() - torch.special.entr(p).sum(1).mean()

    assert torch.equal(out.indices.reshape(-1), scores.argmax(1))
    torch.testing.assert_close(out.quantized.reshape(-1, 5), y)
    torch.testing.assert_close(out.loss, loss)
    inputs = [x, sq.book.vectors, sq.log_precision, *([log_variance] if given else [])]
    got = torch.autograd.grad((out.quantized * task).sum() + out.loss, inputs)
    want = torch.autograd.grad((y * task.reshape(-1, 5)).sum() + loss, inputs)
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-4)


def test_it_anneals_itself():
    """On clustered data the precision rises, and the mixture comes to the code."""
    torch.manual_seed(0)
    centres = torch.randn(8, 4) * 3
    x = centres.repeat(40, 1) + 0.1 * torch.randn(320, 4)
    sq = SQVAE(4, 16, temperature=(1.0, 0.1, 0.99))
    optimizer = torch.optim.Adam(sq.parameters(), lr=0.05)
    before = sq.log_precision.item()
    for _ in range(400):
        optimizer.zero_grad()
        out = sq(x)
        # The evidence bound's reconstruction of a Gaussian decoder with a variance of its own: dim/2·ln MSE.
        (2 * (out.quantized - x).square().mean().log() + out.loss).backward()
        optimizer.step()
    assert sq.log_precision.item() > before + 2
    out = sq.eval()(x)
    assert (out.quantized - x).square().mean() < 0.5
    assert out.indices.unique().numel() >= 8


def test_eval_is_the_nearest_code_and_straight_through():
    torch.manual_seed(0)
    sq = SQVAE(5, 12).eval()
    x = torch.randn(20, 5, requires_grad=True)
    first, second = sq(x), sq(x, log_variance=torch.zeros(20))
    assert torch.equal(first.quantized, second.quantized)
    assert torch.equal(first.quantized, sq.codebook[first.indices])
    weights = torch.randn(20, 5)
    assert torch.equal(torch.autograd.grad((first.quantized * weights).sum(), x)[0], weights)


@pytest.mark.parametrize("distribution", ["gaussian", "vmf"])
def test_masked_and_bad_rows_count_nowhere(distribution: str):
    torch.manual_seed(0)
    sq = SQVAE(4, 8, distribution)
    x, mask = torch.randn(1, 12, 4), torch.arange(12)[None] < 8
    x[0, 2] = torch.nan
    x.requires_grad_()
    with pytest.warns(RuntimeWarning, match="1 rows"):
        out = sq(x, mask=mask)
    counted = mask.clone()
    counted[0, 2] = False
    assert torch.equal(out.indices >= 0, counted)
    assert not out.quantized[~counted].any()
    (out.quantized.sum() + out.loss).backward()
    assert torch.isfinite(x.grad).all()
    assert not x.grad[~counted].any()
    padded = sq.eval()(x.detach(), mask=mask).loss
    torch.testing.assert_close(padded, sq(x.detach()[counted]).loss)


def test_a_bad_variance_spoils_its_row_alone():
    torch.manual_seed(0)
    sq = SQVAE(4, 8).eval()
    x, log_variance = torch.randn(6, 4), torch.zeros(6)
    log_variance[2] = torch.nan
    log_variance[4] = 1e4
    out = sq(x, log_variance=log_variance)
    kept = torch.tensor([0, 1, 3, 5])
    assert out.indices[[2, 4]].tolist() == [-1, -1]
    torch.testing.assert_close(out.loss, sq(x[kept], log_variance=torch.zeros(4)).loss)


def test_a_variance_a_sample_is_one_a_row():
    torch.manual_seed(0)
    sq, x, each = SQVAE(4, 8).eval(), torch.randn(3, 5, 4), torch.randn(3, 1)
    torch.testing.assert_close(sq(x, log_variance=each).loss, sq(x, log_variance=each.expand(3, 5)).loss)


def test_the_variance_of_a_row_is_gaussian_alone():
    with pytest.raises(ArgumentError, match="log_variance: expected None for distribution 'vmf'"):
        SQVAE(4, 8, "vmf")(torch.randn(5, 4), log_variance=torch.zeros(5))
    with pytest.raises(ArgumentError, match=r"log_variance: expected shape \(5,\), got shape \(4,\)"):
        SQVAE(4, 8)(torch.randn(5, 4), log_variance=torch.zeros(4))


def test_codes_may_be_placed_from_data():
    torch.manual_seed(0)
    sq, x = SQVAE(4, 8), torch.randn(200, 4) + 20
    codebook_warmup(sq, [x])
    assert (sq.codebook.mean(0) - 20).abs().max() < 1


def test_config_builds_it_again():
    sq = SQVAE(6, 8, "vmf", precision=3.0, temperature=(1.0, 0.5, 0.9), init=Normal(0.1))
    again = build(sq.config)
    again.load_state_dict(sq.state_dict())
    x = torch.randn(5, 6)
    assert torch.equal(again.eval()(x).quantized, sq.eval()(x).quantized)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"distribution": "laplace"}, "distribution: expected one of 'gaussian', 'vmf'"),
        ({"precision": 0}, "precision"),
        ({"temperature": (1.0, 0.0, 0.9)}, r"temperature \(stop\)"),
        ({"loss_weight": -1}, "loss_weight"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_options_are_named(options, match):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        SQVAE(**{"dim": 6, "codebook_size": 8, **options})
    assert isinstance(caught.value, VqkitError)
