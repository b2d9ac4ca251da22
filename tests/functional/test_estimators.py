from __future__ import annotations

import pytest
import torch

from vqkit.errors import ArgumentError
from vqkit.functional import diveq, noise_substitution, rotation_trick, straight_through, synchronous

EXACT = [straight_through, rotation_trick]


@pytest.mark.parametrize("estimator", EXACT)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e4])
def test_the_value_is_the_code_to_the_bit(estimator, scale: float):
    x, q = torch.randn(50, 7) * scale, torch.randn(50, 7)
    x[3], q[4] = 0, 0
    assert torch.equal(estimator(x.requires_grad_(), q), q)


def test_rotation_gradient_is_that_of_the_scaled_rotation():
    """The Jacobian maps x̂ to q̂, is orthogonal but for the scale |q|/|x|, and fixes what is orthogonal to both."""
    torch.manual_seed(0)
    x, q = torch.randn(5, dtype=torch.double), torch.randn(5, dtype=torch.double)
    jacobian = torch.autograd.functional.jacobian(lambda v: rotation_trick(v, q), x)
    scale = q.norm() / x.norm()
    torch.testing.assert_close(jacobian @ x, q)
    torch.testing.assert_close(jacobian @ jacobian.t(), scale**2 * torch.eye(5, dtype=torch.double))
    basis = torch.linalg.qr(torch.stack([x, q]).t()).Q
    aside = torch.randn(5, dtype=torch.double)
    aside = aside - basis @ (basis.t() @ aside)
    torch.testing.assert_close(jacobian @ aside, scale * aside)


@pytest.mark.parametrize("case", ["zero x", "zero q", "opposite"])
def test_rotation_where_no_angle_is(case: str):
    x, q = torch.ones(3), torch.full((3,), 2.0)
    if case == "zero x":
        x = torch.zeros(3)
    elif case == "zero q":
        q = torch.zeros(3)
    else:
        q = -q
    x.requires_grad_()
    y = rotation_trick(x, q)
    weights = torch.tensor([1.0, -2.0, 0.5])
    (y * weights).sum().backward()
    assert torch.equal(y, q)
    if case == "opposite":
        torch.testing.assert_close(x.grad.norm(), 2 * weights.norm())
    else:
        assert torch.equal(x.grad, weights)


@pytest.mark.parametrize("estimator", [diveq, noise_substitution])
def test_noisy_estimators_move_by_the_error(estimator):
    torch.manual_seed(0)
    x, q = torch.randn(200, 16, requires_grad=True), torch.randn(200, 16, requires_grad=True)
    y = estimator(x, q)
    torch.testing.assert_close((y - x).norm(dim=1), (q - x).norm(dim=1))
    y.sum().backward()
    assert bool(x.grad.any())
    assert bool(q.grad.any())
    assert torch.isfinite(estimator(x, x)).all()


def test_diveq_points_at_the_code_and_noise_substitution_does_not():
    torch.manual_seed(0)
    x, q = torch.randn(500, 16), torch.randn(500, 16)
    towards = torch.nn.functional.cosine_similarity(diveq(x, q) - x, q - x)
    anywhere = torch.nn.functional.cosine_similarity(noise_substitution(x, q) - x, q - x)
    assert towards.min() > 0.9
    assert anywhere.mean().abs() < 0.05


def test_noise_of_zero_length_has_a_finite_gradient():
    x = torch.ones(3, 4, requires_grad=True)
    diveq(x, torch.ones(3, 4), variance=0.0).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_synchronous_keeps_the_value():
    y, q = torch.randn(5, 3), torch.randn(5, 3, requires_grad=True)
    assert torch.equal(synchronous(y, q, 0.3), y)


def test_shapes_must_agree():
    with pytest.raises(ArgumentError, match=r"q: expected shape \(2, 3\), that of x, got shape \(3, 2\)"):
        straight_through(torch.zeros(2, 3), torch.zeros(3, 2))
