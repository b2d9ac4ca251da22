"""Contract 5 under ``torch.amp``: a scaled loss gives scaled gradients to the bit, and a step that overflows is
skipped and leaves the codes finite.
"""

from __future__ import annotations

import pytest
import torch

from tests.contracts.cases import METHODS, Case
from tests.contracts.compare import assert_same_state, flat_state, loss_of
from tests.contracts.test_05_same_values import expected_of, rows_of, stepped, trained

SCALE = 2.0**16  # where ``GradScaler`` begins, and what float16 does not have


@pytest.mark.parametrize("case", METHODS, ids=lambda case: case.name)
def test_gradients_scale_with_the_loss(case: Case):
    expected = expected_of(case.name)
    found = stepped(trained(case), rows_of(case), scale=SCALE)
    assert torch.equal(found.loss, expected.loss)
    assert_same_state({name: SCALE * slope for name, slope in expected.slopes.items()}, found.slopes)
    if expected.slope is not None and found.slope is not None:
        assert torch.equal(found.slope, SCALE * expected.slope)


@pytest.mark.parametrize(
    "case", [c for c in METHODS if any(p.requires_grad for p in c.build().parameters())], ids=lambda c: c.name
)
def test_a_step_that_overflows_is_skipped(case: Case):
    quantizer = trained(case)
    weights = [p for p in quantizer.parameters() if p.requires_grad]
    optimizer, scaler = torch.optim.SGD(weights, lr=1e-3), torch.amp.GradScaler("cpu", init_scale=256.0)
    for step, factor in enumerate((1.0, torch.inf)):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            out = quantizer(case.x(20 + step).requires_grad_())
            loss = factor * (out.quantized.float().square().mean() + loss_of(out))
        if not loss.requires_grad:
            return
        scaler.scale(loss).backward()
        if all(weight.grad is None for weight in weights):
            return
        before = [weight.detach().clone() for weight in weights]
        scaler.step(optimizer)
        scaler.update()
        assert all(torch.isfinite(value).all() for value in flat_state(quantizer).values())
        moved = any(not torch.equal(one, other) for one, other in zip(weights, before, strict=True))
        assert moved == (factor == 1.0) or not any(w.grad is not None and bool(w.grad.any()) for w in weights)
    assert scaler.get_scale() == 128.0
