"""The VQ-VAE of fully connected layers: small, and at home on images of a few hundred pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from vqkit.models.base import VQVAE
from vqkit.models.config import VQVAEConfig
from vqkit.shapes import check_int


@dataclass(frozen=True)
class MLPVQVAEConfig(VQVAEConfig):
    """Config of :class:`MLPVQVAE`.

    Args:
        codes: codes per image.
        hidden: units in each of the two hidden layers.

    Examples:
        >>> MLPVQVAEConfig(quantizer={"type": "VectorQuantize", "dim": 32, "codebook_size": 512}, codes=16).hidden
        300
    """

    model_type: ClassVar[str] = "MLPVQVAE"

    codes: int = 16
    hidden: int = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("codes", self.codes)
        check_int("hidden", self.hidden)


class MLPVQVAE(VQVAE):
    """Two hidden layers each way, LeakyReLU between; ``codes`` codes an image; a sigmoid maps into the value range.

    Args:
        config: the architecture, the images and the quantizer.
        quantizer: a quantizer module to use in place of ``config.quantizer``; its config is then stored.

    Raises:
        ArgumentError, ArgumentTypeError: a config that cannot be built.

    Examples:
        >>> import torch
        >>> from vqkit.data import ImageSpec
        >>> config = MLPVQVAEConfig(
        ...     spec=ImageSpec(channels=1, height=8, width=8), codes=4,
        ...     quantizer={"type": "VectorQuantize", "dim": 16, "codebook_size": 32},
        ... )
        >>> model = MLPVQVAE(config).eval()
        >>> out = model(torch.rand(2, 1, 8, 8))
        >>> out.reconstruction.shape, out.indices.shape, model.latent_shape
        (torch.Size([2, 1, 8, 8]), torch.Size([2, 4]), (4,))
        >>> bool((model.decode(out.indices) == out.reconstruction).all())
        True
    """

    config_class: ClassVar[type[VQVAEConfig]] = MLPVQVAEConfig
    config: MLPVQVAEConfig

    def __init__(self, config: MLPVQVAEConfig, quantizer: nn.Module | None = None):
        super().__init__(config, quantizer)
        pixels, hidden, width = math.prod(self.spec.shape), self.config.hidden, self.config.codes * self.quantizer.dim
        self.encoder = mlp(pixels, hidden, width)
        self.decoder = nn.Sequential(*mlp(width, hidden, pixels), nn.Sigmoid())
        self._measure_latents(self.config.codes, self.quantizer.dim)

    def features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to latents (B, codes, D)."""
        return self.encoder(x.flatten(1)).unflatten(1, (self.config.codes, self.quantizer.dim))

    def images(self, quantized: Tensor) -> Tensor:
        """Latents (B, codes, D) to images (B, C, H, W) within the spec's range."""
        unit = self.decoder(quantized.flatten(1)).unflatten(1, self.spec.shape)
        return unit * self.spec.span + self.spec.low


def mlp(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    """Three linear layers with LeakyReLU between: (B, width_in) to (B, width_out)."""
    return nn.Sequential(
        nn.Linear(width_in, hidden),
        nn.LeakyReLU(),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(),
        nn.Linear(hidden, width_out),
    )
