"""Contract 5, the state: float32 whatever the default dtype, through casts there and back, and in checkpoints of
models in half precision.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from tests.contracts.cases import INDICES_ALONE, METHODS, Case
from tests.contracts.compare import assert_same_state, flat_state, loss_of, tables
from tests.contracts.test_05_same_values import has_maps, rows_of, trained

# The ways to cast a whole model.
CASTS = {
    "half": lambda model: model.half(),
    "to": lambda model: model.to("cpu", torch.bfloat16),
    "to_like": lambda model: model.to(torch.zeros(1, dtype=torch.float16)),
    "type": lambda model: model.type(torch.bfloat16),
    "double": lambda model: model.double(),
}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("case", METHODS, ids=lambda c: c.name)
def test_the_default_dtype_reaches_learned_maps_alone(case: Case) -> None:
    # One of the two for each case: neither has a path of its own.
    dtype = (torch.float64, torch.bfloat16)[METHODS.index(case) % 2]
    with default_dtype(dtype):
        check_default(case)


def check_default(case: Case) -> None:
    quantizer = case.build()
    x = torch.randn(case.shape, dtype=torch.float32)
    out = quantizer(x)
    assert out.quantized.dtype == loss_of(out).dtype == torch.float32
    assert all(v.dtype == torch.float32 for v in quantizer.buffers() if v.is_floating_point())
    assert all(v.dtype == torch.float32 for t in tables(quantizer) for v in t.parameters())
    out = quantizer.eval()(x)
    assert torch.equal(quantizer.decode(out.indices).float(), out.quantized)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", INDICES_ALONE, ids=lambda c: c.name)
def test_the_default_dtype_reaches_no_frozen_map(case: Case, default: torch.dtype):
    x = torch.randn(case.shape, dtype=torch.float32)
    expected = case.build()(x)
    with default_dtype(default):
        quantizer = case.build()
        assert all(v.dtype == torch.float32 for v in quantizer.buffers() if v.is_floating_point())
        assert torch.equal(quantizer(x), expected)


@pytest.mark.parametrize("case", METHODS, ids=lambda c: c.name)
def test_a_checkpoint_goes_from_half_to_float32_and_back(case: Case):
    x = rows_of(case).half()
    half = nn.Sequential(nn.Linear(2, 2), trained(case)).half().eval()
    stored = copy.deepcopy(half.state_dict())
    full = nn.Sequential(nn.Linear(2, 2), case.build()).eval()
    full.load_state_dict(stored)
    assert all(v.dtype == torch.float32 for v in flat_state(full).values() if v.is_floating_point())
    again = nn.Sequential(nn.Linear(2, 2), case.build()).half().eval()
    again.load_state_dict(full.state_dict())
    assert_same_state(flat_state(half), flat_state(again))
    assert torch.equal(again[1](x).quantized, half[1](x).quantized)
    if not has_maps(half[1]):
        assert torch.equal(full[1](x).indices, half[1](x).indices)


@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
@pytest.mark.parametrize("case", [c for c in METHODS if c.name.endswith("-plain")], ids=lambda c: c.name)
def test_every_way_to_cast_a_model_leaves_codes_alone(case: Case, cast):
    quantizer = trained(case)
    before = [flat_state(table) for table in tables(quantizer)]
    cast(nn.Sequential(nn.Linear(2, 2), quantizer)).float()
    for table, state in zip(tables(quantizer), before, strict=True):
        assert_same_state(state, flat_state(table))
