"""Contract 1 and 2: indices decode to what the forward returned, to the bit; and stay in range."""

from __future__ import annotations

import inspect

import pytest
import torch

from tests.contracts.cases import Case
from vqkit.errors import CodeIndexError


def test_decode_equals_forward_in_eval(case: Case):
    quantizer = case.trained().eval()
    x = case.x(1)
    out = quantizer(x)
    assert torch.equal(quantizer.decode(out.indices), out.quantized)
    assert torch.equal(quantizer.encode(x), out.indices)
    for name in ("get_output_from_indices", "indices_to_codes"):  # methods, not properties, of every class
        assert inspect.isfunction(inspect.getattr_static(type(quantizer), name))
        assert torch.equal(getattr(quantizer, name)(out.indices), out.quantized)


def test_the_training_value_is_the_code(case: Case):
    quantizer = case.trained().train()
    out = quantizer(case.x(1), freeze_codebook=True)
    if case.noisy:
        # The noise leaves the code; the indices must be right all the same.
        assert bool((out.indices >= 0).all())
        assert case.couples or torch.equal(quantizer.encode(case.x(1)), out.indices)
    else:
        assert torch.equal(quantizer.decode(out.indices), out.quantized)


def test_indices_are_int64_in_range(case: Case):
    quantizer = case.trained()
    for module in (quantizer.train(), quantizer.eval()):
        indices = module(case.x(1)).indices
        assert indices.dtype == torch.int64
        columns, _ = quantizer.columns(indices)
        assert int(columns.min()) >= (-1 if case.drops and module.training else 0)
        assert bool((columns < torch.tensor(quantizer.index_sizes)).all())


def test_minus_one_decodes_to_zero(case: Case):
    quantizer = case.trained().eval()
    indices = quantizer.encode(case.x(1))
    assert not quantizer.decode(torch.full_like(indices, -1)).any()


@pytest.mark.parametrize("wrong", ["one too many", "-2", "far off"])
def test_an_index_out_of_range_is_named(case: Case, wrong: str):
    quantizer = case.build().eval()
    indices = quantizer.encode(case.x(1)).contiguous()
    value = {"one too many": max(quantizer.index_sizes), "-2": -2, "far off": 2**62}[wrong]
    indices.view(-1)[3] = value
    with pytest.raises(CodeIndexError, match=str(value)):
        quantizer.decode(indices)
