"""Contract 4: an all-true mask is no mask, and padding is as if it were not there."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.cases import CASES, DIM, Case
from tests.contracts.compare import assert_same_state, flat_state, gradients, positions_of

STEADY = [c for c in CASES if not c.draws]
SEQUENCES = [c for c in STEADY if c.shape == (2, 9, DIM)]


def _step(case: Case, x: torch.Tensor, **masking: torch.Tensor):
    quantizer = case.trained().train()
    x = x.clone().requires_grad_()
    torch.manual_seed(5)
    out = quantizer(x, **masking)
    quantizer.zero_grad()
    weights = torch.linspace(0.5, 2, DIM)
    channel = quantizer.channel_dim % x.ndim
    # Outputs of rows that do not count may be the input itself, which must not enter the comparison.
    counted = (out.indices >= 0).reshape(*positions_of(x, channel), -1).any(-1)
    kept = out.quantized.movedim(channel, -1)[counted]
    ((kept * weights).sum() + 3 * out.loss).backward()
    return out, x.grad, gradients(quantizer), flat_state(quantizer)


def test_an_all_true_mask_is_no_mask(case: Case):
    x = case.x(3)
    channel = case.build().channel_dim % x.ndim
    mask = torch.ones(positions_of(x, channel), dtype=torch.bool)
    out, grad, parameter_grads, state = _step(case, x, mask=mask)
    plain, plain_grad, plain_parameter_grads, plain_state = _step(case, x)
    assert torch.equal(out.quantized, plain.quantized)
    assert torch.equal(out.indices, plain.indices)
    torch.testing.assert_close(out.loss, plain.loss)
    torch.testing.assert_close(grad, plain_grad)
    assert_same_state(parameter_grads, plain_parameter_grads, 1e-6)
    assert_same_state(state, plain_state, 1e-6)


@pytest.mark.parametrize("steady", SEQUENCES, ids=lambda c: c.name)
@pytest.mark.parametrize("garbage", [0.0, 1e4, torch.nan], ids=str)
@pytest.mark.parametrize("by", ["mask", "lens"])
def test_padding_is_as_if_it_were_not_there(steady: Case, garbage: float, by: str):
    x, lens = steady.x(3), torch.tensor([9, 5])
    padded = torch.cat([x, torch.full((2, 4, DIM), garbage)], 1)
    mask = torch.arange(13) < lens[:, None]
    padded[~mask] = garbage
    masking = {"mask": mask} if by == "mask" else {"lens": lens}
    out, grad, parameter_grads, state = _step(steady, padded, **masking)
    rows = x[torch.arange(9) < lens[:, None]][None]
    plain, plain_grad, plain_parameter_grads, plain_state = _step(steady, rows)

    assert torch.equal(out.indices[mask], plain.indices[0])
    assert bool((out.indices[~mask] == -1).all())
    torch.testing.assert_close(out.quantized[mask], plain.quantized[0])
    kept = steady.options.get("return_zeros_for_masked_padding") is False
    torch.testing.assert_close(out.quantized[~mask], torch.full((12, DIM), garbage if kept else 0.0), equal_nan=True)
    torch.testing.assert_close(out.loss, plain.loss)
    torch.testing.assert_close(grad[mask], plain_grad[0])
    assert torch.isfinite(grad).all()
    assert_same_state(parameter_grads, plain_parameter_grads, 1e-5)
    assert_same_state(state, plain_state, 1e-5)


def test_a_fully_masked_batch_teaches_nothing(case: Case):
    quantizer = case.trained().train()
    x = case.x(3)
    mask = torch.zeros(positions_of(x, quantizer.channel_dim % x.ndim), dtype=torch.bool)
    before = quantizer.book.codes().detach().clone()
    momentum = "in_place_codebook_optimizer" in case.options or "affine" in case.options or "update" in case.options
    out = quantizer(x, mask=mask)
    assert bool((out.indices == -1).all())
    assert torch.isfinite(out.loss)
    if not momentum:
        assert torch.equal(quantizer.book.codes().detach(), before)
