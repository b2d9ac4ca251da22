"""Contract 3: rank 1 upward, the channel axis anywhere, non-contiguous input, an empty batch."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.cases import CASES, DIM, SIZE, Case
from tests.contracts.compare import loss_of, positions_of, tables
from vqkit import VectorQuantize
from vqkit.layout import channel_axis

FREE = [c for c in CASES if c.rows_last]


@pytest.mark.parametrize("free", FREE, ids=lambda c: c.name)
@pytest.mark.parametrize("shape", [(DIM,), (5, DIM), (2, 3, DIM), (2, 3, 2, DIM), (1, 2, 3, 2, DIM)], ids=str)
def test_any_rank_equals_its_rows(free: Case, shape: tuple[int, ...]):
    quantizer = free.trained().eval()
    x = torch.randn(shape)
    out, rows = quantizer(x), quantizer(x.reshape(-1, DIM))
    assert out.quantized.shape == (*shape[:-1], free.width)
    assert torch.equal(quantizer.columns(out.indices)[0], quantizer.columns(rows.indices)[0])
    torch.testing.assert_close(out.quantized.reshape(-1, free.width), rows.quantized)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -2])
@pytest.mark.parametrize("heads", [1, 3])
def test_the_channel_axis_anywhere(axis: int, heads: int):
    torch.manual_seed(0)
    moved = VectorQuantize(DIM, SIZE, heads=heads, codebook_dim=DIM // heads, channel_dim=axis).eval()
    last = VectorQuantize(DIM, SIZE, heads=heads, codebook_dim=DIM // heads).eval()
    last.load_state_dict(moved.state_dict())
    x = torch.randn(2, 3, 4, DIM)
    out, expected = moved(x.movedim(-1, axis)), last(x)
    assert torch.equal(out.indices, expected.indices)
    assert torch.equal(out.quantized, expected.quantized.movedim(-1, axis))
    assert torch.equal(moved.decode(out.indices), out.quantized)


def test_non_contiguous_input_changes_nothing(case: Case):
    quantizer = case.trained().eval()
    x = case.x(2)
    strided = torch.empty(*x.shape[:-1], 2 * x.shape[-1])[..., ::2].copy_(x)
    assert not strided.is_contiguous()
    assert torch.equal(quantizer(strided).quantized, quantizer(x).quantized)


def test_an_empty_batch(case: Case):
    quantizer = case.trained()
    before = {k: v.clone() for k, v in quantizer.state_dict().items() if isinstance(v, torch.Tensor)}
    empty = case.x(0)[:0].requires_grad_()
    for module in (quantizer.eval(), quantizer.train()):
        out = module(empty)
        channel = channel_axis(quantizer.channel_dim, empty.ndim)
        assert out.quantized.movedim(channel, -1).shape == (*positions_of(empty, channel), case.width)
        assert out.indices.numel() == 0
        assert torch.isfinite(loss_of(out))
    (out.quantized.sum() + loss_of(out)).backward()
    after = {k: v for k, v in quantizer.state_dict().items() if isinstance(v, torch.Tensor)}
    if not any(book.update.changes_output for book in tables(quantizer)):
        for name, value in after.items():
            assert not name.endswith("vectors") or torch.equal(value, before[name]), name
    assert all(torch.isfinite(v).all() for v in after.values())


@pytest.mark.parametrize("free", FREE, ids=lambda c: c.name)
def test_the_first_batch_may_be_empty(free: Case):
    quantizer = free.build()
    quantizer(free.x(0)[:0])
    assert torch.isfinite(loss_of(quantizer(free.x(0))))
