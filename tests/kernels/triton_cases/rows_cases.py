"""What a step does to every row, on a GPU or in the interpreter, against the reference on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.kernels.rotation_ends import MORE_NAMES, at_the_end
from vqkit.kernels import reference, triton

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
SHAPES = [(0, 3), (1, 1), (7, 5), (33, 17), (200, 257), (3, 1030)] + [(70_000, 64), (5000, 512)] * GPU


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def there(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.to(DEVICE) for t in tensors)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [1, 15, 64, 300])
def test_a_row_that_is_not_finite_is_found_wherever_the_number_is(bad: float, dtype: torch.dtype, width: int):
    x = torch.full((width + 1, width), torch.finfo(dtype).max, dtype=dtype)
    x[range(width), range(width)] = bad
    assert triton.finite_rows(x.to(DEVICE)).tolist() == [False] * width + [True]


def test_finite_rows_of_no_rows_and_of_a_view():
    x = torch.randn(40, 6)
    x[3, 5] = x[11, 0] = torch.nan
    assert triton.finite_rows(x[:0].to(DEVICE)).shape == (0,)
    view = x.to(DEVICE).t()[1:4].t()
    assert torch.equal(triton.finite_rows(view).cpu(), reference.finite_rows(x[:, 1:4]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pull(shape: tuple[int, int]):
    N, D = shape
    x, codes, indices = torch.randn(2, N, D), torch.randn(2, 9, D), torch.randint(-1, 9, (2, N))
    by = torch.tensor(0.3)
    pulled = triton.pull(*there(x, codes, indices, by)).cpu()
    torch.testing.assert_close(pulled, reference.pull(x, codes, indices, by), rtol=0, atol=0)


def test_what_does_not_count_pulls_nothing_whatever_it_holds():
    x, indices = torch.full((1, 4, 3), torch.nan), torch.tensor([[-1, -1, -1, -1]])
    pulled = triton.pull(*there(x, torch.randn(1, 5, 3), indices, torch.tensor(1.0))).cpu()
    assert not pulled.any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["own", "one number", "a transposed view"])
def test_the_gradient_of_the_rotation_trick(shape: tuple[int, int], kind: str):
    N, D = shape
    x, q = torch.randn(N, D), torch.randn(N, D)
    g = {
        "own": lambda: torch.randn(N, D),
        "one number": lambda: torch.randn(()).expand(N, D),
        "a transposed view": lambda: torch.randn(D, N).t(),
    }[kind]()
    expected = reference.turned_back(g.double(), x.double(), q.double())
    turned = triton.turned_back(g.to(DEVICE), *there(x, q)).cpu()
    torch.testing.assert_close(turned.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", MORE_NAMES)
def test_the_rotation_trick_at_its_ends(case: str):
    x, q = at_the_end(case, torch.randn(5, 8))
    g = torch.randn(5, 8)
    wide = torch.float32 if case == "beyond float32" else torch.float64  # the ratio is a number of float64
    expected = reference.turned_back(g.to(wide), x.to(wide), q.to(wide)).double()
    torch.testing.assert_close(triton.turned_back(*there(g, x, q)).cpu().double(), expected, rtol=1e-4, atol=1e-4)


def test_other_types_go_to_the_reference():
    x, q = torch.randn(6, 4, dtype=torch.bfloat16), torch.randn(6, 4, dtype=torch.bfloat16)
    indices, by = torch.randint(-1, 6, (1, 6)), torch.tensor(0.5)
    assert torch.equal(triton.turned_back(x, x, q), reference.turned_back(x, x, q))
    assert torch.equal(triton.pull(x[None], q[None], indices, by), reference.pull(x[None], q[None], indices, by))
