from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vqkit.errors import ArgumentError
from vqkit.functional import bin_centres, bin_levels, cdf, inverse_cdf, perturb
from vqkit.functional.perturbation import DISTRIBUTIONS
from vqkit.functional.scalar import MAX_LEVELS

REFERENCE = {
    "sigmoid": torch.distributions.TransformedDistribution(
        torch.distributions.Uniform(0.0, 1.0), torch.distributions.SigmoidTransform().inv
    ),
    "normal": torch.distributions.Normal(0.0, 1.0),
    "laplace": torch.distributions.Laplace(0.0, 1.0),
    "cauchy": torch.distributions.Cauchy(0.0, 1.0),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_cdf_of_the_distribution_it_is_named_after(name: str):
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(cdf(x, name), REFERENCE[name].cdf(x))


def test_tanh_is_tanh_moved_to_the_unit_interval():
    x = torch.linspace(-3, 3, 101, dtype=torch.float64)
    torch.testing.assert_close(cdf(x, "tanh"), (x.tanh() + 1) / 2)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_inverse_undoes_it(name: str):
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)
    torch.testing.assert_close(inverse_cdf(cdf(x, name), name), x)
    ends = inverse_cdf(torch.tensor([0.0, 1.0]), name)
    assert ends[0] < -1e6
    assert ends[1] > 1e6


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_gradients_are_the_density_and_finite_far_out(name: str):
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    (density,) = torch.autograd.grad(cdf(x, name).sum(), x)
    step = 1e-6
    slope = (cdf(x.detach() + step, name) - cdf(x.detach() - step, name)) / (2 * step)
    torch.testing.assert_close(density, slope, rtol=1e-4, atol=1e-6)
    far = torch.tensor([-1e30, -200.0, 200.0, 1e30], requires_grad=True)
    cdf(far, name).sum().backward()
    assert torch.isfinite(far.grad).all()


@given(st.integers(2, MAX_LEVELS), st.data())
def test_centres_lie_in_their_bins(count: int, data: st.DataObject):
    levels = torch.tensor([count])
    number = torch.tensor([[data.draw(st.one_of(st.integers(0, count - 1), st.sampled_from([0, count - 1])))]])
    assert torch.equal(bin_levels(bin_centres(number, levels), levels), number)


def test_the_ends_lie_in_the_outer_bins():
    assert bin_levels(torch.tensor([[0.0], [1.0]]), torch.tensor([7])).flatten().tolist() == [0, 6]


def test_perturbations_have_the_width_of_a_bin_and_stay_in_range():
    torch.manual_seed(0)
    levels = torch.tensor([8, 2])
    p = torch.rand(20_000, 2)
    out, accepted = perturb(p, levels)
    assert bool(((out > 0) & (out < 1)).all())
    offset = (out - p).abs()
    assert bool((offset <= 0.5 / levels + 1e-6).all())
    assert torch.equal(out == p, ~accepted)
    # Near an end, within half a bin, half of what lies beyond is rejected: 1/(4L) at both ends.
    torch.testing.assert_close(accepted.float().mean(0), 1 - 1 / (4 * levels), rtol=0.01, atol=0)


def test_a_share_is_rounded():
    torch.manual_seed(0)
    levels, p = torch.tensor([8, 5]), torch.rand(20_000, 2)
    centre = bin_centres(bin_levels(p, levels), levels)
    for rate in (0.0, 0.3, 1.0):
        out, _ = perturb(p, levels, rate)
        assert abs(float((out == centre).float().mean()) - rate) < 0.01


def test_what_does_not_fit_is_named():
    p, levels = torch.zeros(3, 2), torch.tensor([8, 5])
    with pytest.raises(ArgumentError, match="distribution: expected one of 'tanh'"):
        cdf(p, "gauss")
    with pytest.raises(ArgumentError, match=r"p: expected shape \(\.\.\., 2\)"):
        bin_levels(torch.zeros(3), levels)
    with pytest.raises(ArgumentError, match="quantize_rate"):
        perturb(p, levels, 1.5)
