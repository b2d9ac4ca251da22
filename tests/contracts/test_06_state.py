"""Contract 6 and 7: eval is pure, and state survives every way of keeping it."""

from __future__ import annotations

import copy
import io
import pickle

import torch

from tests.contracts.cases import Case
from tests.contracts.compare import assert_same_state, flat_state, loss_of, tables


def test_eval_changes_nothing(case: Case):
    for quantizer in (case.build(), case.trained()):
        quantizer.eval()
        before = flat_state(quantizer)
        quantizer(case.x(1))
        quantizer.decode(quantizer.encode(case.x(2)))
        assert_same_state(before, flat_state(quantizer))


def test_encode_changes_nothing_in_training(case: Case):
    for quantizer in (case.build(), case.trained()):
        before = flat_state(quantizer.train())
        quantizer.encode(case.x(1))
        assert quantizer.training
        assert_same_state(before, flat_state(quantizer))


def test_a_frozen_forward_changes_nothing(case: Case):
    for quantizer in (case.build(), case.trained()):
        before = flat_state(quantizer.train())
        quantizer.zero_grad()
        x = case.x(1).requires_grad_()
        out = quantizer(x, freeze_codebook=True)
        (out.quantized.sum() + loss_of(out)).backward()
        assert_same_state(before, flat_state(quantizer))
        assert all(p.grad is None for book in tables(quantizer) for p in book.parameters())


def assert_continues_alike(case: Case, first, second):
    """Both give the same output in eval, learn the same from the same step, and end in the same state."""
    for mode in ("eval", "train", "eval"):
        outs = []
        for quantizer in (first, second):
            getattr(quantizer, mode)()
            torch.manual_seed(3)
            outs.append(quantizer(case.x(7)))
        assert torch.equal(outs[0].quantized, outs[1].quantized)
        assert torch.equal(outs[0].indices, outs[1].indices)
    assert_same_state(flat_state(first), flat_state(second))


def test_state_dict_round_trip(case: Case):
    first, second = case.trained(), case.build(seed=9)
    second.load_state_dict(first.state_dict())
    assert_continues_alike(case, first, second)


def test_saved_with_weights_only(case: Case):
    first, second, buffer = case.trained(), case.build(seed=9), io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    assert_continues_alike(case, first, second)


def test_deepcopy(case: Case):
    first = case.trained()
    assert_continues_alike(case, first, copy.deepcopy(first))


def test_pickle(case: Case):
    first = case.trained()
    assert_continues_alike(case, first, pickle.loads(pickle.dumps(first)))
