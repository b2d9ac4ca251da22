from __future__ import annotations

import pytest
import torch

from vqkit.errors import ArgumentError
from vqkit.functional import moments


def test_moments_of_known_distributions():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200_000, 3, generator=generator, dtype=torch.float64)
    x[:, 1] = -x[:, 1].log()  # exponential: 1, 1, 2, 6
    x[:, 2] = torch.randn(200_000, generator=generator, dtype=torch.float64) * 3 + 5
    found = moments(x)
    expected = [[0.5, 1, 5], [1 / 12, 1, 9], [0, 2, 0], [-1.2, 6, 0]]
    torch.testing.assert_close(torch.stack(found[1:]), torch.tensor(expected).double(), rtol=0.05, atol=0.02)
    assert int(found.rows) == 200_000


def test_masked_rows_do_not_enter_whatever_they_hold():
    torch.manual_seed(0)
    x, valid = torch.randn(50, 2), torch.rand(50) > 0.4
    dirty = torch.where(valid[:, None], x, torch.nan).requires_grad_()
    found, expected = moments(dirty, valid), moments(x[valid])
    torch.testing.assert_close(tuple(found), tuple(expected))
    sum(m.sum() for m in found).backward()
    assert torch.isfinite(dirty.grad).all()
    assert not dirty.grad[~valid].any()


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_or_no_variance_give_zero_and_finite_gradients(rows: int):
    x = torch.full((rows, 2), 0.1, requires_grad=True)
    found = moments(x)
    assert int(found.rows) == rows
    assert all(torch.isfinite(m).all() for m in found)
    assert not torch.stack(found[2:]).any()
    sum(m.sum() for m in found).backward()
    assert torch.isfinite(x.grad).all()


def test_the_gradient_is_that_of_the_formula():
    torch.manual_seed(0)
    x = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([True, True, False, True, True, True, True])
    assert torch.autograd.gradcheck(lambda v: torch.stack(moments(v, valid)[1:]), x)


def test_a_far_offset_does_not_cancel():
    torch.manual_seed(0)
    x = torch.randn(1000, 1)
    shifted = x.double() + 1e6
    torch.testing.assert_close(moments(shifted).variance, moments(x).variance, rtol=1e-6, atol=0)
    torch.testing.assert_close(moments(shifted).kurtosis, moments(x).kurtosis, rtol=1e-5, atol=1e-5)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ArgumentError, match=r"x: expected shape \(N, D\)"):
        moments(torch.zeros(3))
    with pytest.raises(ArgumentError, match=r"valid: expected shape \(3,\)"):
        moments(torch.zeros(3, 2), torch.ones(2, dtype=torch.bool))
