"""Contract 5, value for value: whatever half type rows come in, and whatever is cast or autocast around them, a step
gives the codes, the loss and the state that the same values give in float32.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.cases import METHODS, Case
from tests.contracts.compare import assert_same_state, flat_state, gradients, loss_of
from vqkit.codebook.precision import Float32State
from vqkit.quantizers import Quantizer

HALVES = (torch.bfloat16, torch.float16)
# Autocast to one half type around rows of the other, too: where such meet, torch joins neither.
AROUND = ((torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float16), (torch.float16, torch.bfloat16))


@pytest.fixture(params=METHODS, ids=lambda case: case.name)
def method(request: pytest.FixtureRequest) -> Case:
    return request.param


@cache
def _trained(name: str) -> Quantizer:
    quantizer = next(case for case in METHODS if case.name == name).trained()
    quantizer.zero_grad()
    return quantizer


def trained(case: Case) -> Quantizer:
    return copy.deepcopy(_trained(case.name)).train()


def has_maps(module: nn.Module) -> bool:
    """Whether a cast changes weights: those of learned maps, which are no state of codes."""
    kept = {id(p) for m in module.modules() if isinstance(m, Float32State) for p in m.parameters()}
    return any(id(p) not in kept for p in module.parameters())


class Stepped(NamedTuple):
    quantized: Tensor
    indices: Tensor
    loss: Tensor
    slope: Tensor | None
    slopes: dict[str, Tensor]
    state: dict[str, Tensor]


def rows_of(case: Case) -> Tensor:
    """Float32 rows that both half types have exactly."""
    return (case.x(7) * 32).round() / 32


def stepped(quantizer: Quantizer, x: Tensor, around: AbstractContextManager | None = None, scale: float = 1) -> Stepped:
    """A training step on ``x``, always with the same random numbers; the output's gradient is ±scale, exact in any
    type.
    """
    torch.manual_seed(5)
    x = x.clone().requires_grad_()
    with around or nullcontext():
        out = quantizer(x)
        loss = loss_of(out)
        total = out.quantized.float()[..., ::2].sum() - out.quantized.float()[..., 1::2].sum() + loss
    if total.requires_grad:
        (total * scale).backward()
    state = flat_state(quantizer)
    return Stepped(out.quantized.detach(), out.indices, loss.detach(), x.grad, gradients(quantizer), state)


@cache
def expected_of(name: str) -> Stepped:
    case = next(case for case in METHODS if case.name == name)
    return stepped(trained(case), rows_of(case))


def assert_same_step(found: Stepped, case: Case, dtype: torch.dtype) -> None:
    expected = expected_of(case.name)
    assert torch.equal(found.indices, expected.indices)
    assert found.loss.dtype == torch.float32
    assert torch.equal(found.loss, expected.loss)
    assert found.quantized.dtype == dtype
    assert torch.equal(found.quantized, expected.quantized.to(dtype))
    assert_same_state(expected.state, found.state)
    assert (found.slope is None) == (expected.slope is None)
    if found.slope is not None and expected.slope is not None:
        # What reaches the rows by several ways is rounded on each of them.
        bound = 2 * torch.finfo(dtype).eps * expected.slope.abs().max().item()
        torch.testing.assert_close(found.slope, expected.slope.to(dtype), rtol=0, atol=bound)
    assert_same_state(expected.slopes, found.slopes)


def test_half_rows_teach_what_their_values_in_float32_do(method: Case):
    for dtype in HALVES:
        assert_same_step(stepped(trained(method), rows_of(method).to(dtype)), method, dtype)


@pytest.mark.parametrize("method", [c for c in METHODS if not has_maps(c.build())], ids=lambda c: c.name)
def test_a_cast_changes_nothing_where_no_map_is_learned(method: Case):
    x = rows_of(method).bfloat16()
    one = trained(method).eval()
    out = one(x)
    for dtype in (*HALVES, torch.float64):
        cast = trained(method).to(dtype).eval()
        assert torch.equal(cast.encode(x), out.indices)
        assert torch.equal(cast.decode(out.indices), one.decode(out.indices))
        assert_same_step(stepped(cast.train(), x), method, torch.bfloat16)


def test_autocast_reaches_learned_maps_alone(method: Case):
    for kind, dtype in AROUND:
        x = rows_of(method).to(dtype)
        found = stepped(trained(method), x, torch.autocast("cpu", dtype=kind))
        assert found.quantized.dtype == dtype
        assert found.loss.dtype == torch.float32
        assert all(bool(slope.isfinite().all()) for slope in found.slopes.values())
        quantizer = trained(method).eval()
        with torch.autocast("cpu", dtype=kind):
            out = quantizer(x)
            assert torch.equal(quantizer.encode(x), out.indices)
            assert torch.equal(quantizer.decode(out.indices).to(dtype), out.quantized)
        if not has_maps(quantizer):
            assert_same_step(found, method, dtype)
            assert torch.equal(quantizer(x).indices, out.indices)


@pytest.mark.parametrize("method", [c for c in METHODS if "plain" in c.name and c.rows_last], ids=lambda c: c.name)
def test_masks_and_lengths_of_half_rows(method: Case):
    x = rows_of(method)
    x[0, 2, 3] = torch.nan
    lens = torch.tensor([7, 4])
    mask = torch.arange(x.shape[1]) < lens[:, None]
    quantizer = trained(method).eval()
    expected = quantizer(x, mask=mask)
    for dtype in HALVES:
        for which in ({"mask": mask}, {"lens": lens}):
            out = quantizer(x.to(dtype), **which)
            assert torch.equal(out.indices, expected.indices)
            assert torch.equal(out.quantized, expected.quantized.to(dtype))
            assert not out.quantized[~mask].any()
