"""Contract 4: an all-true mask is no mask, and padding is as if it were not there."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.cases import CASES, DIM, Case
from tests.contracts.compare import assert_same_state, flat_state, gradients, loss_of, positions_of, tables
from vqkit.layout import channel_axis

ROW_WISE = [c for c in CASES if not c.pools]
SEQUENCES = [c for c in ROW_WISE if not c.draws and c.rows_last]


def _step(case: Case, x: torch.Tensor, **masking: torch.Tensor):
    quantizer = case.trained().train()
    x = x.clone().requires_grad_()
    torch.manual_seed(5)
    out = quantizer(x, **masking)
    quantizer.zero_grad()
    weights = torch.linspace(0.5, 2, case.width)
    channel = channel_axis(quantizer.channel_dim, x.ndim)
    # Outputs of rows that do not count may be the input itself, which must not enter the comparison.
    counted = (quantizer.columns(out.indices)[0] >= 0).any(-1).reshape(positions_of(x, channel))
    kept = out.quantized.movedim(channel, -1)[counted]
    ((kept * weights).sum() + 3 * loss_of(out)).backward()
    indices = quantizer.columns(out.indices)[0].reshape(*positions_of(x, channel), -1)
    return out, indices, x.grad, gradients(quantizer), flat_state(quantizer)


@pytest.mark.parametrize("case", ROW_WISE, ids=lambda c: c.name)
def test_an_all_true_mask_is_no_mask(case: Case):
    x = case.x(3)
    channel = channel_axis(case.build().channel_dim, x.ndim)
    mask = torch.ones(positions_of(x, channel), dtype=torch.bool)
    out, indices, grad, parameter_grads, state = _step(case, x, mask=mask)
    plain, plain_indices, plain_grad, plain_parameter_grads, plain_state = _step(case, x)
    assert torch.equal(out.quantized, plain.quantized)
    assert torch.equal(indices, plain_indices)
    torch.testing.assert_close(loss_of(out), loss_of(plain))
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
    out, indices, grad, parameter_grads, state = _step(steady, padded, **masking)
    rows = x[torch.arange(9) < lens[:, None]][None]
    plain, plain_indices, plain_grad, plain_parameter_grads, plain_state = _step(steady, rows)

    assert torch.equal(indices[mask], plain_indices[0])
    assert bool((indices[~mask] == -1).all())
    torch.testing.assert_close(out.quantized[mask], plain.quantized[0])
    kept = steady.options.get("return_zeros_for_masked_padding") is False
    left = torch.full((12, steady.width), garbage if kept else 0.0)
    torch.testing.assert_close(out.quantized[~mask], left, equal_nan=True)
    torch.testing.assert_close(loss_of(out), loss_of(plain))
    torch.testing.assert_close(grad[mask], plain_grad[0])
    assert torch.isfinite(grad).all()
    assert_same_state(parameter_grads, plain_parameter_grads, 1e-5)
    assert_same_state(state, plain_state, 1e-5)


@pytest.mark.parametrize("case", ROW_WISE, ids=lambda c: c.name)
def test_a_fully_masked_batch_teaches_nothing(case: Case):
    quantizer = case.trained().train()
    x = case.x(3)
    mask = torch.zeros(positions_of(x, channel_axis(quantizer.channel_dim, x.ndim)), dtype=torch.bool)
    before = [book.codes().detach().clone() for book in tables(quantizer)]
    out = quantizer(x, mask=mask)
    assert bool((out.indices == -1).all())
    assert torch.isfinite(loss_of(out))
    for book, codes in zip(tables(quantizer), before, strict=True):
        # The momentum of an optimizer within goes on.
        assert book.update.changes_output or book.in_place or torch.equal(book.codes().detach(), codes)
