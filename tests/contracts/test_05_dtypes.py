"""Contract 5: the output has the input's dtype, the state stays float32, and indices are those of the same values in
float32.
"""

from __future__ import annotations

import pytest
import torch

from tests.contracts.cases import Case
from tests.contracts.compare import assert_same_state, flat_state, loss_of, tables

HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64], ids=str)
def test_input_of_another_dtype(case: Case, dtype: torch.dtype):
    quantizer = case.trained().eval()
    x = case.x(1).to(dtype)
    out = quantizer(x)
    assert out.quantized.dtype == dtype
    assert torch.equal(out.indices, quantizer(x.float()).indices)
    assert torch.equal(quantizer.decode(out.indices).to(dtype), out.quantized)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_training_step_in_half_precision(case: Case, dtype: torch.dtype):
    quantizer = case.build()
    x = case.x(1).to(dtype).requires_grad_()
    out = quantizer(x)
    (out.quantized.float().square().mean() + loss_of(out)).backward()
    assert out.quantized.dtype == dtype
    assert x.grad is None or x.grad.dtype == dtype
    assert all(v.dtype == torch.float32 for v in quantizer.buffers() if v.is_floating_point())


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64], ids=str)
def test_a_cast_module_keeps_its_state(case: Case, dtype: torch.dtype):
    quantizer = case.trained()
    kept = tables(quantizer)
    before = [flat_state(module) for module in kept]
    x = case.x(1).to(dtype)
    cast = quantizer.to(dtype).eval()
    for module, state in zip(kept, before, strict=True):
        assert_same_state(state, flat_state(module))
    assert all(v.dtype == torch.float32 for v in cast.buffers() if v.is_floating_point())
    out = cast(x)
    assert out.quantized.dtype == dtype
    assert torch.equal(cast.decode(out.indices).to(dtype), out.quantized)
    trained = cast.train()(x)
    assert torch.isfinite(trained.quantized).all()


def test_under_autocast(case: Case):
    quantizer = case.trained()
    x = case.x(1).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = quantizer(x)
        assert out.quantized.dtype == torch.float32
        quantizer.eval()
        out = quantizer(x)
        assert torch.equal(quantizer.decode(out.indices).float(), out.quantized)
    if not case.projects:
        assert torch.equal(out.indices, quantizer(x).indices)
