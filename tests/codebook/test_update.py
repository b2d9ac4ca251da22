from __future__ import annotations

from functools import partial

import pytest
import torch

from vqkit import VectorQuantize
from vqkit.codebook import EMA, Codebook, Fixed, Gradient, InPlace, LearnedAffine
from vqkit.errors import ArgumentError


def book_of(codes: torch.Tensor, **policies) -> Codebook:
    book = Codebook(*codes.shape, **{"revive": None, **policies})
    book.place_(torch.ones_like(book.frozen), codes[None], 1.0)
    return book


def test_ema_follows_the_formula_of_the_paper():
    """n ← γn + (1 − γ)count, m ← γm + (1 − γ)sum, e = m/ñ."""
    book = book_of(torch.tensor([[0.0, 0.0], [4.0, 0.0], [9.0, 9.0]]), update=EMA(0.8, eps=1e-5))
    rows = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [5.0, 0.0]]])
    book.learn_(rows, torch.tensor([[0, 0, 1]]))
    n = torch.tensor([0.8 + 0.2 * 2, 0.8 + 0.2 * 1, 0.8])
    m = torch.tensor([[0.2, 0.2], [0.8 * 4 + 0.2 * 5, 0.0]])
    smoothed = (n + 1e-5) / (n.sum() + 3e-5) * n.sum()
    torch.testing.assert_close(book.codes()[0, :2], m / smoothed[:2, None])
    assert torch.equal(book.codes()[0, 2], torch.tensor([9.0, 9.0])), "a code without a row stays where it is"


def test_debiased_ema_starts_at_the_first_batch_mean():
    book = book_of(torch.randn(4, 3), update=EMA(0.99, debias=True))
    rows = torch.randn(1, 20, 3)
    indices = torch.arange(20)[None] % 3
    unused = book.codes()[0, 3].clone()
    book.learn_(rows, indices)
    means = torch.stack([rows[0, indices[0] == k].mean(0) for k in range(3)])
    torch.testing.assert_close(book.codes()[0, :3], means, rtol=1e-4, atol=1e-5)
    assert torch.equal(book.codes()[0, 3], unused)


def test_idle_codes_are_held_or_go_to_zero_as_in_sonnet():
    codes = torch.randn(4, 3)
    rows, indices = torch.randn(1, 20, 3), torch.zeros(1, 20, dtype=torch.int64)
    held, written = (book_of(codes, update=EMA(0.9, debias=True, hold_idle=hold)) for hold in (True, False))
    for book in (held, written):
        book.learn_(rows, indices)
        torch.testing.assert_close(book.codes()[0, 0], rows[0].mean(0), rtol=1e-3, atol=1e-4)
    assert torch.equal(held.codes()[0, 1:], codes[1:])
    assert not written.codes()[0, 1:].any()


def test_debiased_ema_is_the_weighted_mean_of_all_rows_seen():
    decay, book = 0.9, None
    book = book_of(torch.zeros(1, 1), update=EMA(decay, eps=0.0, debias=True))
    seen, weights = [], []
    for step in range(6):
        value = float(step)
        book.learn_(torch.full((1, 2, 1), value), torch.zeros(1, 2, dtype=torch.int64))
        seen.append(value)
        weights = [w * decay for w in weights] + [1.0]
    expected = sum(w * v for w, v in zip(weights, seen, strict=True)) / sum(weights)
    assert book.codes().item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weight", [0.5, torch.tensor(0.5), torch.full((2,), 0.5), lambda sums, counts: 0.5])
def test_the_weight_of_a_step_scales_its_rate(weight):
    codes = torch.tensor([[0.0], [10.0]])
    weighted, plain = book_of(codes, update=EMA(0.8)), book_of(codes, update=EMA(0.9))
    rows, indices = torch.tensor([[[1.0], [9.0]]]), torch.tensor([[0, 1]])
    weighted.learn_(rows, indices, weight=weight)
    plain.learn_(rows, indices)
    torch.testing.assert_close(weighted.codes(), plain.codes())


def test_manual_ema_moves_codes_when_told():
    book = book_of(torch.tensor([[0.0], [10.0]]), update=EMA(0.5, manual=True))
    book.learn_(torch.tensor([[[1.0]]]), torch.tensor([[0]]))
    assert book.codes().flatten().tolist() == [0.0, 10.0]
    book.update_ema_()
    assert 0 < book.codes()[0, 0].item() < 1
    with pytest.raises(ArgumentError, match="update: expected EMA"):
        book_of(torch.zeros(2, 1), update=Fixed()).update_ema_()


def test_in_place_takes_the_step_of_the_codebook_loss():
    codes, rows, indices = torch.randn(3, 4), torch.randn(1, 10, 4), torch.arange(10)[None] % 2
    book = book_of(codes, update=InPlace(partial(torch.optim.SGD, lr=0.5)))
    parameter = codes.clone().requires_grad_()
    (parameter[indices[0]] - rows[0]).square().mean().backward()
    book.learn_(rows, indices)
    torch.testing.assert_close(book.codes()[0], codes - 0.5 * parameter.grad)


def test_in_place_moves_a_learned_affine_map_too():
    book = Codebook(4, 3, update=InPlace(partial(torch.optim.SGD, lr=0.1)), affine=LearnedAffine(), revive=None)
    book.learn_(torch.randn(1, 8, 3) + 5, torch.zeros(1, 8, dtype=torch.int64))
    assert bool(book.affine.shift.any())
    assert book.affine.shift.grad is None


def test_the_forward_returns_the_codes_the_in_place_step_made():
    quantizer = VectorQuantize(4, 8, in_place_codebook_optimizer=partial(torch.optim.SGD, lr=2.0))
    out = quantizer(torch.randn(30, 4))
    assert torch.equal(out.quantized, quantizer.decode(out.indices))


def test_manual_in_place_waits():
    quantizer = VectorQuantize(
        4,
        8,
        in_place_codebook_optimizer=partial(torch.optim.SGD, lr=2.0),
        manual_in_place_optimizer_update=True,
        revive=None,
    )
    before = quantizer.codebook.clone()
    quantizer(torch.randn(30, 4))
    assert torch.equal(quantizer.codebook, before)
    quantizer.update_in_place_optimizer()
    assert not torch.equal(quantizer.codebook, before)


def test_frozen_codes_stay_whatever_moves_the_rest():
    marked = torch.tensor([True, False] * 4)
    sgd = partial(torch.optim.SGD, lr=0.5, momentum=0.9, weight_decay=0.1)
    for options in ({}, {"in_place_codebook_optimizer": sgd}, {"update": Gradient()}, {"threshold_ema_dead_code": 5}):
        quantizer = VectorQuantize(4, 8, **options)
        quantizer.book.freeze_(marked)
        before = quantizer.codebook.detach().clone()
        optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.5) if options.get("update") else None
        for _ in range(3):
            out = quantizer(torch.randn(60, 4, requires_grad=True))
            if optimizer:
                optimizer.zero_grad()
                out.loss.backward()
                optimizer.step()
        assert torch.equal(quantizer.codebook[marked], before[marked]), options
        assert not torch.equal(quantizer.codebook[~marked], before[~marked]), options
        quantizer.book.freeze_(frozen=False)
        assert not quantizer.book.frozen.any()


def test_a_frozen_codebook_lets_the_encoder_learn():
    quantizer = VectorQuantize(4, 8, learnable_codebook=True, freeze_codebook=True)
    x = torch.randn(10, 4, requires_grad=True)
    quantizer(x).loss.backward()
    assert bool(x.grad.any())
    assert quantizer.book.vectors.grad is None


def test_cosine_codes_keep_unit_length():
    quantizer = VectorQuantize(8, 16, use_cosine_sim=True)
    for scale in (1, 1e3, 1e-3, 50):
        quantizer(torch.randn(100, 8) * scale)
        torch.testing.assert_close(quantizer.codebook.norm(dim=1), torch.ones(16))


def test_assigning_a_codebook_survives_the_next_step():
    quantizer = VectorQuantize(4, 8, revive=None)
    quantizer(torch.randn(50, 4))
    new = torch.randn(8, 4) * 10
    quantizer.codebook = new
    quantizer(torch.zeros(3, 4))
    used = quantizer.encode(torch.zeros(4))
    kept = torch.arange(8) != used
    assert torch.equal(quantizer.codebook[kept], new[kept])
    with pytest.raises(ArgumentError, match=r"codebook: expected shape \(8, 4\)"):
        quantizer.codebook = torch.zeros(9, 4)
