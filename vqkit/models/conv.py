"""The convolutional VQ-VAE of van den Oord et al. 2017 (arXiv:1711.00937), as Sonnet's example builds it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from vqkit.data.spec import ImageSpec
from vqkit.errors import bad_value
from vqkit.models.base import VQVAE
from vqkit.models.config import VQVAEConfig
from vqkit.models.residual import ResidualStack, init_fan_in
from vqkit.shapes import check_int


@dataclass(frozen=True)
class ConvVQVAEConfig(VQVAEConfig):
    """Config of :class:`ConvVQVAE`.

    Args:
        hidden: channels of the residual stream; the first of several stride-2 convolutions has half of them.
        downsamplings: how many stride-2 convolutions, at least 1; height and width shrink by 2 to this power.
        residual_blocks: blocks in the residual stack of either side.
        residual_hidden: channels inside a residual block.

    Raises:
        ArgumentError: an odd ``hidden``, or a size below its minimum.

    Examples:
        >>> ConvVQVAEConfig(quantizer={"type": "VectorQuantize", "dim": 64, "codebook_size": 512}).residual_blocks
        2
    """

    model_type: ClassVar[str] = "ConvVQVAE"

    hidden: int = 128
    downsamplings: int = 2
    residual_blocks: int = 2
    residual_hidden: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("hidden", self.hidden, minimum=2)
        check_int("downsamplings", self.downsamplings, maximum=30)
        check_int("residual_blocks", self.residual_blocks, minimum=0)
        check_int("residual_hidden", self.residual_hidden)
        if self.hidden % 2:
            raise bad_value("hidden", "an even number", self.hidden)


class ConvVQVAE(VQVAE):
    """Stride-2 convolutions down to a grid of codes, a residual stack, and the mirror image of both back up.

    Args:
        config: the architecture, the images and the quantizer.
        quantizer: a quantizer module to use in place of ``config.quantizer``; its config is then stored.

    Raises:
        ArgumentError: height or width is no multiple of 2 to the number of downsamplings.

    Examples:
        >>> import torch
        >>> from vqkit.data import ImageSpec
        >>> config = ConvVQVAEConfig(
        ...     spec=ImageSpec(channels=3, height=16, width=24), hidden=16, residual_hidden=8,
        ...     quantizer={"type": "VectorQuantize", "dim": 8, "codebook_size": 32},
        ... )
        >>> model = ConvVQVAE(config).eval()
        >>> indices = model.encode(torch.rand(2, 3, 16, 24))
        >>> indices.shape, model.decode(indices).shape
        (torch.Size([2, 4, 6]), torch.Size([2, 3, 16, 24]))
    """

    config_class: ClassVar[type[VQVAEConfig]] = ConvVQVAEConfig
    config: ConvVQVAEConfig

    def __init__(self, config: ConvVQVAEConfig, quantizer: nn.Module | None = None):
        super().__init__(config, quantizer)
        grid = grid_shape(self.spec, self.config.downsamplings)
        self.encoder = encoder(self.config, self.spec.channels, self.quantizer.dim)
        self.decoder = decoder(self.config, self.spec.channels, self.quantizer.dim)
        self.encoder.apply(init_fan_in)
        self.decoder.apply(init_fan_in)
        self._measure_latents(*grid, self.quantizer.dim)

    def features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to latents (B, h, w, D)."""
        return self.encoder(x).permute(0, 2, 3, 1)

    def images(self, quantized: Tensor) -> Tensor:
        """Latents (B, h, w, D) to images (B, C, H, W); not clipped to the spec's range."""
        # one memory layout whatever produced the latents: convolutions round differently in another
        return self.decoder(quantized.permute(0, 3, 1, 2).contiguous())


def grid_shape(spec: ImageSpec, downsamplings: int) -> tuple[int, int]:
    """Height and width of the code grid of images of ``spec``."""
    step = 2**downsamplings
    if spec.height % step or spec.width % step:
        raise bad_value(
            "spec", f"height and width that are multiples of {step} ({downsamplings} downsamplings)",
            f"{spec.height}x{spec.width}",
        )  # fmt: skip
    return spec.height // step, spec.width // step


def channel_ladder(config: ConvVQVAEConfig) -> list[int]:
    """Channels after each stride-2 convolution: half of ``hidden``, then ``hidden``; a single one gives ``hidden``."""
    return [config.hidden // 2] * (config.downsamplings > 1) + [config.hidden] * max(1, config.downsamplings - 1)


def encoder(config: ConvVQVAEConfig, channels: int, dim: int) -> nn.Sequential:
    """(B, channels, H, W) to (B, dim, h, w)."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise([channels, *channel_ladder(config)]):
        layers += [nn.Conv2d(width_in, width_out, kernel_size=4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(
        *layers,
        nn.Conv2d(config.hidden, config.hidden, kernel_size=3, padding=1),
        ResidualStack(config.hidden, config.residual_blocks, config.residual_hidden),
        nn.Conv2d(config.hidden, dim, kernel_size=1),
    )


def decoder(config: ConvVQVAEConfig, channels: int, dim: int) -> nn.Sequential:
    """(B, dim, h, w) to (B, channels, H, W)."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise([*reversed(channel_ladder(config)), channels]):
        layers += [nn.ConvTranspose2d(width_in, width_out, kernel_size=4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(
        nn.Conv2d(dim, config.hidden, kernel_size=3, padding=1),
        ResidualStack(config.hidden, config.residual_blocks, config.residual_hidden),
        # the images themselves are not rectified
        *layers[:-1],
    )
