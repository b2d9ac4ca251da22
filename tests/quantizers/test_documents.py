"""The founding documents' examples of ``VectorQuantize``, as printed, with vqkit in the import line."""

from __future__ import annotations

import torch


def test_first_example():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_size=512,  # codebook size
        decay=0.8,  # the exponential moving average decay, lower means the dictionary will change faster
        commitment_weight=1.0,  # the weight on the commitment loss
    )
    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = vq(x)
    assert quantized.shape == (1, 1024, 256)
    assert indices.shape == (1, 1024)
    assert commit_loss.shape == ()


def test_lower_codebook_dimension():
    from vqkit import VectorQuantize

    vq = VectorQuantize(dim=256, codebook_size=256, codebook_dim=16)
    quantized, indices, _ = vq(torch.randn(1, 1024, 256))
    assert (quantized.shape, indices.shape) == ((1, 1024, 256), (1, 1024))


def test_cosine_similarity():
    from vqkit import VectorQuantize

    vq = VectorQuantize(dim=256, codebook_size=256, use_cosine_sim=True)
    quantized, indices, _ = vq(torch.randn(1, 1024, 256))
    assert (quantized.shape, indices.shape) == ((1, 1024, 256), (1, 1024))


def test_expiring_stale_codes():
    from vqkit import VectorQuantize

    vq = VectorQuantize(dim=256, codebook_size=512, threshold_ema_dead_code=2)
    quantized, indices, _ = vq(torch.randn(1, 1024, 256))
    assert (quantized.shape, indices.shape) == ((1, 1024, 256), (1, 1024))


def test_rotation_trick():
    from vqkit import VectorQuantize

    vq = VectorQuantize(dim=256, codebook_size=256, rotation_trick=True)
    quantized, indices, _ = vq(torch.randn(1, 1024, 256))
    assert (quantized.shape, indices.shape) == ((1, 1024, 256), (1, 1024))


def test_orthogonal_regularisation():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_size=256,
        accept_image_fmap=True,
        orthogonal_reg_weight=10,
        orthogonal_reg_max_codes=128,
        orthogonal_reg_active_codes_only=False,
    )
    img_fmap = torch.randn(1, 256, 32, 32)
    quantized, indices, loss = vq(img_fmap)
    assert (quantized.shape, indices.shape, loss.shape) == ((1, 256, 32, 32), (1, 32, 32), ())


def test_multi_headed():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_dim=32,
        heads=8,
        separate_codebook_per_head=True,
        codebook_size=8196,
        accept_image_fmap=True,
    )
    img_fmap = torch.randn(1, 256, 32, 32)
    quantized, indices, loss = vq(img_fmap)
    assert (quantized.shape, indices.shape, loss.shape) == ((1, 256, 32, 32), (1, 32, 32, 8), ())
