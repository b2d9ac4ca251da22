"""Every code block of the vqtorch document, as printed, with ``vqkit.interop.vqtorch`` in the import line."""

from __future__ import annotations

import torch
from torch import nn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def test_euclidean_vq():
    from vqkit.interop.vqtorch import VectorQuantize

    vq = VectorQuantize(feature_size=256, num_codes=512)
    assert vq.vq.book.metric == "euclidean"
    assert vq(torch.randn(2, 256, 4, 4))[0].shape == (2, 256, 4, 4)


def test_cosine_vq():
    from vqkit.interop.vqtorch import VectorQuantize

    vq = VectorQuantize(feature_size=256, num_codes=512, dist="cosine")
    z_q, _ = vq(3 * torch.randn(2, 256, 4, 4))
    torch.testing.assert_close(z_q.norm(dim=1), torch.ones(2, 4, 4))  # "the input norm is not preserved"


def test_cosine_vq_that_preserves_the_norm():
    from vqkit.interop.vqtorch import VectorQuantize

    vq = VectorQuantize(feature_size=256, num_codes=512, dist="cosine", vector_normalize=True)
    z = 3 * torch.randn(2, 256, 4, 4)
    z_q, misc = vq(z)
    torch.testing.assert_close(z_q.norm(dim=1), z.norm(dim=1))
    unit = nn.functional.normalize(vq.vq.codebook, dim=-1)[misc["q"][..., 0]]
    torch.testing.assert_close(nn.functional.normalize(z_q, dim=1), unit.movedim(-1, 1))


def test_grouped_vq():
    from vqkit.interop.vqtorch import VectorQuantize

    vq = VectorQuantize(feature_size=256, num_codes=512, dist="cosine", groups=4)
    z_q, misc = vq(torch.randn(2, 256, 4, 4))
    assert (z_q.shape, misc["q"].shape, vq.vq.codebook.shape) == ((2, 256, 4, 4), (2, 4, 4, 4), (512, 64))


def test_how_to_use_it():
    from vqkit.interop.vqtorch import VectorQuantize

    vq = VectorQuantize(feature_size=32, num_codes=256).to(DEVICE)

    # input tensor
    z_e = torch.randn(1, 32, 64, 64).to(DEVICE)

    # quantized tensor
    z_q, misc = vq(z_e)

    assert z_q.shape == torch.Size([1, 32, 64, 64])

    # commitment loss (scaled by the beta hyper-parameters in the layer)
    commitment_loss = misc["loss"]
    assert commitment_loss.shape == ()
    assert commitment_loss > 0


def test_quantization_dimension():
    from vqkit.interop.vqtorch import VectorQuantize

    vq = VectorQuantize(feature_size=256, num_codes=512, dim=2)
    z_q, misc = vq(torch.randn(2, 10, 256))
    assert (z_q.shape, misc["q"].shape) == ((2, 10, 256), (2, 10, 1))


def test_warming_up_the_codebook():
    from vqkit.interop.vqtorch import VectorQuantize
    from vqkit.interop.vqtorch.inits import codebook_warmup

    class MyVQNetwork(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.vq = nn.Conv2d(3, 8, 1), VectorQuantize(feature_size=8, num_codes=16)

        def forward(self, x):
            return self.vq(self.encoder(x))

    torch.manual_seed(0)
    model = MyVQNetwork()
    images = [torch.randn(4, 3, 5, 5) for _ in range(6)]
    train_loader = [(x, torch.zeros(4)) for x in images]  # pairs, as a DataLoader gives them

    codebook_warmup(model, train_loader, warmup_method="data", num_batch=4)

    rows = torch.cat([model.encoder(x).movedim(1, -1).reshape(-1, 8) for x in images[:4]])
    gaps = (model.vq.vq.codebook[:, None] - rows).abs().amax(2).amin(1)
    assert gaps.max() < 1e-6  # every code is a vector of the first four batches
    assert model.training
