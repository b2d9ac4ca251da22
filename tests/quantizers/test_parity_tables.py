"""The same numbers as vector-quantize-pytorch where it is right."""

from __future__ import annotations

import pytest
import torch
import vector_quantize_pytorch as peer
from torch import nn

from vqkit import RandomProjectionQuantizer, SimVQ


@pytest.mark.parametrize("rotation", [False, True])
@pytest.mark.parametrize("width", [None, 5])
@pytest.mark.parametrize("first", [False, True])
def test_sim_vq_outputs_losses_and_gradients(rotation: bool, width: int | None, first: bool):
    torch.manual_seed(0)
    options = {
        "rotation_trick": rotation,
        "frozen_codebook_dim": width,
        "channel_first": first,
        "commitment_weight": 3.0,
    }
    theirs, ours = peer.SimVQ(dim=8, codebook_size=24, **options), SimVQ(dim=8, codebook_size=24, **options)
    ours.book.vectors.copy_(theirs.frozen_codebook[None])
    ours.book.bridge.load_state_dict(theirs.code_transform.state_dict())
    x = torch.randn(2, 8, 30) if first else torch.randn(2, 30, 8)
    results = []
    for module, weight in ((ours, ours.book.bridge.weight), (theirs, theirs.code_transform.weight)):
        rows = x.clone().requires_grad_()
        quantized, indices, loss = module(rows)
        ((quantized.detach().cos() * quantized).sum() + 10 * loss).backward()
        results.append((quantized, indices, loss, rows.grad, weight.grad))
    assert torch.equal(results[0][1], results[1][1])
    for got, want in zip(results[0], results[1], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.indices_to_codes(results[0][1]), theirs.indices_to_codes(results[1][1]))


def test_sim_vq_with_a_module_of_the_callers():
    def mlp() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))

    torch.manual_seed(0)
    theirs, ours = peer.SimVQ(8, 24, codebook_transform=mlp()), SimVQ(8, 24, codebook_transform=mlp())
    ours.book.vectors.copy_(theirs.frozen_codebook[None])
    ours.book.bridge.load_state_dict(theirs.code_transform.state_dict())
    x = torch.randn(2, 30, 8)
    for got, want in zip(ours(x), theirs(x), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", [False, True])
def test_random_projection_indices_with_one_codebook(norm: bool):
    torch.manual_seed(0)
    theirs = peer.RandomProjectionQuantizer(dim=20, codebook_size=50, codebook_dim=6, norm=norm)
    ours = RandomProjectionQuantizer(dim=20, codebook_size=50, codebook_dim=6, norm=norm)
    ours.projection.matrices.copy_(theirs.rand_projs)
    ours.book.vectors.copy_(theirs.vq._codebook.embed)
    x = torch.randn(2, 200, 20) * 3 + 1
    assert torch.equal(ours(x), theirs(x))


def test_codebooks_of_a_random_projection_are_as_wide_as_asked_and_nothing_is_trainable():
    """The peer's are num_codebooks times as wide, behind trainable projections."""
    options = {"dim": 20, "codebook_size": 50, "codebook_dim": 6, "num_codebooks": 4}
    theirs, ours = peer.RandomProjectionQuantizer(**options), RandomProjectionQuantizer(**options)
    assert theirs.vq._codebook.embed.shape == (4, 50, 24)
    assert list(theirs.parameters())
    assert ours.book.vectors.shape == (4, 50, 6)
    assert not list(ours.parameters())
