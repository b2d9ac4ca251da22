"""The founding documents' examples of ``FSQ`` and ``LatentQuantize``, as printed, with vqkit in the import line."""

from __future__ import annotations

import torch


def test_finite_scalar_quantization():
    from vqkit import FSQ

    quantizer = FSQ(levels=[8, 5, 5, 5])

    x = torch.randn(1, 1024, 4)  # 4 since there are 4 levels
    xhat, indices = quantizer(x)

    assert (xhat.shape, indices.shape) == ((1, 1024, 4), (1, 1024))
    assert torch.all(xhat == quantizer.indices_to_codes(indices))


def test_latent_quantization_of_images():
    from vqkit import LatentQuantize

    # you can specify either dim or codebook_size
    # if both specified, will be validated against each other

    quantizer = LatentQuantize(
        levels=[5, 5, 8],  # number of levels per codebook dimension
        dim=16,  # input dim
        commitment_loss_weight=0.1,
        quantization_loss_weight=0.1,
    )

    image_feats = torch.randn(1, 16, 32, 32)

    quantized, indices, loss = quantizer(image_feats)

    assert (quantized.shape, indices.shape, loss.shape) == ((1, 16, 32, 32), (1, 32, 32), ())
    assert image_feats.shape == quantized.shape
    assert (quantized == quantizer.indices_to_codes(indices)).all()


def test_latent_quantization_of_sequences_and_video():
    from vqkit import LatentQuantize

    quantizer = LatentQuantize(
        levels=[5, 5, 8],
        dim=16,
        commitment_loss_weight=0.1,
        quantization_loss_weight=0.1,
    )

    seq = torch.randn(1, 32, 16)
    quantized, *_ = quantizer(seq)
    assert quantized.shape == (1, 32, 16)

    video_feats = torch.randn(1, 16, 10, 32, 32)
    quantized, *_ = quantizer(video_feats)
    assert quantized.shape == (1, 16, 10, 32, 32)


def test_latent_quantization_with_several_codebooks():
    from vqkit import LatentQuantize

    dim = 9  # the document leaves these two undefined
    num_codebooks = 3
    model = LatentQuantize(levels=[4, 8, 16], dim=9, num_codebooks=3)

    input_tensor = torch.randn(2, 3, dim)
    output_tensor, indices, loss = model(input_tensor)

    assert (output_tensor.shape, indices.shape, loss.shape) == ((2, 3, 9), (2, 3, 3), ())
    assert output_tensor.shape == input_tensor.shape
    assert indices.shape == (2, 3, num_codebooks)
    assert loss.item() >= 0
