"""The same numbers as vector-quantize-pytorch where it is right, and tests that show where it is not followed."""

from __future__ import annotations

import pytest
import torch
import vector_quantize_pytorch as peer

from vqkit import LatentQuantize, interop


@pytest.mark.parametrize("options", [{"dim": 3}, {"dim": 6, "num_codebooks": 2}, {"dim": 16}], ids=str)
def test_outputs_of_the_values_both_begin_with(options: dict):
    torch.manual_seed(0)
    ours, theirs = LatentQuantize([5, 8, 4], **options), peer.LatentQuantize([5, 8, 4], **options)
    if ours.projections.projects:
        ours.projections.project_in.load_state_dict(theirs.project_in.state_dict())
        ours.projections.project_out.load_state_dict(theirs.project_out.state_dict())
    x = torch.randn(2, options["dim"], 9, 7)
    for table, values in zip(ours.tables, theirs.values_per_latent, strict=True):
        torch.testing.assert_close(table, values.detach())
    (got, indices, loss), (want, expected, their_loss) = ours(x), theirs(x)
    torch.testing.assert_close(got, want)
    assert torch.equal(indices, expected.long())
    if not ours.projections.projects:  # there the loss compares input and output, whatever lies between
        torch.testing.assert_close(loss, their_loss)


@pytest.mark.parametrize("dim", [3, 16])
def test_gradients_of_the_encoder_and_the_projections(dim: int):
    torch.manual_seed(0)
    theirs = peer.LatentQuantize([5, 8, 4], dim)
    ours = interop.load(theirs.state_dict()).train()
    x, results = torch.randn(2, dim, 9, 7), []
    for module in (ours, theirs):
        rows = x.clone().requires_grad_()
        (module(rows)[0] * torch.linspace(0, 1, 7)).sum().backward()
        projected = ours.projections if module is ours else theirs
        weights = [projected.project_in.weight.grad, projected.project_out.weight.grad] if dim != 3 else []
        results.append((rows.grad, *weights))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("levels", "whole"), [([3], True), ([2, 9, 16], True), ([7, 7], False)], ids=str)
def test_indices_of_any_levels(levels: list[int], whole: bool):
    """There an index is a float32 sum cut off at its point: of values that are no binary fractions it falls below."""
    torch.manual_seed(0)
    theirs = peer.LatentQuantize(levels, len(levels)).eval()
    ours = interop.load(theirs.state_dict())
    x = torch.randn(2, len(levels), 300)
    (got, indices, _), (want, expected, _) = ours(x), theirs(x)
    torch.testing.assert_close(got, want)
    assert torch.equal(ours.decode(indices), got)
    right = torch.isclose(theirs.indices_to_codes(expected), want).all(1)
    assert torch.equal(indices[right], expected[right].long())
    assert bool(right.all()) == whole


def test_differs_decode_follows_the_values():
    ours, theirs = LatentQuantize([5, 8], 2).eval(), peer.LatentQuantize([5, 8], 2).eval()
    x = torch.randn(1, 2, 6, 6)
    with torch.no_grad():
        ours.books[0].vectors.mul_(2)
        theirs.values_per_latent[0].mul_(2)
    out, (quantized, indices, _) = ours(x), theirs(x)
    torch.testing.assert_close(out.quantized, quantized)
    assert torch.equal(ours.decode(out.indices), out.quantized)
    assert not torch.allclose(theirs.indices_to_codes(indices), quantized)


def test_differs_the_values_get_a_gradient():
    x = torch.randn(1, 2, 6, 6)
    ours, theirs = LatentQuantize([5, 8], 2), peer.LatentQuantize([5, 8], 2)
    ours(x).loss.backward()
    assert all(p.grad.any() for p in ours.parameters())
    loss = theirs(x)[2]
    assert not loss.requires_grad
