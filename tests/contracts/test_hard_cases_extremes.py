"""Rows near the ends of float32: finite input never makes a state, an output or a code that is not."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.cases import CASES, Case
from tests.contracts.compare import flat_state, loss_of, tables
from vqkit.codebook import InPlace
from vqkit.functional import gumbel_straight_through, rotation_trick
from vqkit.functional.softmax_entropy import code_entropies
from vqkit.quantizers import SQVAE, Quantizer

# Every method once: how a layout arranges rows says nothing of their size.
METHODS = [c for c in CASES if c.rows_last and (not c.name.startswith("VectorQuantize") or c.name.endswith("-rows"))]


def _keeps_state(quantizer: Quantizer) -> bool:
    """Whether all state is vqkit's own: what a caller's optimizer makes of a huge gradient is not."""
    return not any(isinstance(book.update, InPlace) for book in tables(quantizer))


@pytest.mark.parametrize("case", METHODS, ids=lambda c: c.name)
@pytest.mark.parametrize("scale", [1e30, 1e-40, 0.0], ids=str)
def test_finite_rows_give_finite_codes_and_state(case: Case, scale: float):
    quantizer = case.trained().train()
    x = case.x(3).sign() * scale
    out = quantizer(x)
    assert torch.isfinite(out.quantized).all()
    assert not torch.isnan(loss_of(out))
    if _keeps_state(quantizer):
        assert all(torch.isfinite(value).all() for value in flat_state(quantizer).values())
        again = quantizer.eval()(x)
        assert torch.equal(quantizer.decode(again.indices), again.quantized)


def test_the_gradients_of_softmax_choices_far_away_are_numbers():
    torch.manual_seed(0)
    x, codes = (torch.randn(5, 4) * 1e30).requires_grad_(), torch.randn(8, 4, requires_grad=True)
    soft, _ = gumbel_straight_through(x, codes)
    (soft.sum() + code_entropies(x, codes).per_row).backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(codes.grad).all()


def test_the_evidence_bound_far_away_has_no_nan():
    quantizer, x = SQVAE(4, 8), torch.full((3, 4), 1e15, requires_grad=True)
    out = quantizer(x)
    (out.quantized.sum() + out.loss).backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(quantizer.log_precision.grad).all()


def test_the_turn_of_the_rotation_trick_does_not_depend_on_the_scale():
    torch.manual_seed(0)
    x, q = torch.randn(5, 4), torch.randn(5, 4)
    grads = []
    for scale in (1.0, 2.0**100):
        leaf = (x * scale).requires_grad_()
        y = rotation_trick(leaf, q * scale)
        assert torch.equal(y, q * scale)
        y.sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(grads[1], grads[0])
