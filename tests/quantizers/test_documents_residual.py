"""The founding documents' examples of residual quantizers, as printed, with vqkit in the import line."""

from __future__ import annotations

import torch


def test_first_residual_example():
    from vqkit import ResidualVQ

    residual_vq = ResidualVQ(
        dim=256,
        num_quantizers=8,  # specify number of quantizers
        codebook_size=1024,  # codebook size
    )
    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = residual_vq(x)
    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024, 8), (8,))


def test_all_codes():
    from vqkit import ResidualVQ

    vq = ResidualVQ(dim=256, codebook_size=1024, num_quantizers=8)
    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss, all_codes = vq(x, return_all_codes=True)
    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024, 8), (8,))
    assert all_codes.shape == (8, 1, 1024, 256)


def test_rq_vae():
    from vqkit import ResidualVQ

    residual_vq = ResidualVQ(
        dim=256,
        codebook_size=1024,
        num_quantizers=8,
        stochastic_sample_codes=True,
        sample_codebook_temp=0.1,
        shared_codebook=True,
    )
    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = residual_vq(x)
    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024, 8), (8,))


def test_grouped():
    from vqkit import GroupedResidualVQ

    residual_vq = GroupedResidualVQ(
        dim=256,
        codebook_size=1024,
        num_quantizers=8,
        groups=2,
    )
    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = residual_vq(x)
    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (2, 1, 1024, 8), (2, 8))


def test_k_means_init_of_the_first_document():
    from vqkit import ResidualVQ

    residual_vq = ResidualVQ(
        dim=256,
        codebook_size=256,
        num_quantizers=4,
        kmeans_init=True,  # set to True
        kmeans_iters=10,  # number of kmeans iterations to calculate the centroids for the codebook on init
    )
    x = torch.randn(1, 1024, 256)
    quantized, indices, _ = residual_vq(x)
    assert (quantized.shape, indices.shape) == ((1, 1024, 256), (1, 1024, 4))


def test_k_means_init_of_the_second_document():
    from vqkit import ResidualVQ

    residual_vq = ResidualVQ(
        dim=256,
        codebook_size=145,
        num_quantizers=4,
        kmeans_init=True,
        kmeans_iters=10,
    )
    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = residual_vq(x)
    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024, 4), (4,))
