"""The founding documents' examples of ``LFQ``, as printed, with vqkit in the import line; in training mode."""

from __future__ import annotations

import torch


def test_first_example():
    from vqkit import LFQ

    # you can specify either dim or codebook_size
    # if both specified, will be validated against each other

    quantizer = LFQ(
        codebook_size=65536,  # codebook size, must be a power of 2
        dim=16,  # this is the input feature dimension, defaults to log2(codebook_size) if not defined
        entropy_loss_weight=0.1,  # how much weight to place on entropy loss
        diversity_gamma=1.0,  # within entropy loss, how much weight to give to diversity of codes
    )

    image_feats = torch.randn(1, 16, 32, 32)

    # you may want to experiment with temperature
    quantized, indices, entropy_aux_loss = quantizer(image_feats, inv_temperature=100.0)

    # (1, 16, 32, 32), (1, 32, 32), ()

    assert (quantized == quantizer.indices_to_codes(indices)).all()
    assert (quantized.shape, indices.shape, entropy_aux_loss.shape) == ((1, 16, 32, 32), (1, 32, 32), ())


def test_sequences_and_videos():
    from vqkit import LFQ

    quantizer = LFQ(
        codebook_size=65536,
        dim=16,
        entropy_loss_weight=0.1,
        diversity_gamma=1.0,
    )

    seq = torch.randn(1, 32, 16)
    quantized, *_ = quantizer(seq)

    assert seq.shape == quantized.shape

    video_feats = torch.randn(1, 16, 10, 32, 32)
    quantized, *_ = quantizer(video_feats)

    assert video_feats.shape == quantized.shape


def test_multiple_codebooks():
    from vqkit import LFQ

    quantizer = LFQ(
        codebook_size=4096,
        dim=16,
        num_codebooks=4,  # 4 codebooks, total codebook dimension is log2(4096) * 4
    )

    image_feats = torch.randn(1, 16, 32, 32)

    quantized, indices, entropy_aux_loss = quantizer(image_feats)

    # (1, 16, 32, 32), (1, 32, 32, 4), ()

    assert image_feats.shape == quantized.shape
    assert (quantized == quantizer.indices_to_codes(indices)).all()
    assert (indices.shape, entropy_aux_loss.shape) == ((1, 32, 32, 4), ())
