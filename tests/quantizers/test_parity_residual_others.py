"""Residual stages of FSQ, LFQ and SimVQ: the peer's numbers where it is right, and tests that show where it is not
followed.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import vector_quantize_pytorch as peer
from torch import Tensor

from vqkit import interop

VQP = "vector-quantize-pytorch"


def pair(kind: str, **arguments: Any) -> tuple[Any, Any]:
    """Both with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(peer, kind)(**arguments)
    return interop.load(theirs.state_dict(), f"{VQP} {kind}", **arguments).train(), theirs


def gradient(module: Any, x: Tensor, of: int = 0) -> Tensor:
    x = x.clone().requires_grad_()
    module(x)[of].sum().backward()
    assert x.grad is not None
    return x.grad


# --- ResidualFSQ ------------------------------------------------------------------------------------------------------

SCALAR: list[dict[str, Any]] = [
    {"levels": [8, 5, 5, 3], "num_quantizers": 4},
    {"levels": [2, 2, 2], "num_quantizers": 9},
    {"levels": [16, 7], "num_quantizers": 3},
    {"levels": [5, 4, 3], "num_quantizers": 3, "dim": 10},
    {"levels": [3, 3, 3], "num_quantizers": 4, "orthogonal_rotation": True},
    {"levels": [5, 4], "num_quantizers": 3, "bound_hard_clamp": False, "soft_clamp_input_value": 1.5},
]


@pytest.mark.parametrize("arguments", SCALAR, ids=str)
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_residual_fsq(arguments: dict[str, Any], spread: float):
    """Scales of L^-i, the input squashed to L/(L − 1), cells cut off hard: the same grids, stage by stage."""
    ours, theirs = pair("ResidualFSQ", **arguments)
    x = torch.randn(4, 500, ours.dim) * spread
    out, (quantized, indices, codes) = ours(x, return_all_codes=True), theirs(x, return_all_codes=True)
    same = (out.indices == indices).all(-1)
    assert int((~same).sum()) <= 1  # of 2000
    torch.testing.assert_close(out.quantized[same], quantized[same], rtol=1e-5, atol=2e-6)
    if not ours.projections.projects:  # where they differ, both are as near
        entered = ours.squash(x)
        near, nearest = ((q - entered).abs().amax(-1) for q in (quantized, out.quantized))
        torch.testing.assert_close(nearest, near, rtol=0, atol=5e-7)
    if not arguments.get("orthogonal_rotation"):  # there the codes of a turned grid are given unturned
        torch.testing.assert_close(out.all_codes[:, same], codes[:, same], rtol=1e-5, atol=2e-6)
        decoded = theirs.get_output_from_indices(out.indices)
        torch.testing.assert_close(ours.decode(out.indices), decoded, atol=1e-5, rtol=0)


def test_residual_fsq_beyond_the_digits_of_float32():
    """Of 8^10 levels float32 tells 2^24 apart: rounding decides what later stages see, and no output differs by it."""
    ours, theirs = pair("ResidualFSQ", levels=[8, 8], num_quantizers=10)
    x = torch.randn(4, 500, 2)
    out, (quantized, indices) = ours(x), theirs(x)
    assert torch.equal(out.indices[..., :4], indices[..., :4].long())
    assert not torch.equal(out.indices, indices.long())
    torch.testing.assert_close(out.quantized, quantized, rtol=0, atol=5e-7)


@pytest.mark.parametrize("groups", [1, 2])
def test_grouped_residual_fsq(groups: int):
    ours, theirs = pair("GroupedResidualFSQ", dim=12, groups=groups, levels=[5, 4, 3], num_quantizers=3)
    x = torch.randn(4, 200, 12)
    out, (quantized, indices) = ours(x), theirs(x)
    assert torch.equal(out.indices, indices.long())
    torch.testing.assert_close(out.quantized, quantized, rtol=1e-5, atol=1e-6)


def test_differs_residual_fsq_sends_the_gradient_once():
    """That of the squashing; there once for each stage."""
    ours, theirs = pair("ResidualFSQ", levels=[5, 5], num_quantizers=4)
    x = torch.randn(4, 50, 2) * 0.3
    squash = 1 - (x / 1.25).tanh().square()
    torch.testing.assert_close(gradient(ours, x), squash)
    ratio = gradient(theirs, x) / squash
    assert float(ratio.median()) > 2


# --- ResidualLFQ ------------------------------------------------------------------------------------------------------

BINARY: list[dict[str, Any]] = [
    {"dim": 6, "codebook_size": 64, "num_quantizers": 4},
    {"dim": 12, "codebook_size": 16, "num_quantizers": 3},
    {"dim": 12, "codebook_size": 16, "num_quantizers": 3, "soft_clamp_input_value": 1.5},
    {"dim": 6, "codebook_size": 64, "num_quantizers": 3, "spherical": True},
    {"dim": 6, "codebook_size": 64, "num_quantizers": 3, "orthogonal_rotation": True},
]


@pytest.mark.parametrize("arguments", BINARY, ids=str)
def test_residual_lfq(arguments: dict[str, Any]):
    """Signs at half the magnitude from stage to stage; the entropies and the commitment of each."""
    weights = {"commitment_loss_weight": 0.5, "entropy_loss_weight": 0.2, "diversity_gamma": 0.5}
    ours, theirs = pair("ResidualLFQ", **arguments, **weights)
    x = torch.randn(4, 300, ours.dim)
    out, (quantized, indices, losses) = ours(x), theirs(x)
    assert torch.equal(out.indices, indices.long())
    torch.testing.assert_close(out.quantized, quantized, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(out.loss, losses, rtol=1e-3, atol=1e-5)  # there probabilities below 1e-5 are cut off
    torch.testing.assert_close(gradient(ours, x, 2), gradient(theirs, x, 2), rtol=1e-2, atol=1e-6)


def test_grouped_residual_lfq():
    ours, theirs = pair("GroupedResidualLFQ", dim=12, groups=2, codebook_size=16, num_quantizers=3)
    x = torch.randn(4, 200, 12)
    out, (quantized, indices, losses) = ours(x), theirs(x)
    assert torch.equal(out.indices, indices.long())
    torch.testing.assert_close(out.quantized, quantized, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out.loss, losses, rtol=1e-3, atol=1e-5)


# --- ResidualSimVQ ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotation_trick", [False, True])
@pytest.mark.parametrize("width", [None, 5])
def test_residual_sim_vq(rotation_trick: bool, width: int | None):
    options = {"rotation_trick": rotation_trick, "frozen_codebook_dim": width, "commitment_weight": 2.0}
    ours, theirs = pair("ResidualSimVQ", dim=8, codebook_size=24, num_quantizers=4, **options)
    x, results = torch.randn(2, 100, 8), []
    for module in (ours, theirs):
        rows = x.clone().requires_grad_()
        quantized, indices, losses, codes = module(rows, return_all_codes=True)
        losses.sum().backward()
        maps = [s.book.bridge for s in ours.members] if module is ours else [s.code_transform for s in theirs.layers]
        results.append((quantized, indices, losses, codes, rows.grad, *(own.weight.grad for own in maps)))
    assert torch.equal(results[0][1], results[1][1])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.decode(results[0][1]), theirs.get_output_from_indices(results[1][1]))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("ResidualLFQ", {"codebook_size": 256}),
        ("ResidualSimVQ", {"codebook_size": 24, "rotation_trick": False}),
    ],
)
def test_differs_the_gradient_crosses_all_stages_at_once(kind: str, arguments: dict[str, Any]):
    """There it crosses each of them: Q times too much."""
    ours, theirs = pair(kind, dim=8, num_quantizers=4, **arguments)
    x = torch.randn(2, 20, 8)
    assert torch.equal(gradient(ours, x), torch.ones_like(x))
    torch.testing.assert_close(gradient(theirs, x), torch.full_like(x, 4.0))
