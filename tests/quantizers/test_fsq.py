from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.functional.test_packing import level_counts
from vqkit import FSQ
from vqkit.errors import ArgumentError, ArgumentTypeError, VqkitError
from vqkit.functional.scalar import MAX_LEVELS
from vqkit.quantizers import Dither, build


@settings(deadline=None)
@given(level_counts(MAX_LEVELS), st.booleans(), st.data())
def test_codes_of_any_grid_are_their_own_code(counts: list[int], symmetric: bool, data: st.DataObject):
    counts = [max(count, 2 if symmetric else 3) for count in counts]
    while math.prod(counts) > 2**62:
        counts.pop()
    fsq = FSQ(counts, preserve_symmetry=symmetric, bound_hard_clamp=True).eval()
    size = fsq.codebook_size
    assert size == math.prod(counts)
    indices = torch.tensor([0, size - 1, *data.draw(st.lists(st.integers(0, size - 1)))])
    codes = fsq.decode(indices)
    assert torch.equal(fsq.encode(codes), indices)
    assert torch.equal(fsq(codes).quantized, codes)


@pytest.mark.parametrize("symmetric", [False, True])
def test_every_code_has_input_that_draws_it_under_tanh(symmetric: bool):
    fsq = FSQ([8, 5, 4, 3], preserve_symmetry=symmetric).eval()
    codes = fsq.decode(torch.arange(fsq.codebook_size))
    half = (fsq.level_counts - 1) / 2
    # The inverse of the squashing, at the middle of each cell (an outer level's cell ends at the margin).
    levels = fsq.indices_to_level_indices(torch.arange(fsq.codebook_size)).float()
    reach = half * (1 if symmetric else 1.001)
    shift = 0 if symmetric else torch.atanh(torch.where(fsq.level_counts % 2 == 0, 0.5, 0) / reach)
    x = torch.atanh(((levels - half) / reach).clamp(-0.9999, 0.9999)) - shift
    assert torch.equal(fsq.encode(x), torch.arange(fsq.codebook_size))
    assert torch.equal(fsq.codebook, codes)


def test_scale_multiplies_the_codes_and_divides_the_input():
    x = torch.randn(50, 4)
    scale = torch.tensor([0.5, 0.25, 2.0, 1.0])
    scaled, plain = FSQ([8, 5, 5, 5], scale=scale.tolist()), FSQ([8, 5, 5, 5])
    assert torch.equal(scaled(x * scale).indices, plain(x).indices)
    assert torch.equal(scaled(x * scale).quantized, plain(x).quantized * scale)
    assert torch.equal(scaled.codebook, plain.codebook * scale)
    assert torch.equal(FSQ([8, 5, 5, 5], scale=0.5).codebook, plain.codebook * 0.5)


@pytest.mark.parametrize("options", [{}, {"scale": (0.5, 3.0, 1.0, 0.1)}, {"orthogonal_rotation": True}], ids=str)
@pytest.mark.parametrize("dither", [None, Dither(0.5)], ids=str)
def test_a_hard_clamp_passes_the_gradient_as_it_is(options: dict, dither: Dither | None):
    fsq = FSQ([8, 5, 5, 5], bound_hard_clamp=True, dither=dither, **options)
    assert fsq.straight
    x = (torch.randn(100, 4) * 3).requires_grad_()  # inside the range and far outside
    weights = torch.randn(100, 4)
    (fsq(x).quantized * weights).sum().backward()
    assert torch.equal(x.grad, weights)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("options", [{}, {"dither": Dither(0.5, 0.2, "value")}, {"scale": 0.5}], ids=str)
def test_tanh_passes_its_own_gradient(symmetric: bool, options: dict):
    torch.manual_seed(0)
    fsq = FSQ([8, 5, 5, 3], preserve_symmetry=symmetric, **options)
    assert not fsq.straight
    x = torch.randn(100, 4, requires_grad=True)
    fsq(x).quantized.sum().backward()
    L, scale = fsq.level_counts, options.get("scale", 1.0)
    reach = (L - 1) / 2 * (1 if symmetric else 1.001)
    shift = 0 if symmetric else torch.atanh(torch.where(L % 2 == 0, 0.5, 0) / reach)
    width = (L - 1) / 2 if symmetric else L // 2
    expected = (1 - torch.tanh(x.detach() / scale + shift).square()) * reach / width
    torch.testing.assert_close(x.grad, expected, rtol=1e-5, atol=1e-6)


def test_noise_is_one_step_of_the_values_own_grid_and_leaves_the_index():
    torch.manual_seed(0)
    fsq = FSQ([33, 3], noise_dropout=1.0, preserve_symmetry=True)
    x = torch.randn(20_000, 2) * 0.3
    out = fsq(x)
    assert torch.equal(out.indices, fsq.encode(x))
    offset = out.quantized - x.tanh()
    step = torch.tensor([2 / 32, 2 / 2])
    assert bool((offset.abs().amax(0) <= step / 2 + 1e-6).all())
    assert bool((offset.abs().amax(0) > 0.49 * step).all())
    assert bool((out.quantized.abs() <= 1).all())
    assert torch.equal(fsq.eval()(x).quantized, fsq.decode(out.indices))


def test_dither_leaves_whole_samples_unrounded():
    torch.manual_seed(0)
    fsq = FSQ([8, 8], dither=Dither(noise=0.0, skip=0.5), bound_hard_clamp=True, preserve_symmetry=True)
    x = torch.rand(200, 5, 2) * 2 - 1
    out = fsq(x)
    kept = torch.isclose(out.quantized, x, atol=1e-6).all(-1).all(-1)
    rounded = (out.quantized == fsq.decode(out.indices)).all(-1).all(-1)
    assert bool((kept ^ rounded).all())
    assert 70 < int(kept.sum()) < 130


def test_return_indices_false_returns_none():
    fsq = FSQ([8, 5], return_indices=False)
    quantized, indices = fsq(torch.randn(3, 2))
    assert indices is None
    assert torch.equal(fsq.decode(fsq.encode(quantized)), fsq(quantized).quantized)


def test_level_indices_are_those_of_each_coordinate():
    fsq = FSQ([8, 5, 3], num_codebooks=2, channel_dim=1).eval()
    out = fsq(torch.randn(2, 6, 7), mask=torch.arange(7).expand(2, 7) < 5)
    levels = fsq.indices_to_level_indices(out.indices)
    assert levels.shape == (2, 7, 2, 3)
    assert bool((levels[:, 5:] == -1).all())
    values = (levels - fsq.level_counts // 2) / (fsq.level_counts // 2)
    assert torch.equal(values[:, :5].flatten(2), out.quantized.movedim(1, -1)[:, :5])


def test_the_codebook_is_written_out_on_demand_alone():
    fsq = FSQ([2] * 62, preserve_symmetry=True)
    assert fsq.codebook_size == 2**62
    assert sum(b.numel() for b in fsq.buffers()) < 70_000  # the usage window
    with pytest.raises(ArgumentError, match="codebook: expected at most 1048576 codes"):
        _ = fsq.codebook
    assert FSQ([5, 4]).codebook.shape == (20, 2)


@pytest.mark.parametrize("options", [{}, {"dim": 6, "orthogonal_rotation": True, "scale": 0.5, "noise_dropout": 0.5}])
def test_compiles_as_one_graph(options: dict):
    fsq = FSQ([8, 5, 5], **options)
    x = torch.randn(2, 9, fsq.dim)
    for module in (fsq.train(), fsq.eval()):
        out = torch.compile(module, fullgraph=True, backend="eager")(x)
        assert torch.equal(out.indices, module.encode(x))


def test_rows_that_overflow_on_the_way_do_not_count():
    fsq = FSQ([8, 5], orthogonal_rotation=True, scale=1e-3)
    x = torch.randn(5, 2)
    x[1] = 3e38
    with pytest.warns(RuntimeWarning, match="1 rows"):
        out = fsq(x)
    assert int(out.indices[1]) == -1
    assert not out.quantized[1].any()
    assert torch.isfinite(out.quantized).all()


def test_the_rotation_stays_float32_and_orthogonal():
    fsq = FSQ([8, 5, 5], orthogonal_rotation=True).half()
    rotation = fsq.frame.rotation
    assert rotation.dtype == torch.float32
    torch.testing.assert_close(rotation @ rotation.t(), torch.eye(3))
    torch.testing.assert_close(fsq.codebook @ rotation, FSQ([8, 5, 5]).codebook, atol=1e-6, rtol=1e-5)


def test_config_builds_the_same_quantizer():
    options = {"scale": [0.5, 2.0], "num_codebooks": 2, "dither": Dither(0.2, 0.1), "channel_dim": None, "dim": 7}
    fsq = FSQ([8, 5], **options)
    again = build(fsq.config)
    assert again.config == fsq.config
    again.load_state_dict(fsq.state_dict())
    x = torch.randn(3, 7)
    assert torch.equal(again.eval()(x).quantized, fsq.eval()(x).quantized)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"levels": 8}, ArgumentTypeError, "levels: expected a sequence of ints"),
        ({"levels": [8, 2]}, ArgumentError, "levels: expected ints >= 3, or preserve_symmetry=True for 2"),
        ({"levels": [8, 1], "preserve_symmetry": True}, ArgumentError, "levels: expected an int >= 2, got 1"),
        ({"levels": [16] * 16}, ArgumentError, r"levels: expected ints.* product of at most 2\^62"),
        ({"scale": 0}, ArgumentError, r"scale: expected a number in \(0"),
        ({"scale": [1.0]}, ArgumentError, "scale: expected one number, or 2"),
        ({"scale": "big"}, ArgumentTypeError, "scale"),
        ({"num_codebooks": 2, "keep_num_codebooks_dim": False}, ArgumentError, "keep_num_codebooks_dim"),
        ({"num_codebooks": 0}, ArgumentError, "num_codebooks"),
        ({"noise_dropout": 1.5}, ArgumentError, "noise_dropout"),
        ({"noise_dropout": 0.5, "dither": Dither()}, ArgumentError, "noise_dropout: expected either it or dither"),
        ({"dither": "uniform"}, ArgumentTypeError, "dither: expected a Dither"),
        ({"channel_first": True, "channel_dim": 1}, ArgumentError, "channel_first: expected either it or channel_dim"),
        ({"channel_dim": "last"}, ArgumentTypeError, "channel_dim: expected an int, or None"),
        ({"dim": 0}, ArgumentError, "dim"),
    ],
    ids=str,
)
def test_bad_options_are_named(options: dict, error: type, match: str):
    with pytest.raises(error, match=match) as caught:
        FSQ(**{"levels": [8, 5], **options})
    assert isinstance(caught.value, VqkitError)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"noise": 0.7, "skip": 0.4}, r"noise \+ skip"),
        ({"noise": -1}, "noise"),
        ({"per": "batch"}, "per: expected one"),
    ],
)
def test_bad_dither_is_named(options: dict, match: str):
    with pytest.raises(ArgumentError, match=match):
        Dither(**options)


def test_a_grid_made_in_inference_mode_serves_a_training_step():
    fsq, x = FSQ([8, 5, 5, 5]), torch.randn(20, 4)
    with torch.inference_mode():
        fsq(x)
    entered = x.clone().requires_grad_()
    fsq(entered).quantized.sum().backward()
    assert entered.grad is not None
    wide = fsq(x.double())
    assert torch.equal(wide.indices, FSQ([8, 5, 5, 5])(x.double()).indices)
    assert wide.quantized.dtype == torch.float64
