"""The reference of the residual chain: stage after stage by the nearest code of what is left."""

from __future__ import annotations

import pytest
import torch

from vqkit.functional import nearest
from vqkit.kernels import ops
from vqkit.kernels.dispatch import choose


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(50, 6, generator=generator), torch.randn(4, 20, 6, generator=generator)


def test_each_stage_takes_what_the_ones_before_left():
    x, codebooks = drawn()
    indices = ops.residual_chain(x, codebooks, "")
    left = x
    for stage, codes in enumerate(codebooks):
        assert torch.equal(indices[:, stage], nearest(left, codes))
        left = x - sum(codebooks[s][indices[:, s]] for s in range(stage + 1))
    assert left.square().mean() < x.square().mean()


def test_rows_that_are_not_finite_have_no_index():
    x, codebooks = drawn()
    x[3, 1], x[7] = torch.nan, torch.inf
    indices = ops.residual_chain(x, codebooks, "")
    assert indices[[3, 7]].eq(-1).all()
    assert int((indices < 0).sum()) == 8


@pytest.mark.parametrize("rows", [0, 5])
def test_the_op_is_well_formed(rows: int):
    x, codebooks = drawn()
    torch.library.opcheck(ops.residual_chain_op, (x[:rows], codebooks, "reference"))


def test_what_runs_and_why():
    assert choose("residual_chain", torch.zeros(1)).backend in ("cpu", "reference")
