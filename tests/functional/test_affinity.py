"""The softmax objectives against float64 over all pairs, where float32 would lose, and what they promise as ops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vqkit.functional import (
    code_entropies,
    cross_entropy_loss,
    diversity_loss,
    gumbel_straight_through,
    index_backpropagation,
    sample_codes,
)
from vqkit.functional import logits as logits_module

N, K, D = 150, 60, 24


def data(offset: float = 0.0, scale: float = 1.0, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(0)
    x, codes, task = (torch.randn(n, D, generator=generator) for n in (N, K, N))
    indices = torch.randint(K, (N,), generator=generator)
    return (x * scale + offset).to(dtype), (codes * scale + offset).to(dtype), indices, task


def scores(x, codes, metric):
    if metric == "euclidean":
        return -(x[:, None] - codes).square().sum(-1)
    return F.normalize(x, dim=1) @ F.normalize(codes, dim=1).t() if metric == "cosine" else x @ codes.t()


def entropy(p):
    return -(p * p.clamp(min=1e-300).log()).sum(-1)  # a slope at zero too


OBJECTIVES = {
    "diversity": (
        lambda x, e, i, w, m, t: diversity_loss(x, e, temperature=t, metric=m),
        lambda s, e, i, w: -entropy(s.softmax(1).mean(0)),
    ),
    "entropies": (
        lambda x, e, i, w, m, t: sum(code_entropies(x, e, temperature=1 / t, metric=m)),
        lambda s, e, i, w: entropy(s.softmax(1)).mean() + entropy(s.softmax(1).mean(0)),
    ),
    "cross_entropy": (
        lambda x, e, i, w, m, t: cross_entropy_loss(x, e, i, temperature=1 / t, metric=m),
        lambda s, e, i, w: F.cross_entropy(s, i),
    ),
    "gumbel": (
        lambda x, e, i, w, m, t: (gumbel_straight_through(x, e, 1 / t, metric=m, noise=False)[0] * w).sum(),
        lambda s, e, i, w: ((s.softmax(1) @ e) * w).sum(),
    ),
}


@pytest.mark.parametrize(
    ("offset", "scale", "metric", "sharpness"),
    [
        (0.0, 1.0, "euclidean", 1.0),
        (0.0, 1.0, "euclidean", 100.0),
        (1000.0, 0.01, "euclidean", 100.0),
        (1000.0, 0.01, "euclidean", 1e4),
        (0.0, 1.0, "cosine", 10.0),
        (1000.0, 10.0, "cosine", 1e6),
        (0.0, 1.0, "dot", 1.0),
        (1000.0, 0.01, "dot", 0.1),
    ],
)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_values_and_gradients_are_those_of_float64(
    name: str, offset: float, scale: float, metric: str, sharpness: float
):
    ours, dense = OBJECTIVES[name]
    x, codes, indices, task = data(offset, scale)
    x, codes = x.requires_grad_(), codes.requires_grad_()
    exact_x, exact_codes = x.detach().double().requires_grad_(), codes.detach().double().requires_grad_()
    got = ours(x, codes, indices, task, metric, sharpness)
    want = dense(scores(exact_x, exact_codes, metric) * sharpness, exact_codes, indices, task)
    if name != "gumbel":  # whose value is the hard code's
        torch.testing.assert_close(got.double(), want, rtol=3e-6, atol=1e-6)
    slopes = torch.autograd.grad(want, [exact_x, exact_codes])
    for slope, expected in zip(torch.autograd.grad(got, [x, codes]), slopes, strict=True):
        # e^−45 is nothing: gradients of less than that are none.
        assert (slope - expected).abs().max() <= 1e-5 * expected.abs().max() + 1e-12


def test_double_rows_and_codes_keep_their_dtype_and_precision():
    x, codes, indices, _ = data(1e6, 0.01, torch.float64)
    x, codes = x.requires_grad_(), codes.requires_grad_()
    got = torch.autograd.grad(cross_entropy_loss(x, codes, indices, temperature=1e-3), [x, codes])
    want = torch.autograd.grad(F.cross_entropy(scores(x, codes, "euclidean") * 1e3, indices), [x, codes])
    for slope, expected in zip(got, want, strict=True):
        assert slope.dtype == torch.float64
        assert (slope - expected).abs().max() <= 1e-5 * expected.abs().max()


def all_of(x, codes, indices):
    soft, drawn = gumbel_straight_through(x, codes)
    values = [
        diversity_loss(x, codes, temperature=0.1),
        code_entropies(x, codes).per_row,
        cross_entropy_loss(x, codes, indices),
        soft.square().sum(),
        index_backpropagation(x, codes, metric="euclidean")[0].square().sum(),
    ]
    return sum(values), drawn, sample_codes(x, codes)


def test_noise_and_values_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch):
    x, codes, indices, _ = data()
    x, codes = x.requires_grad_(), codes.requires_grad_()
    results = []
    for block in (2**17, 1):
        monkeypatch.setattr(logits_module, "SCORES_PER_BLOCK", block)
        torch.manual_seed(3)
        value, *drawn = all_of(x, codes, indices)
        results.append((value, *drawn, *torch.autograd.grad(value, [x, codes])))
    assert logits_module.rows_per_block(K) == 32
    for one, many in zip(*results, strict=True):
        torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-4)  # of gradients of 1e2


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_values_and_gradients_are_the_eager_ones(backend: str):
    x, codes, indices, _ = data()
    x, codes = x.requires_grad_(), codes.requires_grad_()
    torch.compiler.reset()
    compiled = torch.compile(lambda x, codes: all_of(x, codes, indices), fullgraph=True, backend=backend)
    results = []
    for function in (lambda x, codes: all_of(x, codes, indices), compiled):
        torch.manual_seed(3)
        value, *drawn = function(x, codes)
        results.append((value, *drawn, *torch.autograd.grad(value, [x, codes])))
    for eager, graph in zip(*results, strict=True):
        torch.testing.assert_close(eager, graph, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_second_derivative_is_refused(name: str):
    x, codes, indices, task = data()
    x = x.requires_grad_()
    value = OBJECTIVES[name][0](x, codes, indices, task, "euclidean", 0.1)
    (slope,) = torch.autograd.grad(value, x, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        slope.sum().backward()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_of_rows_by_codes_is_kept_for_backward(name: str):
    kept: list[int] = []
    x, codes = torch.randn(2048, 4, requires_grad=True), torch.randn(2048, 4, requires_grad=True)
    indices, task = torch.zeros(2048, dtype=torch.int64), torch.ones(2048, 4)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        value = OBJECTIVES[name][0](x, codes, indices, task, "euclidean", 1.0)
    assert max(kept) <= 2048 * 4
    value.backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_rows_reach_the_codes_with_a_gradient_of_zero(name: str):
    x, codes, indices, task = data()
    codes = codes.requires_grad_()
    OBJECTIVES[name][0](x[:0], codes, indices[:0], task[:0], "euclidean", 1.0).backward()
    assert not codes.grad.any()
