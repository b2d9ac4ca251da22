"""What a step does to a codebook's tables, on a GPU or in the interpreter, against the reference on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.kernels import reference, triton
from vqkit.kernels.triton import draws, places

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
SHAPES = [(1, 1, 1), (2, 33, 5), (1, 70, 300)] + [(1, 8192, 64), (2, 3000, 257)] * GPU


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def there(*tensors: Tensor) -> list[Tensor]:
    return [t.to(DEVICE, copy=True) for t in tensors]


# --- rows drawn at random ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "slots"), [(1, 1), (5, 9), (700, 20), (1500, 1500)] + [(70_000, 8192)] * GPU)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_rows_in_the_order_of_their_scores(rows: int, slots: int, share: float):
    valid, seed = torch.rand(2, rows) < share, torch.tensor(41)
    positions = valid.cumsum(1) - 1 + torch.tensor([[3], [2**40]])
    scores, numbers = (t.cpu() for t in triton.draw(*there(valid, positions, seed), slots))
    expected = reference.draw(valid, positions, seed, slots)
    assert torch.equal(scores, expected[0])
    assert torch.equal(torch.where(scores > -torch.inf, numbers, -1), torch.where(scores > -torch.inf, expected[1], -1))


def test_equal_scores_in_the_order_of_rows():
    valid, positions = torch.ones(1, 50, dtype=torch.bool), torch.zeros(1, 50, dtype=torch.int64)
    numbers = triton.draw(*there(valid, positions, torch.tensor(7)), 20)[1].cpu()
    assert numbers.tolist() == [list(range(20))]


def test_many_rows_in_few_buckets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draws, "MOST_BITS", 10)
    valid, positions, seed = torch.ones(1, 5000, dtype=torch.bool), torch.arange(5000)[None], torch.tensor(2**33 + 5)
    draws._plans.cache_clear()
    found = [t.cpu() for t in triton.draw(*there(valid, positions, seed), 100)]
    for a, b in zip(found, reference.draw(valid, positions, seed, 100), strict=True):
        assert torch.equal(a, b)


# --- codes put elsewhere ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 40, 300] + [8192] * GPU)
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("slots", [1, 30, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_dead_codes_in_the_order_of_their_urgency(size: int, share: float, slots: int, dtype: torch.dtype):
    dead, urgency = torch.rand(2, size) < share, torch.randint(-5, 5, (2, size)).to(dtype)
    scores = torch.rand(2, slots, dtype=torch.float64)
    scores[1, slots // 2 :] = -torch.inf
    placed, slot = (t.cpu() for t in triton.assigned(*there(dead, urgency, scores)))
    expected = reference.assigned(dead, urgency, scores)
    assert torch.equal(placed, expected[0])
    assert torch.equal(slot[placed], expected[1][placed])
    assert slot.min() >= 0
    assert slot.max() < slots


def test_too_many_codes_are_sorted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(places, "MOST_CODES", 10)
    dead, urgency, scores = torch.rand(1, 20) < 0.5, torch.rand(1, 20), torch.rand(1, 20, dtype=torch.float64)
    for a, b in zip(triton.assigned(dead, urgency, scores), reference.assigned(dead, urgency, scores), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_are_written_where_asked(shape: tuple[int, int, int], dtype: torch.dtype):
    vectors, rows, where = torch.randn(shape), torch.randn(shape).to(dtype), torch.rand(shape[:2]) < 0.5
    rows[~where] = torch.nan
    found, given, there_where = there(vectors, rows, where)
    triton.overwrite_(found, there_where, given)
    reference.overwrite_(vectors, where, rows)
    assert torch.equal(found.cpu(), vectors)


@pytest.mark.parametrize("kind", [torch.int64, torch.float64])
def test_shares_fade(kind: torch.dtype):
    shares, counts, rows = torch.rand(2, 300), torch.randint(9, (2, 300)).to(kind), torch.tensor([700, 0])
    (found, *given) = there(shares, counts, rows)
    triton.fade_shares_(found, *given, 8.0)
    reference.fade_shares_(shares, counts, rows, 8.0)
    torch.testing.assert_close(found.cpu(), shares)
    assert torch.equal(found.cpu()[1], shares[1])


# --- moving averages --------------------------------------------------------------------------------------------------


def averages(H: int, K: int, D: int) -> list[Tensor]:
    n, m = torch.rand(H, K), torch.randn(H, K, D)
    n[:, 0] = 0
    return [n, m, torch.rand(H, K), torch.rand(H, K) < 0.3]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weight", ["none", "number", "codes"])
def test_a_step_of_the_averages(shape: tuple[int, int, int], weight: str):
    H, K, _ = shape
    counts, sums = torch.randint(3, (H, K)).double(), 100 * torch.randn(shape).double()
    sums[0, 0], rows = 1e300, torch.tensor([K, 0][:H])
    factor = {"none": None, "number": torch.tensor(0.5), "codes": 9 * torch.rand(K)}[weight]
    state = averages(*shape)
    found, given = there(*state), there(counts, sums, rows)
    triton.ema_step_(*found, *given, 0.8, None if factor is None else factor.to(DEVICE))
    reference.ema_step_(*state, counts, sums, rows, 0.8, factor)
    for a, b in zip(found, state, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 2500, 3)], ids=str)
@pytest.mark.parametrize(("everywhere", "unit"), [(False, False), (True, False), (False, True)])
def test_averages_are_written(shape: tuple[int, int, int], everywhere: bool, unit: bool):
    state, vectors, frozen = averages(*shape), torch.randn(shape), torch.rand(shape[:2]) < 0.2
    state[1][0, -1, -1], state[3][:, -1] = torch.inf, True
    state[1][-1, 0] = 0  # no direction
    found, there_frozen, *copies = there(vectors, frozen, *state)
    triton.ema_write_(found, *copies, there_frozen, 1e-5, everywhere, unit)
    reference.ema_write_(vectors, *state, frozen, 1e-5, everywhere, unit)
    torch.testing.assert_close(found.cpu(), vectors, rtol=1e-5, atol=1e-6)
    assert not copies[3].any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weight", [None, 1.0, 0.0])
def test_averages_follow_codes_that_were_put_elsewhere(shape: tuple[int, int, int], weight: float | None):
    n, m, start, _ = averages(*shape)
    vectors, where = torch.randn(shape), torch.rand(shape[:2]) < 0.5
    found = there(n, m)
    triton.ema_moved_(vectors.to(DEVICE), *found, *there(start, where), weight)
    reference.ema_moved_(vectors, n, m, start, where, weight)
    for a, b in zip(found, (n, m), strict=True):
        torch.testing.assert_close(a.cpu(), b)


def test_state_that_does_not_lie_row_by_row_is_left_to_the_reference():
    n, m, start, hit = averages(1, 6, 4)
    turned = m.transpose(1, 2).contiguous().transpose(1, 2)
    counts, sums, rows = torch.ones(1, 6).double(), torch.ones(1, 6, 4).double(), torch.tensor([6])
    triton.ema_step_(n.clone(), turned, start.clone(), hit.clone(), counts, sums, rows, 0.8, None)
    triton.ema_step_(n, m, start, hit, counts, sums, rows, 0.8, None)
    torch.testing.assert_close(turned, m)
