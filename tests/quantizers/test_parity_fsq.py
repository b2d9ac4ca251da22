"""The same numbers as vector-quantize-pytorch where it is right, and tests that show where it is not followed."""

from __future__ import annotations

import pytest
import torch
import vector_quantize_pytorch as peer

from vqkit import FSQ

OPTIONS = [
    {"levels": [8, 5, 5, 5]},
    {"levels": [4, 3, 7, 16, 5, 5], "num_codebooks": 2},
    {"levels": [2, 5, 8], "preserve_symmetry": True},
    {"levels": [8, 6, 5], "bound_hard_clamp": True},
    {"levels": [8, 6, 5], "bound_hard_clamp": True, "preserve_symmetry": True},
    {"levels": [8, 8, 8], "orthogonal_rotation": True},
    {"levels": [8, 5, 5], "dim": 7, "projection_has_bias": False},
]


def pair(**options) -> tuple[FSQ, torch.nn.Module]:
    torch.manual_seed(0)
    ours, theirs = FSQ(**options), peer.FSQ(**options)
    for mine, other in ((ours.projections.project_in, theirs.project_in),) * theirs.has_projections + (
        (ours.projections.project_out, theirs.project_out),
    ) * theirs.has_projections:
        mine.load_state_dict(other.state_dict())
    if options.get("orthogonal_rotation"):
        ours.frame.rotation.copy_(theirs.orthogonal_rot)
    return ours, theirs


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_outputs_indices_and_codebooks(options: dict):
    ours, theirs = pair(**options)
    x = torch.randn(2, 2000, ours.dim)
    (got, indices), (want, expected) = ours(x), theirs(x)
    assert torch.equal(indices, expected.long())
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(ours.indices_to_codes(indices), theirs.indices_to_codes(expected))
    if not options.get("orthogonal_rotation"):
        torch.testing.assert_close(ours.codebook, theirs.implicit_codebook)
    levels = ours.indices_to_level_indices(indices)
    assert torch.equal(levels, theirs.indices_to_level_indices(expected).long())


@pytest.mark.parametrize("options", [o for o in OPTIONS if "bound_hard_clamp" not in o], ids=str)
def test_gradients(options: dict):
    ours, theirs = pair(**options)
    weights, grads = torch.randn(2, 100, ours.dim), []
    for module in (ours, theirs):
        x = torch.randn(2, 100, ours.dim, generator=torch.Generator().manual_seed(1)).requires_grad_()
        (module(x)[0] * weights).sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)


def test_differs_indices_stay_exact_beyond_float32():
    """There the index is a float32 sum: at 2^27 codes most decode to another code."""
    levels = [8] * 9
    ours, theirs = FSQ(levels).eval(), peer.FSQ(levels, return_indices=False).eval()
    x = torch.randn(1, 4096, 9)
    out = ours(x)
    assert torch.equal(ours.decode(out.indices), out.quantized)
    codes, _ = theirs(x)
    torch.testing.assert_close(out.quantized, codes)
    assert int((theirs.codes_to_indices(codes).long() != out.indices).sum()) > 2048


def test_differs_a_hard_clamp_lets_the_whole_gradient_through():
    """There it is scaled by the grid's reach, and zero beyond the range."""
    ours, theirs = pair(levels=[8, 8], bound_hard_clamp=True)
    grads = []
    for module in (ours, theirs):
        x = torch.tensor([[[0.3, 5.0]]], requires_grad=True)
        module(x)[0].sum().backward()
        grads.append(x.grad.flatten())
    assert grads[0].tolist() == [1.0, 1.0]
    assert 0 < float(grads[1][0]) < 0.9
    assert float(grads[1][1]) == 0


def test_differs_images_are_channels_last_unless_told():
    x = torch.randn(2, 4, 3, 5)
    theirs, _ = peer.FSQ([8, 5, 5, 5])(x)
    assert torch.equal(FSQ([8, 5, 5, 5], channel_first=True)(x).quantized, theirs)
    assert FSQ([8, 5, 5, 5])(x.movedim(1, -1)).quantized.shape == (2, 3, 5, 4)


def test_differs_noise_is_a_step_of_the_grid():
    """There it is ±½ of the whole code, 16 steps of 33 levels, and cut off at the range."""
    torch.manual_seed(0)
    x = torch.randn(1, 4000, 2) * 0.1
    options = {"levels": [33, 33], "noise_dropout": 1.0, "preserve_symmetry": True}
    spread = [(module(x)[0] - x.tanh()).abs().max() for module in (FSQ(**options), peer.FSQ(**options))]
    assert float(spread[0]) <= 1 / 32 + 1e-6
    assert float(spread[1]) > 0.4
