"""Every example of the first founding document, in its order, as printed, with vqkit in the import line.

What is printed there about shapes is asserted. Its residual shapes put the stages first; vqkit's put them last
(``docs/differences.md``).
"""

from __future__ import annotations

import torch


def test_1_usage():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_size=512,  # codebook size
        decay=0.8,  # the exponential moving average decay, lower means the dictionary will change faster
        commitment=1.0,  # the weight on the commitment loss
    )

    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = vq(x)  # (1, 1024, 256), (1, 1024), (1)

    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024), ())


def test_2_variants():
    from vqkit import ResidualVQ

    residual_vq = ResidualVQ(
        dim=256,
        num_quantizers=8,  # specify number of quantizers
        codebook_size=1024,  # codebook size
    )

    x = torch.randn(1, 1024, 256)
    quantized, indices, commit_loss = residual_vq(x)

    # (batch, seq, dim), (batch, seq, quantizer), (quantizer,)
    assert (quantized.shape, indices.shape, commit_loss.shape) == ((1, 1024, 256), (1, 1024, 8), (8,))


def test_3_initialization():
    from vqkit import ResidualVQ

    residual_vq = ResidualVQ(
        dim=256,
        codebook_size=256,
        num_quantizers=4,
        kmeans_init=True,  # set to True
        kmeans_iters=10,  # number of kmeans iterations to calculate the centroids for the codebook on init
    )

    x = torch.randn(1, 1024, 256)
    quantized, indices, _commit_loss = residual_vq(x)

    assert (quantized.shape, indices.shape) == ((1, 1024, 256), (1, 1024, 4))


def test_4_lower_codebook_dimension():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_size=256,
        codebook_dim=16,  # paper proposes setting this to 32 or as low as 8 to increase codebook usage
    )

    x = torch.randn(1, 1024, 256)
    quantized, indices, _commit_loss = vq(x)

    assert (quantized.shape, indices.shape) == ((1, 1024, 256), (1, 1024))
    assert vq.codebook.shape == (256, 16)


def test_5_cosine_similarity():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_size=256,
        use_cosine_sim=True,  # set this to True
    )

    x = torch.randn(1, 1024, 256)
    quantized, indices, _commit_loss = vq(x)

    assert (quantized.shape, indices.shape) == ((1, 1024, 256), (1, 1024))
    torch.testing.assert_close(quantized.norm(dim=-1), torch.ones(1, 1024))


def test_6_expiring_stale_codes():
    from vqkit import VectorQuantize

    vq = VectorQuantize(
        dim=256,
        codebook_size=512,
        # should actively replace any codes that have an exponential moving average cluster size less than 2
        threshold_ema_dead_code=2,
    )

    x = torch.randn(1, 1024, 256)
    quantized, indices, _commit_loss = vq(x)

    assert (quantized.shape, indices.shape) == ((1, 1024, 256), (1, 1024))
