from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vqkit.functional import (
    codebook_loss,
    commitment_loss,
    cross_entropy_loss,
    diversity_loss,
    gumbel_straight_through,
    nearest,
    orthogonal_loss,
    sample_codes,
)
from vqkit.functional import logits as logits_module


@pytest.fixture(params=[None, 4], ids=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Blocks of 16 rows, so that small tests cross their edges."""
    if request.param:
        monkeypatch.setattr(logits_module, "SCORES_PER_BLOCK", request.param)


def data(n: int = 37, k: int = 11, d: int = 5):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, d, generator=generator).requires_grad_() for s in (n, k)]


def reference_scores(x, codes, metric):
    if metric == "cosine":
        return F.normalize(x, dim=1) @ F.normalize(codes, dim=1).t()
    if metric == "dot":
        return x @ codes.t()
    return -(x[:, None] - codes).square().sum(-1)


def assert_same_gradients(value, expected, inputs):
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    for got, want in zip(torch.autograd.grad(value, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_the_two_means_send_gradient_to_one_side_each():
    x, q = data(6, 6)
    valid = torch.tensor([True, False, True, True, False, True])
    expected = (x - q).square()[valid].mean()
    for loss, learns, rests in ((commitment_loss, x, q), (codebook_loss, q, x)):
        value = loss(x, q, valid)
        torch.testing.assert_close(value, expected)
        assert torch.autograd.grad(value, rests, allow_unused=True, retain_graph=True)[0] is None
        assert not torch.autograd.grad(value, learns)[0][~valid].any()
    assert commitment_loss(x, q, torch.zeros(6, dtype=torch.bool)).item() == 0
    assert commitment_loss(x[:0], q[:0]).item() == 0


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
def test_cross_entropy_equals_the_full_matrix(metric: str):
    x, codes = data()
    indices = torch.randint(11, (37,))
    indices[5] = -1
    value = cross_entropy_loss(x, codes, indices, metric=metric, temperature=0.7)
    expected = F.cross_entropy(reference_scores(x, codes, metric) / 0.7, indices, ignore_index=-1)
    assert_same_gradients(value, expected, [x, codes])


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
def test_diversity_is_the_entropy_of_the_mean_over_all_rows(metric: str):
    x, codes = data()
    valid = torch.rand(37) > 0.3
    share = (reference_scores(x, codes, metric) * 2).softmax(1)[valid].mean(0)
    value = diversity_loss(x, codes, valid, temperature=2.0, metric=metric)
    assert_same_gradients(value, (share * share.log()).sum(), [x, codes])


def test_diversity_is_finite_where_codes_have_no_mass():
    x = torch.zeros(4, 2, requires_grad=True)
    value = diversity_loss(x, torch.tensor([[0.0, 0.0], [1e4, 1e4]]), temperature=100.0)
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(x.grad).all()


def test_orthogonal_equals_the_gram_matrix_of_all_codes():
    _, codes = data()
    unit = F.normalize(codes, dim=1)
    expected = (unit @ unit.t() - torch.eye(11)).square().sum() / 11**2
    assert_same_gradients(orthogonal_loss(codes), expected, [codes])


def test_orthogonal_on_active_codes_and_on_few():
    _, codes = data()
    active = torch.tensor([True, False] * 5 + [True])
    torch.testing.assert_close(orthogonal_loss(codes, active), orthogonal_loss(codes[active]))
    torch.manual_seed(0)
    few = orthogonal_loss(codes, active, max_codes=2)
    pairs = [orthogonal_loss(codes[[i, j]]).item() for i in range(0, 11, 2) for j in range(i + 2, 11, 2)]
    assert any(math.isclose(few.item(), pair, rel_tol=1e-4, abs_tol=1e-7) for pair in pairs)
    assert orthogonal_loss(codes, torch.zeros(11, dtype=torch.bool)).item() == 0


@pytest.mark.usefixtures("blocks")
def test_sampling_follows_the_softmax():
    torch.manual_seed(0)
    codes = torch.tensor([[0.0], [1.0], [2.0]])
    drawn = sample_codes(torch.full((6000, 1), 0.5), codes, temperature=0.5)
    expected = (-(codes[:, 0] - 0.5).square() / 0.5).softmax(0)
    torch.testing.assert_close(torch.bincount(drawn, minlength=3) / 6000, expected, rtol=0, atol=0.03)


@pytest.mark.usefixtures("blocks")
def test_gumbel_straight_through_without_noise_has_the_softmax_gradient():
    x, codes = data()
    y, indices = gumbel_straight_through(x, codes, 0.8, noise=False)
    scores = reference_scores(x, codes, "euclidean")
    assert torch.equal(indices, scores.argmax(1))
    assert torch.equal(y, codes.detach()[indices])
    weights = torch.randn(5)
    soft = (scores / 0.8).softmax(1) @ codes
    for got, want in zip(
        torch.autograd.grad((y * weights).sum(), [x, codes]),
        torch.autograd.grad((soft * weights).sum(), [x, codes]),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("blocks")
def test_gumbel_noise_is_drawn_once_for_value_and_gradient():
    """At a low temperature the softmax is hard, so the relaxed value must agree with the drawn code."""
    torch.manual_seed(0)
    x, codes = data(500)
    y, indices = gumbel_straight_through(x, codes, 1.0)
    assert torch.equal(y, codes.detach()[indices])
    frequency = torch.bincount(indices, minlength=11).float()
    assert bool((frequency > 0).all())
    (gradient,) = torch.autograd.grad(y.sum(), [codes])
    assert torch.isfinite(gradient).all()


def test_far_clusters_keep_their_near_neighbours():
    """Scores are exact where the expanded square would cancel."""
    generator = torch.Generator().manual_seed(0)
    side = torch.tensor([1000.0, -1000.0]).repeat_interleave(64)[:, None]
    codes = torch.randn(128, 8, generator=generator) * 0.05 + side
    x = torch.randn(200, 8, generator=generator) * 0.05 + 1000
    expected = nearest(x, codes)
    assert torch.equal(gumbel_straight_through(x, codes, noise=False)[1], expected)
    assert (sample_codes(x, codes, temperature=1e-4) == expected).float().mean() > 0.9


@pytest.mark.parametrize("noise", [False, True])
def test_autocast_changes_no_score(noise: bool):
    x, codes = torch.randn(50, 8), torch.randn(1024, 8)
    results = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            y, indices = gumbel_straight_through(x, codes, noise=noise)
            results.append((y, indices, diversity_loss(x, codes), orthogonal_loss(codes)))
    for plain, cast in zip(*results, strict=True):
        assert torch.equal(plain, cast)
