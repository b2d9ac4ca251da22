"""What the contract says of indices, for the quantizers whose forward returns nothing else."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from tests.contracts.cases import INDICES_ALONE, Case
from tests.contracts.compare import assert_same_state, flat_state, positions_of
from vqkit.errors import ArgumentError, CodeIndexError
from vqkit.quantizers import build


@pytest.fixture(params=INDICES_ALONE, ids=lambda case: case.name)
def label(request: pytest.FixtureRequest) -> Case:
    return request.param


def test_indices_are_int64_in_range_in_the_shape_of_the_input(label: Case):
    quantizer, x = label.build(), label.x(1)
    positions = positions_of(x, quantizer.channel_dim % x.ndim)
    axis = (len(quantizer.index_sizes),) if quantizer.index_axis else ()
    for module in (quantizer.train(), quantizer.eval()):
        indices = module(x)
        assert indices.dtype == torch.int64
        assert indices.shape == (*positions, *axis)
        columns = quantizer.columns(indices)[0]
        assert bool(((columns >= 0) & (columns < torch.tensor(quantizer.index_sizes))).all())
        assert torch.equal(quantizer.encode(x), indices)


def test_nothing_learns(label: Case):
    quantizer = label.build().train()
    before = flat_state(quantizer)
    for seed in range(3):
        quantizer(label.x(seed))
    assert not list(quantizer.parameters())
    assert_same_state(before, flat_state(quantizer))


def test_there_is_no_way_back(label: Case):
    quantizer, x = label.build(), label.x(1)
    with pytest.raises(ArgumentError, match="no way back"):
        quantizer.decode(quantizer(x))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 2)], ids=str)
def test_any_rank_equals_its_rows(label: Case, shape: tuple[int, ...]):
    quantizer = label.build()
    if quantizer.channel_dim != -1:
        x = torch.randn(2, quantizer.dim, 3)
        rows = x.movedim(1, -1).reshape(-1, quantizer.dim)
    else:
        x = torch.randn(*shape, quantizer.dim)
        rows = x.reshape(-1, quantizer.dim)
    rows_valid = torch.ones(rows.shape[0], dtype=torch.bool)
    assert torch.equal(quantizer.columns(quantizer(x))[0], quantizer.encode_rows(rows, rows_valid))


def test_masked_and_bad_rows_get_minus_one_and_leave_the_others_alone(label: Case):
    quantizer, x = label.build().train(), label.x(1)
    channel = quantizer.channel_dim % x.ndim
    plain = quantizer.encode(x)
    mask = torch.rand(positions_of(x, channel)) > 0.4
    mask.view(-1)[0] = True
    first = (0,) * mask.ndim
    spoiled, kept = x.clone(), mask.clone()
    spoiled.movedim(channel, -1)[first] = torch.nan
    kept[first] = False
    with pytest.warns(RuntimeWarning, match="1 rows"):
        got = quantizer(spoiled, mask=mask)
    assert torch.equal(got[kept], plain[kept])
    assert bool((got[~kept] == -1).all())
    assert int(quantizer.window.counts()[0].sum()) == int(kept.sum())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_indices_are_those_of_the_same_values_in_float32(label: Case, dtype: torch.dtype):
    quantizer = label.build()
    x = label.x(1).to(dtype)
    expected = quantizer(x.float())
    assert torch.equal(quantizer(x), expected)
    assert torch.equal(quantizer.to(dtype)(x), expected)
    assert all(v.dtype == torch.float32 for v in quantizer.buffers() if v.is_floating_point())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quantizer(x), expected)


def test_state_survives_every_way_of_keeping_it(label: Case):
    first, second, file = label.build(), label.build(seed=9), io.BytesIO()
    expected = first(label.x(1))
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for kept in (second, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert torch.equal(kept(label.x(1)), expected)
    rebuilt = build(first.config)
    rebuilt.load_state_dict(first.state_dict())
    assert torch.equal(rebuilt(label.x(1)), expected)


def test_codes_of_indices_are_unit_codes_and_zero_for_minus_one(label: Case):
    quantizer = label.build()
    indices = quantizer(label.x(1))
    codes = quantizer.codes_of(indices)
    assert codes.shape[:-1] == indices.shape
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(indices.shape))
    assert not quantizer.codes_of(torch.full_like(indices, -1)).any()
    indices[(0,) * indices.ndim] = 10**6
    with pytest.raises(CodeIndexError, match="1000000"):
        quantizer.codes_of(indices)


def test_an_empty_batch(label: Case):
    quantizer = label.build()
    assert quantizer(label.x(0)[:0]).numel() == 0


def test_usage_lies_in_its_range(label: Case):
    quantizer = label.build()
    quantizer(label.x(1))
    assert bool(((quantizer.usage() > 0) & (quantizer.usage() <= 1)).all())
    assert bool((quantizer.perplexity() >= 1).all())
