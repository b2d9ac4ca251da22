"""The same maps as vector-quantize-pytorch's ``HierarchicalVQ`` where it is right, and what differs on purpose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import vector_quantize_pytorch.hierarchical_vq as peer
from torch import Tensor

from vqkit import HierarchicalVQ

DIM, SIZE = 6, 24


def pair(scales: tuple[Any, ...], **options: Any) -> tuple[HierarchicalVQ, Any]:
    """Both with the same codes and the same φ."""
    torch.manual_seed(0)
    made = {"dim": DIM, "codebook_size": SIZE, "scales": scales, "kmeans_init": False, "threshold_ema_dead_code": 0}
    ours, theirs = HierarchicalVQ(**made, **options), peer.HierarchicalVQ(**made, **options)
    tables = [theirs.vq] if theirs.vq is not None else list(theirs.vqs)
    for mine, table in zip(ours.quantizers, tables, strict=True):
        mine.codebook = torch.randn(SIZE, DIM)
        table._codebook.embed.data.copy_(mine.codebook[None])
    phis = [theirs.phi_shared] if theirs.phi_shared is not None else list(theirs.phi_levels)
    for mine, phi in zip(ours.phis.maps, phis, strict=True):
        phi.load_state_dict(mine.state_dict(), strict=options.get("quant_resi") != 0)  # theirs is there all the same
    return ours.eval(), theirs.eval()


CASES = [
    ((1, 2, 4), {"accept_image_fmap": True}, (4, 4)),
    ((1, 2, 3, 4), {"accept_image_fmap": True, "share_quant_resi": -1}, (4, 4)),
    ((1, 3, 5), {"accept_image_fmap": True, "shared_codebook": False, "quant_resi": 0.3}, (5, 5)),
    ((1, (2, 3), (4, 6)), {"accept_image_fmap": True}, (4, 6)),
    ((1, 4, 9), {}, (9,)),
    ((1, 2, (2, 3, 4)), {"accept_3d_fmap": True, "quant_resi": 0.0}, (2, 3, 4)),
    ((1, 2, 4), {"accept_image_fmap": True, "channel_first": False}, (4, 4)),
]


@pytest.mark.parametrize(("scales", "options", "size"), CASES, ids=str)
def test_the_same_indices_and_maps(scales: tuple[Any, ...], options: dict, size: tuple[int, ...]):
    ours, theirs = pair(scales, **options)
    x = torch.randn(5, DIM, *size)
    x = x.movedim(1, -1) if options.get("channel_first") is False else x
    out = ours(x)
    quantized, indices, _ = theirs(x)
    assert all(torch.equal(mine, other) for mine, other in zip(ours.split(out.indices), indices, strict=True))
    torch.testing.assert_close(out.quantized, quantized, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.decode(out.indices), theirs.get_output_from_indices(indices), rtol=1e-5, atol=1e-5)


def gradient(module: Any, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    module(x)[0].sum().backward()
    assert x.grad is not None
    return x.grad


def test_the_encoders_gradient_is_the_outputs_here_and_not_there():
    ours, theirs = pair((1, 2, 4), accept_image_fmap=True)
    x = torch.randn(5, DIM, 4, 4)
    assert torch.equal(gradient(ours.train(), x), torch.ones_like(x))
    assert (gradient(theirs.train(), x) - 1).abs().max() > 0.1


def test_one_size_here_and_two_there():
    ours, theirs = pair((1, 2, 4), accept_image_fmap=True)
    x = torch.randn(5, DIM, 8, 8)
    quantized, indices, _ = theirs(x)
    assert theirs.get_output_from_indices(indices).shape != quantized.shape
    with pytest.raises(ValueError, match="x: expected a batch of maps of size"):
        ours(x)


def test_a_shared_table_decays_once_a_step_here_and_once_a_scale_there():
    ours, theirs = pair((1, 2, 4), accept_image_fmap=True, decay=0.5)
    x = torch.randn(5, DIM, 4, 4)
    ours.train()(x)
    theirs.train()(x)
    idle = sum(window.counts()[0] for window in ours.windows) == 0
    assert torch.equal(ours.quantizers[0].book.ema_counts[0, idle], torch.full((int(idle.sum()),), 0.5))
    # It starts at 1, and was drawn by no scale; others were, since codes move between scales there.
    assert float(theirs.vq._codebook.cluster_size[0, idle].min()) == 0.5**3


def test_no_code_begins_at_zero_here():
    torch.manual_seed(0)
    made = {"dim": DIM, "codebook_size": 64, "scales": (1, 2, 4), "accept_image_fmap": True}
    ours, theirs = HierarchicalVQ(**made, threshold_ema_dead_code=0), peer.HierarchicalVQ(**made)
    x = torch.randn(8, DIM, 4, 4)
    ours(x)
    theirs.eval()(x)
    assert int((ours.quantizers[0].codebook.norm(dim=1) == 0).sum()) == 0
    assert int((theirs.vq._codebook.embed[0].norm(dim=1) == 0).sum()) > 32


def test_tables_of_their_own_learn_alike():
    ours, theirs = pair((1, 2, 4), accept_image_fmap=True, shared_codebook=False, decay=0.5)
    for table in theirs.vqs:
        table._codebook.embed_avg.data.copy_(table._codebook.embed)
    ours.train()
    theirs.train()
    for _ in range(3):
        x = torch.randn(5, DIM, 4, 4)
        mine, other = ours(x), theirs(x)
        torch.testing.assert_close(mine.quantized, other[0], rtol=1e-4, atol=1e-4)
    for quantizer, table in zip(ours.quantizers, theirs.vqs, strict=True):
        used = quantizer.book.ema_counts[0] > 0.5**3  # idle codes stay here, and shrink towards zero there
        assert bool(used.any())
        codes = table._codebook.embed[0, used]
        torch.testing.assert_close(quantizer.codebook[used], codes, rtol=1e-3, atol=1e-3)
