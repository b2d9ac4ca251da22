from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.functional.test_packing import level_counts
from vqkit import FSP
from vqkit.errors import ArgumentError, ArgumentTypeError, VqkitError
from vqkit.functional import cdf, inverse_cdf
from vqkit.functional.perturbation import DISTRIBUTIONS
from vqkit.quantizers import MomentMatch, build


@settings(deadline=None)
@given(level_counts(2**12), st.sampled_from(DISTRIBUTIONS), st.data())
def test_codes_on_the_inputs_own_scale_are_their_own_code(counts: list[int], act_name: str, data: st.DataObject):
    counts = [max(count, 2) for count in counts]
    while math.prod(counts) > 2**62:
        counts.pop()
    fsp = FSP(counts, act_name=act_name, need_inv_act=True).eval()
    size = math.prod(counts)
    indices = torch.tensor([0, size - 1, *data.draw(st.lists(st.integers(0, size - 1)))])
    codes = fsp.decode(indices)
    assert torch.equal(fsp.encode(codes), indices)
    assert torch.equal(fsp(codes).quantized, codes)


@pytest.mark.parametrize("act_name", DISTRIBUTIONS)
def test_bins_are_equally_likely_under_their_distribution(act_name: str):
    torch.manual_seed(0)
    uniform = torch.rand(40_000, 1)
    indices = FSP([8], act_name=act_name).encode(inverse_cdf(uniform, act_name))
    torch.testing.assert_close(indices.bincount() / 40_000, torch.full((8,), 1 / 8), rtol=0.1, atol=0)


def test_perturbed_outputs_have_variance_one_and_leave_the_index():
    torch.manual_seed(0)
    fsp = FSP([4, 9], act_name="normal")
    x = torch.randn(50_000, 2)
    out = fsp(x)
    assert torch.equal(out.indices, fsp.encode(x))
    torch.testing.assert_close(out.quantized.var(0), torch.ones(2), rtol=0.05, atol=0)
    p = out.quantized / 12**0.5 + 0.5
    assert bool(((p - cdf(x, "normal")).abs() <= 0.5 / fsp.level_counts + 1e-6).all())
    assert 0.9 < float(out.info.accept_rate) < 1
    assert fsp.eval()(x).info.accept_rate == 1


def test_gradients_are_those_of_the_cdf_or_the_identity():
    for rate in (0.0, 1.0):
        x = torch.randn(50, 3, requires_grad=True)
        weights = torch.randn(50, 3)
        (FSP([8, 5, 2], quantize_rate=rate)(x).quantized * weights).sum().backward()
        expected = (1 - x.detach().tanh().square()) / 2 * 12**0.5 * weights
        torch.testing.assert_close(x.grad, expected, rtol=1e-5, atol=1e-6)
        x.grad = None
        fsp = FSP([8, 5, 2], quantize_rate=rate, need_inv_act=True)
        assert fsp.straight
        (fsp(x).quantized * weights).sum().backward()
        assert torch.equal(x.grad, weights)


def test_the_loss_is_the_weighted_distance_of_moments_from_their_targets():
    torch.manual_seed(0)
    x = torch.randn(500, 2) * 2 + 1
    out = FSP([8, 5], act_name="sigmoid", vector_norm=MomentMatch(0.5, 3.0, weights=(0.3, 0.7, 0, 0)))(x)
    mean, variance = x.mean(0), x.var(0)
    expected = 0.3 * (mean - 0.5).square().mean() + 0.7 * (variance - 3).square().mean()
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(out.info.moments.variance.float(), variance)


@pytest.mark.parametrize("act_name", ["tanh", "sigmoid", "normal", "laplace"])
def test_the_default_norm_is_at_rest_on_its_own_distribution(act_name: str):
    torch.manual_seed(0)
    x = inverse_cdf(torch.rand(100_000, 1), act_name)
    assert float(FSP([8], act_name=act_name)(x).loss) < 1e-3
    assert float(FSP([8], act_name=act_name)(3 * x).loss) > 0.05
    assert float(FSP([8], act_name="cauchy")(3 * x).loss) == 0


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("norm", ["kurt", None])
def test_no_row_and_one_row_have_a_finite_loss(rows: int, norm: str | None):
    x = torch.randn(rows, 3, requires_grad=True)
    out = FSP([8, 5, 5], vector_norm=norm)(x)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert torch.isfinite(x.grad).all()
    expected = 0.1 * x.detach().mean(0).square().mean() if rows else torch.zeros(())
    torch.testing.assert_close(out.loss.detach(), expected)


def test_info_leaves_out_what_is_masked():
    fsp = FSP([8, 5], channel_first=True)
    x, mask = torch.randn(2, 2, 9), torch.arange(9).expand(2, 9) < 6
    out = fsp(x, mask=mask)
    assert out.info.level_indices.shape == (2, 9, 2)
    assert bool((out.info.level_indices[:, 6:] == -1).all())
    assert torch.equal(out.info.level_indices, fsp.indices_to_level_indices(out.indices))
    assert int(out.info.moments.rows) == 12
    plain = fsp(x[..., :6])
    torch.testing.assert_close(out.loss, plain.loss)


def test_compiles_as_one_graph():
    fsp = FSP([8, 5, 5], dim=6)
    x = torch.randn(2, 9, 6)
    for module in (fsp.train(), fsp.eval()):
        out = torch.compile(module, fullgraph=True, backend="eager")(x)
        assert torch.equal(out.indices, module.encode(x))


def test_config_builds_the_same_quantizer():
    fsp = FSP([8, 5], 7, act_name="laplace", vector_norm=MomentMatch(variance=2.5))
    again = build(fsp.config)
    assert again.config == fsp.config
    assert again.norm == fsp.norm
    again.load_state_dict(fsp.state_dict())
    x = torch.randn(3, 7)
    assert torch.equal(again.eval()(x).quantized, fsp.eval()(x).quantized)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"levels": [8, 1]}, ArgumentError, "levels: expected an int >= 2, got 1"),
        ({"act_name": "gauss"}, ArgumentError, "act_name: expected one of 'tanh'"),
        ({"quantize_rate": 2}, ArgumentError, "quantize_rate"),
        ({"vector_norm": "l2"}, ArgumentError, "vector_norm: expected one of 'none'"),
        ({"vector_norm": 1}, ArgumentTypeError, "vector_norm: expected a name"),
        ({"channel_first": True, "channel_dim": 1}, ArgumentError, "channel_first"),
    ],
    ids=str,
)
def test_bad_options_are_named(options: dict, error: type, match: str):
    with pytest.raises(error, match=match) as caught:
        FSP(**{"levels": [8, 5], **options})
    assert isinstance(caught.value, VqkitError)


@pytest.mark.parametrize(
    "options", [{"weights": (1, 2)}, {"weights": "1234"}, {"weights": (-1, 0, 0, 0)}, {"variance": -1}], ids=str
)
def test_bad_moments_are_named(options: dict):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=next(iter(options))):
        MomentMatch(**options)
