from __future__ import annotations

import pytest
import torch
from torch import nn

from vqkit.data import ImageSpec
from vqkit.models import MLPVQVAE, ConvVQVAE, ConvVQVAEConfig, MLPVQVAEConfig
from vqkit.quantizers import Quantized

QUANTIZER = {"type": "VectorQuantize", "dim": 8, "codebook_size": 16}


class PlainQuantizer(nn.Module):
    """The least a model asks of a quantizer, and nothing more: no config, no usage."""

    def __init__(self, dim: int = 8, codebook_size: int = 16):
        super().__init__()
        self.dim, self.codebook_size = dim, codebook_size
        self.codes = nn.Parameter(torch.randn(codebook_size, dim))

    def encode(self, x):
        return torch.cdist(x.flatten(0, -2), self.codes).argmin(-1).view(x.shape[:-1])

    def decode(self, indices):
        return self.codes[indices]

    def forward(self, x):
        indices = self.encode(x)
        q = self.decode(indices)
        passed = x + (q - x).detach() if self.training else q
        return Quantized(passed, indices, (x - q).square().mean())


@pytest.fixture
def plain() -> PlainQuantizer:
    return PlainQuantizer()


@pytest.fixture(params=["mlp", "conv"])
def model(request):
    torch.manual_seed(0)
    if request.param == "mlp":
        return MLPVQVAE(MLPVQVAEConfig(quantizer=QUANTIZER, spec=ImageSpec(1, 8, 6), codes=4, hidden=16))
    config = ConvVQVAEConfig(quantizer=QUANTIZER, spec=ImageSpec(3, 8, 16, -0.5, 0.5), hidden=8, residual_hidden=4)
    return ConvVQVAE(config)


@pytest.fixture
def images(model):
    torch.manual_seed(1)
    spec = model.spec
    return torch.rand(5, *spec.shape) * spec.span + spec.low
