from __future__ import annotations

import math
import subprocess
import sys
from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqkit.errors import ArgumentError, ArgumentTypeError
from vqkit.functional import bit_entropy, code_bit_logits, code_mass, code_probabilities, entropy, unpack_bits


@pytest.fixture(params=[None, 64], ids=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Blocks of 16 rows, so that small tests cross their edges."""
    if request.param:
        monkeypatch.setattr(import_module("vqkit.functional.entropy"), "VALUES_PER_BLOCK", request.param)


def codes(bits: int, magnitude: float) -> Tensor:
    return (unpack_bits(torch.arange(2**bits), bits).double() * 2 - 1) * magnitude


def brute_force(x_ND: Tensor, magnitude: float, inv_temperature: float, valid: Tensor | None = None):
    """Both entropies by their definition, with the whole table, in float64."""
    distances = torch.cdist(x_ND, codes(x_ND.shape[1], magnitude), compute_mode="donot_use_mm_for_euclid_dist").square()
    log_p = (-inv_temperature * distances).log_softmax(1)
    log_p = log_p if valid is None else log_p[valid]
    mean = log_p.exp().mean(0)
    per_sample = -(log_p.exp() * log_p).sum(1).mean()
    return per_sample, -torch.where(mean > 0, mean * mean.clamp(min=1e-300).log(), 0).sum()


def factorised(x_ND: Tensor, magnitude: float, inv_temperature: float, valid: Tensor | None = None):
    logits = code_bit_logits(x_ND, magnitude, inv_temperature)
    kept = torch.ones(x_ND.shape[0], dtype=torch.bool) if valid is None else valid
    per_sample = (bit_entropy(logits).sum(1) * kept).sum() / kept.sum()
    return per_sample, entropy(code_mass(logits, valid) / kept.sum())


def rows(bits: int, count: int = 50) -> Tensor:
    return torch.randn(count, bits, generator=torch.Generator().manual_seed(bits)) * 0.7


@pytest.mark.parametrize("bits", range(1, 13))
@pytest.mark.parametrize("inv_temperature", [0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_are_those_of_the_full_softmax(blocks, bits: int, inv_temperature: float, masked: bool):
    valid = torch.arange(50) % 3 > 0 if masked else None
    exact = rows(bits).double().requires_grad_()
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        x = rows(bits).to(dtype).requires_grad_()
        ours = factorised(x, 0.8, inv_temperature, valid)
        for got, want in zip(ours, brute_force(exact, 0.8, inv_temperature, valid), strict=True):
            torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance * 1e-3)
            slope = torch.autograd.grad(got, x, retain_graph=True)[0].double()
            expected = torch.autograd.grad(want, exact, retain_graph=True)[0]
            assert (slope - expected).abs().max() <= tolerance * expected.abs().max()


def test_gradients_pass_the_numerical_check():
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([True, True, False, True, True])
    assert torch.autograd.gradcheck(lambda ls: code_mass(ls, valid), logits)
    assert torch.autograd.gradcheck(bit_entropy, logits)
    assert torch.autograd.gradcheck(code_probabilities, logits)


def curvature(of, logits: Tensor) -> Tensor:
    """The gradient of the squared length of a gradient."""
    leaf = logits.requires_grad_()
    (slope,) = torch.autograd.grad(of(leaf).square().sum(), leaf, create_graph=True)
    return torch.autograd.grad(slope.square().sum(), leaf)[0]


@pytest.mark.parametrize("of", [code_mass, code_probabilities, lambda logits: code_mass(logits, torch.arange(7) > 2)])
def test_second_derivatives(blocks, of):
    logits = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    exact = curvature(of, logits.double())
    assert torch.autograd.gradgradcheck(of, logits.double().requires_grad_())
    torch.testing.assert_close(curvature(of, logits.clone()).double(), exact, rtol=1e-4, atol=1e-5)


def test_tables_side_by_side_are_tables_apart(blocks):
    torch.manual_seed(0)
    logits, weights = torch.randn(3, 41, 7, requires_grad=True), torch.randn(3, 128)
    together = torch.autograd.grad((code_mass(logits) * weights).sum(), logits)[0]
    for h in range(3):
        mass = code_mass(logits[h])
        torch.testing.assert_close(mass, code_mass(logits)[h])
        apart = torch.autograd.grad((mass * weights[h]).sum(), logits)[0]
        torch.testing.assert_close(together[h], apart[h], rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 10), st.integers(0, 20), st.floats(0.01, 30), st.integers(0, 2**31))
def test_mass_is_the_sum_of_the_rows_probabilities(bits: int, count: int, scale: float, seed: int):
    logits = torch.randn(count, bits, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale
    table = (torch.sigmoid(logits[:, None] * codes(bits, 1.0))).prod(-1)
    torch.testing.assert_close(code_probabilities(logits), table)
    torch.testing.assert_close(code_mass(logits), table.sum(0))


def test_bits_that_are_all_even_have_the_entropy_of_all_codes():
    # A clamp of small probabilities at 1e-5 gives 11.5 here.
    logits = torch.zeros(10, 18)
    assert math.isclose(entropy(code_mass(logits) / 10).item(), 18 * math.log(2), rel_tol=1e-6)
    assert math.isclose(bit_entropy(logits).sum(1).mean().item(), 18 * math.log(2), rel_tol=1e-6)


def test_a_code_rarer_than_one_in_a_hundred_thousand_still_has_a_gradient():
    x = torch.full((4, 18), 0.01, requires_grad=True)
    per_sample, batch = factorised(x, 1.0, 1.0)
    for value in (per_sample, batch):
        slope = torch.autograd.grad(value, x, retain_graph=True)[0]
        # dH/dℓ = −ℓσσ' a bit, ℓ = 0.04, times 4, over four rows.
        torch.testing.assert_close(slope, torch.full_like(slope, -0.04 / 4), rtol=1e-3, atol=0)


def test_bits_beyond_doubt():
    x = torch.tensor([[3e38, -3e38], [50.0, -50.0]], requires_grad=True)
    per_sample, batch = factorised(x, 1.0, 100.0)
    assert (per_sample.item(), batch.item()) == (0.0, 0.0)
    (per_sample - batch).backward()
    assert not x.grad.any()
    # Relative to their own size, entropies far below float32's epsilon are right.
    torch.testing.assert_close(bit_entropy(torch.tensor([60.0])), torch.tensor([61 * math.exp(-60)]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", [(0, 6), (3, 0, 6)], ids=str)
def test_no_rows(shape: tuple[int, ...]):
    logits = torch.zeros(shape, requires_grad=True)
    mass = code_mass(logits)
    assert mass.shape == (*shape[:-2], 64)
    entropy(mass).sum().backward()
    assert not mass.any()


def test_a_row_that_does_not_count_gets_no_gradient():
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    valid = torch.tensor([True, False, True, True, False, True])
    entropy(code_mass(logits, valid) / 4).backward()
    assert not logits.grad[~valid].any()
    assert logits.grad[valid].any(1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_are_counted_in_float32(dtype: torch.dtype):
    logits = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(code_mass(logits), code_mass(logits.float()))


def test_autocast_does_not_round_the_product():
    logits = torch.randn(40, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            value = entropy(code_mass(logits) / 40)
            results.append((value, torch.autograd.grad(value, logits)[0]))
    assert all(torch.equal(plain, cast) for plain, cast in zip(*results, strict=True))


MEMORY = """
import torch
from pathlib import Path
from vqkit import LFQ
torch.set_num_threads(1)
def peak():  # not ru_maxrss, which a process inherits
    return int(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM:"))) * 1024
def step(lfq, n):
    x = torch.randn(1, n, lfq.dim, requires_grad=True)
    out = lfq(x)
    (out.quantized.sum() + out.loss).backward()
step(LFQ(dim=4), 16)
before = peak()
step(LFQ(dim=18), 4096)
print(peak() - before)
"""


def test_a_training_step_of_2_18_codes_fits_in_256_mib():
    """The high-water mark of a process of its own, over what a small step left: rows by codes would be 4 GiB."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 256 * 2**20


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: code_mass(torch.zeros(3, 25)), ArgumentError, "logits: expected 1 to 24 bits.*groups.*got 25"),
        (lambda: code_mass(torch.zeros(3, 0)), ArgumentError, "logits: expected 1 to 24 bits"),
        (lambda: code_mass(torch.zeros(3)), ArgumentError, "logits: expected shape"),
        (lambda: code_mass(torch.zeros(3, 2).long()), ArgumentTypeError, "logits: expected a floating-point"),
        (lambda: code_mass(torch.zeros(3, 2), torch.ones(3)), ArgumentTypeError, "valid: expected a bool tensor"),
        (lambda: code_mass(torch.zeros(3, 2), torch.ones(2).bool()), ArgumentError, r"valid: expected shape \(3,\)"),
        (lambda: code_bit_logits(torch.zeros(2), -1.0), ArgumentError, "magnitude"),
        (lambda: code_bit_logits(torch.zeros(2), 1.0, float("nan")), ArgumentError, "inv_temperature"),
        (lambda: entropy(torch.tensor(1.0)), ArgumentError, "share: expected shape"),
        (lambda: code_probabilities(torch.tensor(1.0)), ArgumentError, "logits: expected shape"),
        (lambda: bit_entropy(torch.tensor([1])), ArgumentTypeError, "logits"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()
