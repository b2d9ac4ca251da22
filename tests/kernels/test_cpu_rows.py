"""The native passes over rows against the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.kernels.rotation_ends import NAMES, at_the_end
from vqkit.kernels import cpu, reference
from vqkit.kernels.ops import plain

ABSENT = cpu.why_not()
pytestmark = pytest.mark.skipif(ABSENT is not None, reason=f"no native library: {ABSENT}")
SHAPES = [(0, 3), (1, 1), (7, 5), (33, 17), (2000, 257)]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 64])
def test_a_row_that_is_not_finite_is_found_wherever_the_number_is(bad: float, width: int):
    x = torch.full((width + 1, width), 3e38)
    x[range(width), range(width)] = bad
    assert cpu.finite_rows(x).tolist() == [False] * width + [True]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pull(shape: tuple[int, int]):
    N, D = shape
    x, codes, indices = torch.randn(2, N, D), torch.randn(2, 9, D), torch.randint(-1, 9, (2, N))
    by = torch.tensor(0.3)
    torch.testing.assert_close(cpu.pull(x, codes, indices, by), reference.pull(x, codes, indices, by))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("alike", [False, True])
def test_the_gradient_of_the_rotation_trick(shape: tuple[int, int], alike: bool):
    N, D = shape
    x, q = torch.randn(N, D), torch.randn(N, D)
    g = torch.randn(()).expand(N, D) if alike else torch.randn(N, D)
    expected = reference.turned_back(g.double(), x.double(), q.double())
    torch.testing.assert_close(cpu.turned_back(g, x, q).double(), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("case", NAMES)
def test_the_rotation_trick_at_its_ends(case: str):
    x, q = at_the_end(case, torch.randn(5, 8))
    g = torch.randn(5, 8)
    expected = reference.turned_back(g.double(), x.double(), q.double())
    torch.testing.assert_close(cpu.turned_back(g, x, q).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 12, 1500])
def test_of_many_narrow_rows_those_that_are_not_finite_are_found(width: int):
    x = torch.randn(3001, width)
    bad = torch.rand(3001) < 0.01
    x[bad, torch.randint(width, (int(bad.sum()),))] = torch.inf
    assert torch.equal(cpu.finite_rows(x), ~bad)


@pytest.mark.parametrize("rows", [0, 1, 31, 3000])
@pytest.mark.parametrize(
    "levels", [[3], [8, 5, 5, 5], [2, 1000, 7], [3] * 8, [2] * 9, [2] * 61, [2**20] * 3], ids=lambda v: f"{len(v)}"
)
def test_levels(levels: list[int], rows: int):
    counts = torch.tensor(levels)
    half = (counts - 1) / 2
    grid = (torch.full_like(half, 0.1), half * 1.001, half, half * 2, half, counts.cumprod(0) // counts)
    x = torch.randn(rows, len(levels)) * 2
    values, indices, squashed = cpu.snap_levels(x, *grid)
    expected = reference.snap_levels(x, *grid)
    assert torch.equal(indices, expected[1])
    torch.testing.assert_close(values, expected[0], rtol=0, atol=0)
    for g in (torch.randn_like(x), torch.ones(()).expand_as(x)):
        torch.testing.assert_close(cpu.unsquash(g, squashed, half), reference.unsquash(g, squashed, half))


def test_rows_of_other_types_go_to_the_reference():
    x = torch.randn(6, 4, dtype=torch.float64)
    x[2, 1] = torch.nan
    assert cpu.finite_rows(x).tolist() == [True, True, False, True, True, True]
    assert cpu.turned_back(x, x, x).dtype == torch.float64


def test_the_number_of_threads_changes_no_bit_of_a_row():
    x, q, codes, indices = (
        torch.randn(4000, 300),
        torch.randn(4000, 300),
        torch.randn(1, 9, 300),
        torch.randint(9, (1, 4000)),
    )
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            pulled = cpu.pull(x[None], codes, indices, torch.tensor(2.0))
            found.append((cpu.finite_rows(x), pulled, cpu.turned_back(x, x, q)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def _watched(x: Tensor) -> bool:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    with Watch():
        return plain(x)


def test_values_are_read_in_plain_eager_code_alone():
    x = torch.zeros(2)
    assert plain(x)
    assert plain(torch.nn.Parameter(x))
    assert not _watched(x)
    assert torch.compile(lambda t: t + plain(t), backend="eager", fullgraph=True)(x).tolist() == [0.0, 0.0]
