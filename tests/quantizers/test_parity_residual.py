"""``ResidualVQ`` gives the peer's codes where the peer is right: greedy stages of given tables."""

from __future__ import annotations

import pytest
import torch

from vqkit import GroupedResidualVQ, ResidualVQ

peer = pytest.importorskip("vector_quantize_pytorch", reason="the peer is not installed")


def copy_tables(theirs, ours) -> None:
    for their_layer, our_stage in zip(theirs.layers, ours.members, strict=True):
        our_stage.codebook = their_layer.codebook
    if ours.projections.projects:
        ours.projections.project_in.load_state_dict(theirs.project_in.state_dict())
        ours.projections.project_out.load_state_dict(theirs.project_out.state_dict())


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("codebook_dim", [None, 8])
def test_indices_and_outputs_of_residual_vq(cosine: bool, codebook_dim: int | None):
    torch.manual_seed(0)
    options = {"num_quantizers": 4, "codebook_size": 64, "use_cosine_sim": cosine, "codebook_dim": codebook_dim}
    theirs = peer.ResidualVQ(dim=16, kmeans_init=True, **options)
    for _ in range(5):
        theirs(torch.randn(4, 100, 16))
    theirs.eval()
    ours = ResidualVQ(dim=16, **options).eval()
    copy_tables(theirs, ours)
    x = torch.randn(4, 100, 16)
    expected, indices, _ = theirs(x)
    out = ours(x)
    same = (out.indices == indices).all(-1)
    assert same.float().mean() > 0.995  # the peer's rounding decides a near tie now and then
    torch.testing.assert_close(out.quantized[same], expected[same], rtol=1e-4, atol=1e-5)


def test_indices_and_outputs_of_grouped_residual_vq():
    torch.manual_seed(0)
    options = {"num_quantizers": 3, "codebook_size": 32, "groups": 2}
    theirs, ours = peer.GroupedResidualVQ(dim=16, kmeans_init=True, **options), GroupedResidualVQ(dim=16, **options)
    theirs(torch.randn(4, 100, 16))
    theirs.eval()
    for their_group, our_group in zip(theirs.rvqs, ours.eval().members, strict=True):
        copy_tables(their_group, our_group)
    x = torch.randn(4, 100, 16)
    expected, indices, _ = theirs(x)
    out = ours(x)
    assert out.indices.shape == indices.shape
    same = (out.indices == indices).all(-1).all(0)
    assert same.float().mean() > 0.995
    torch.testing.assert_close(out.quantized[same], expected[same], rtol=1e-4, atol=1e-5)
