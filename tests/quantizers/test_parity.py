"""The same numbers as vector-quantize-pytorch where it is right."""

from __future__ import annotations

import pytest
import torch
import vector_quantize_pytorch as peer

from vqkit import VectorQuantize


def pair(**options):
    torch.manual_seed(0)
    theirs = peer.VectorQuantize(dim=16, codebook_size=24, **options)
    ours = VectorQuantize(dim=16, codebook_size=24, threshold_ema_dead_code=0, **options)
    codes = torch.randn(24, 16)
    if options.get("use_cosine_sim"):
        codes = torch.nn.functional.normalize(codes, dim=1)
    theirs._codebook.embed.data.copy_(codes[None])
    theirs._codebook.embed_avg.data.copy_(codes[None])
    ours.codebook = codes
    return ours, theirs


@pytest.mark.parametrize("rotation", [False, True])
@pytest.mark.parametrize("cosine", [False, True])
def test_outputs_losses_gradients_and_ema_steps(rotation: bool, cosine: bool):
    ours, theirs = pair(rotation_trick=rotation, use_cosine_sim=cosine)
    for step in range(5):
        x = torch.randn(2, 200, 16, generator=torch.Generator().manual_seed(step))
        results = []
        for module in (ours, theirs):
            rows = x.clone().requires_grad_()
            quantized, indices, loss = module(rows)
            ((quantized * torch.linspace(0, 1, 16)).sum() + 100 * loss).backward()
            results.append((quantized, indices, loss.reshape(()), rows.grad))
        assert torch.equal(results[0][1], results[1][1])
        for got, want in zip(results[0], results[1], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.codebook, theirs.codebook, rtol=1e-4, atol=1e-5)
