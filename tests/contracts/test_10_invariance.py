"""Contract 10 and 11: a vector's index does not depend on its company, ties go to the lowest index, micro-batches add
up.
"""

from __future__ import annotations

import inspect

import pytest
import torch

from tests.contracts.cases import CASES, DIM, SIZE, Case
from tests.contracts.compare import assert_same_state, flat_state, gradients, tables, windows
from vqkit import VectorQuantize
from vqkit.codebook import accumulating

STEADY_ROWS = [c for c in CASES if not c.draws and c.rows_last]
UNPROJECTED = [c for c in STEADY_ROWS if not c.projects]


@pytest.mark.parametrize("free", UNPROJECTED, ids=lambda c: c.name)
def test_the_same_vector_gets_the_same_index_in_any_batch(free: Case):
    quantizer = free.trained().eval()
    x = torch.randn(40, DIM)

    def encode(rows: torch.Tensor) -> torch.Tensor:
        return quantizer.columns(quantizer.encode(rows))[0]

    together = encode(x)
    order = torch.randperm(40)
    assert torch.equal(encode(x[order]), together[order])
    for row in range(0, 40, 7):
        assert torch.equal(encode(x[row])[0], together[row])
        assert torch.equal(encode(torch.cat([1e6 * torch.randn(3, DIM), x[row : row + 1]]))[-1], together[row])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_ties_go_to_the_lowest_index(metric: str):
    quantizer = VectorQuantize(DIM, SIZE, metric=metric).eval()
    codes = torch.randn(SIZE // 2, DIM)
    quantizer.codebook = torch.cat([codes, codes])
    assert int(quantizer.encode(torch.randn(200, DIM)).max()) < SIZE // 2
    assert int(quantizer.encode(torch.zeros(DIM))) == (0 if metric == "cosine" else int(codes.norm(dim=1).argmin()))


def _backward(quantized: torch.Tensor) -> None:
    if quantized.requires_grad:
        quantized.square().sum().backward()


@pytest.mark.parametrize("steady", [c for c in STEADY_ROWS if not (c.moves_within or c.couples)], ids=lambda c: c.name)
@pytest.mark.parametrize("way", ["argument", "context"])
def test_micro_batches_equal_one_batch(steady: Case, way: str):
    x = torch.cat([steady.x(3), steady.x(4)], 1).reshape(1, 36, DIM)
    parts = x.split([10, 14, 12], 1)
    whole, split = steady.trained().train(), steady.trained().train()
    for module in (whole, split):
        module.zero_grad()
    out = whole(x)
    _backward(out.quantized)
    indices = []
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if way == "argument" and "accum_ema_update" in inspect.signature(split.forward).parameters:
            out_part = split(part, accum_ema_update=not last)
        else:
            with accumulating(split, defer=not last):
                out_part = split(part)
        _backward(out_part.quantized)
        indices.append(split.columns(out_part.indices)[0])
    if not any(book.update.changes_output for book in tables(split)):
        assert_same_state(gradients(whole), gradients(split), 1e-4)
    assert torch.equal(torch.cat(indices), whole.columns(out.indices)[0])
    assert_same_state(flat_state(whole), flat_state(split), 1e-5)
    for one, many in zip(windows(whole), windows(split), strict=True):
        # As multisets: counts of 2^62 codes would not fit.
        drawn = [window.ring[:, : window.length].sort().values for window in (one, many)]
        assert torch.equal(*drawn)
