from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.errors import ArgumentError
from vqkit.functional import code_entropies, index_backpropagation
from vqkit.functional import logits as logits_module
from vqkit.functional.affinity import affinity, linear_affinity
from vqkit.functional.logits import code_logits
from vqkit.functional.relaxed import mixtures


@pytest.fixture(params=[None, 4], ids=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    if request.param:
        monkeypatch.setattr(logits_module, "SCORES_PER_BLOCK", request.param)


def data(n: int = 37, k: int = 11, d: int = 5):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, d, generator=generator).requires_grad_() for s in (n, k)]


def products(x, codes):
    return x @ codes.t()


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("temperature", [0.5, torch.tensor(2.0)])
def test_a_mixture_without_noise_is_the_softmax_of_all_scores(temperature):
    x, codes = data()
    soft, index = mixtures(affinity(x, codes, "dot"), codes, temperature, noise=False)
    expected = (products(x, codes) / temperature).softmax(1) @ codes
    torch.testing.assert_close(soft, expected)
    assert torch.equal(index, products(x, codes).argmax(1))
    weights = torch.randn(5, generator=torch.Generator().manual_seed(1))
    got = torch.autograd.grad((soft * weights).sum(), [x, codes])
    want = torch.autograd.grad((expected * weights).sum(), [x, codes])
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("blocks")
def test_the_largest_term_is_drawn_from_the_softmax_and_carries_the_mixture_as_the_temperature_falls():
    torch.manual_seed(0)
    scores = torch.tensor([0.0, 1.0, -0.5])
    codes = torch.tensor([[0.0], [1.0], [2.0]])
    soft, index = mixtures(linear_affinity(torch.zeros(6000, 1), torch.zeros(3, 1), scores), codes, 1e-3)
    share = torch.bincount(index, minlength=3) / 6000
    torch.testing.assert_close(share, scores.softmax(0), rtol=0, atol=0.03)
    assert ((soft - codes[index]).abs() < 1e-3).float().mean() > 0.98


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("metric", ["dot", "euclidean", "cosine"])
def test_index_backpropagation_is_the_one_hot_with_the_gradient_of_the_softmax(metric: str):
    """(onehot + p − sg(p))·E, as one dense expression."""
    x, codes = data()
    y, index = index_backpropagation(x, codes, 0.7, metric=metric)
    p = (code_logits(x, codes, metric) / 0.7).softmax(1)
    hard = torch.nn.functional.one_hot(p.argmax(1), 11).float()
    dense = (hard + p - p.detach()) @ codes
    assert torch.equal(index, p.argmax(1))
    assert torch.equal(y, codes.detach()[index])
    weights = torch.randn(37, 5, generator=torch.Generator().manual_seed(1))
    got = torch.autograd.grad((y * weights).sum(), [x, codes])
    want = torch.autograd.grad((dense * weights).sum(), [x, codes])
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-5)


def test_index_backpropagation_holds_no_score_per_row_and_code():
    """What autograd keeps stays far below N×K."""
    kept: list[int] = []
    x, codes = torch.randn(4096, 4, requires_grad=True), torch.randn(2048, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        y, _ = index_backpropagation(x, codes)
    assert max(kept) < 4096 * 2048 / 20
    y.sum().backward()
    assert bool(codes.grad.any(1).all())


@given(st.integers(1, 40), st.integers(1, 12), st.floats(0.05, 5), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_entropies_are_those_of_the_full_matrix(n: int, k: int, temperature: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    x, codes = torch.randn(n, 3, generator=generator), torch.randn(k, 3, generator=generator)
    valid = torch.rand(n, generator=generator) > 0.3
    found = code_entropies(x, codes, valid, temperature=temperature, metric="dot")
    p = (products(x, codes).double() / temperature).softmax(1)[valid]
    if not valid.any():
        assert found.per_row.item() == found.overall.item() == 0
        return
    torch.testing.assert_close(found.per_row.double(), torch.special.entr(p).sum(1).mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.overall.double(), torch.special.entr(p.mean(0)).sum(), rtol=1e-4, atol=1e-5)
    # The entropy is concave: that of the mean is never below the mean, nor above ln K.
    assert found.per_row <= found.overall + 1e-5
    assert found.overall <= torch.tensor(float(k)).log() + 1e-5


@pytest.mark.usefixtures("blocks")
def test_gradients_of_the_entropies():
    x, codes = data()
    found = code_entropies(x, codes, temperature=0.5, metric="dot")
    p = (products(x, codes) / 0.5).softmax(1)
    expected = torch.special.entr(p).sum(1).mean() - 2 * torch.special.entr(p.mean(0)).sum()
    got = torch.autograd.grad(found.per_row - 2 * found.overall, [x, codes])
    for g, w in zip(got, torch.autograd.grad(expected, [x, codes]), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-6)


def test_entropies_of_far_scores_are_finite():
    x = torch.tensor([[1e38], [1.0]], requires_grad=True)
    found = code_entropies(x, torch.tensor([[-3.0], [0.0], [3.0]]), metric="dot")
    (found.per_row + found.overall).backward()
    assert torch.isfinite(found.per_row)
    assert torch.isfinite(x.grad).all()


def test_bad_arguments_are_named():
    x, codes = torch.zeros(3, 2), torch.zeros(4, 2)
    with pytest.raises(ArgumentError, match="temperature"):
        index_backpropagation(x, codes, 0.0)
    with pytest.raises(ArgumentError, match="metric: expected one of"):
        code_entropies(x, codes, metric="manhattan")
    with pytest.raises(ArgumentError, match=r"valid: expected shape \(3\,\)"):
        code_entropies(x, codes, torch.ones(4, dtype=torch.bool))
