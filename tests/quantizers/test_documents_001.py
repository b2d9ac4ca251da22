"""Every example of the second founding document, in its order, as printed, with vqkit in the import line.

What is printed there about shapes is asserted; a loss printed as (1), (1, 8) or (2, 1, 8) is (), (8,) or (2, 8).
Mended are a class name misprinted in 1 and 7 to 10, and names left undefined in 2, 3 and 22.
"""

from __future__ import annotations

import torch


def test_1_vq():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_size=512,
        decay=0.8,
        commitment_weight=1.0,
    )

    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = vq(x)

    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024), ())


def test_2_residual_vq():
    from vqkit import ResidualVQ

    residual_vq = ResidualVQ(
        dim=256,
        codebook_size=1024,
        num_quantizers=8,
    )

    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = residual_vq(x)

    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024, 8), (8,))


def test_3_all_codes():
    from vqkit import ResidualVQ

    residual_vq = ResidualVQ(dim=256, codebook_size=1024, num_quantizers=8)
    x = torch.randn(1, 1024, 256)

    quantized, indices, commit_loss, all_codes = residual_vq(x, return_all_codes=True)

    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024, 8), (8,))
    assert all_codes.shape == (8, 1, 1024, 256)


def test_4_rq_vae():
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


def test_5_grouped_residual_vq():
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


def test_6_initialisation():
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


def test_7_rotation_trick():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_size=256,
        rotation_trick=True,
    )

    quantized, indices, _ = vq(torch.randn(1, 1024, 256))
    assert (quantized.shape, indices.shape) == ((1, 1024, 256), (1, 1024))


def test_8_smaller_codebook_dimension():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_size=256,
        codebook_dim=16,
    )

    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = vq(x)

    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024), ())


def test_9_cosine_similarity():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_size=256,
        use_cosine_sim=True,
    )

    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = vq(x)

    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024), ())


def test_10_stale_codes():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_size=512,
        threshold_ema_dead_code=2,
    )

    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = vq(x)

    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024), ())


def test_11_orthogonal_regularisation():
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


def test_12_multi_headed_vq():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_dim=32,  # a number of papers have shown smaller codebook dimension to be acceptable
        heads=8,  # number of heads to vector quantize, codebook shared across all heads
        separate_codebook_per_head=True,  # whether to have a separate codebook per head
        codebook_size=8196,
        accept_image_fmap=True,
    )

    img_fmap = torch.randn(1, 256, 32, 32)
    quantized, indices, loss = vq(img_fmap)

    assert (quantized.shape, indices.shape, loss.shape) == ((1, 256, 32, 32), (1, 32, 32, 8), ())


def test_13_random_projection():
    from vqkit import RandomProjectionQuantizer

    quantizer = RandomProjectionQuantizer(
        dim=512,  # input dimensions
        num_codebooks=16,  # in USM, they used up to 16 for 5% gain
        codebook_dim=256,  # codebook dimension
        codebook_size=1024,  # codebook size
    )

    x = torch.randn(1, 1024, 512)
    indices = quantizer(x)

    assert indices.shape == (1, 1024, 16)


def test_14_finite_scalar_quantization():
    from vqkit import FSQ

    quantizer = FSQ(levels=[8, 5, 5, 5])

    x = torch.randn(1, 1024, 4)  # 4 since there are 4 levels
    xhat, indices = quantizer(x)

    assert (xhat.shape, indices.shape) == ((1, 1024, 4), (1, 1024))

    assert torch.all(xhat == quantizer.indices_to_codes(indices))


def test_15_residual_fsq():
    from vqkit import ResidualFSQ

    residual_fsq = ResidualFSQ(
        dim=256,
        levels=[8, 5, 5, 3],
        num_quantizers=8,
    )

    x = torch.randn(1, 1024, 256)

    residual_fsq.eval()

    quantized, indices = residual_fsq(x)

    assert (quantized.shape, indices.shape) == ((1, 1024, 256), (1, 1024, 8))

    quantized_out = residual_fsq.get_output_from_indices(indices)

    assert quantized_out.shape == (1, 1024, 256)

    assert torch.all(quantized == quantized_out)


def test_16_lookup_free_quantization():
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

    assert (quantized.shape, indices.shape, entropy_aux_loss.shape) == ((1, 16, 32, 32), (1, 32, 32), ())

    assert (quantized == quantizer.indices_to_codes(indices)).all()


def test_17_lookup_free_sequences_and_videos():
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


def test_18_lookup_free_with_several_codebooks():
    from vqkit import LFQ

    quantizer = LFQ(
        codebook_size=4096,
        dim=16,
        num_codebooks=4,  # 4 codebooks, total codebook dimension is log2(4096) * 4
    )

    image_feats = torch.randn(1, 16, 32, 32)

    quantized, indices, entropy_aux_loss = quantizer(image_feats)

    assert (indices.shape, entropy_aux_loss.shape) == ((1, 32, 32, 4), ())

    assert image_feats.shape == quantized.shape
    assert (quantized == quantizer.indices_to_codes(indices)).all()


def test_19_residual_lfq():
    from vqkit import ResidualLFQ

    residual_lfq = ResidualLFQ(
        dim=256,
        codebook_size=256,
        num_quantizers=8,
    )

    x = torch.randn(1, 1024, 256)

    residual_lfq.eval()

    quantized, indices, commit_loss = residual_lfq(x)

    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024, 8), (8,))

    quantized_out = residual_lfq.get_output_from_indices(indices)

    assert quantized_out.shape == (1, 1024, 256)

    assert torch.all(quantized == quantized_out)


def test_20_latent_quantization():
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


def test_21_latent_quantization_of_sequences_and_videos():
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


def test_22_latent_quantization_with_several_codebooks():
    from vqkit import LatentQuantize

    dim, num_codebooks = 9, 3
    model = LatentQuantize(
        levels=[4, 8, 16],
        dim=9,
        num_codebooks=3,
    )

    input_tensor = torch.randn(2, 3, dim)
    output_tensor, indices, loss = model(input_tensor)

    assert (output_tensor.shape, indices.shape, loss.shape) == ((2, 3, 9), (2, 3, 3), ())

    assert output_tensor.shape == input_tensor.shape
    assert indices.shape == (2, 3, num_codebooks)
    assert loss.item() >= 0
