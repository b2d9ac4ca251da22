"""The part every VQ-VAE shares: how images, codes and the quantizer meet."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vqkit.data.spec import ImageSpec
from vqkit.errors import VqkitError, bad_type, bad_value
from vqkit.models.config import VQVAEConfig
from vqkit.models.output import VQVAEOutput
from vqkit.models.pretrained import Pretrained
from vqkit.quantizers import build
from vqkit.shapes import check_float, check_indices, check_shape

# A gigabyte: what a model tries on its first image is allocated for a config of any size.
MOST_LATENTS = 2**28


class VQVAE(Pretrained, nn.Module):
    """An autoencoder around a quantizer: images (B, C, H, W) to indices (B, *latent_shape) and back.

    A subclass says how images become latents and latents images (:meth:`features`, :meth:`images`), both channel-last
    on the latents' side, for that is how quantizers are called.

    Attributes:
        config: the frozen config the model is built from.
        quantizer: the quantizer.
        spec: the :class:`ImageSpec` of its images.
        latent_shape: the shape of one image's indices.
    """

    config_class: ClassVar[type[VQVAEConfig]] = VQVAEConfig

    def __init__(self, config: VQVAEConfig, quantizer: nn.Module | None = None):
        super().__init__()
        if not isinstance(config, self.config_class):
            raise bad_type("config", f"a {self.config_class.__name__}", config)
        if config.spec is None:
            raise bad_value("config.spec", "an ImageSpec: the model must know its images", None)
        if quantizer is None:
            quantizer = build(config.quantizer)
        else:
            config = replace(config, quantizer=quantizer_config(quantizer))
        self.config = config
        self.spec: ImageSpec = config.spec  # pyright: ignore[reportAttributeAccessIssue]
        # any module with a quantizer's interface
        self.quantizer: Any = quantizer
        if getattr(quantizer, "channel_dim", -1) is None:
            self.quantizer.channel_dim = -1  # latents come channels last: nothing to guess from their rank
        self.latent_shape: tuple[int, ...] = ()

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to latents (B, ..., D), before quantization."""

    @abstractmethod
    def images(self, quantized: Tensor) -> Tensor:
        """Latents (B, ..., D) to images (B, C, H, W)."""

    def forward(self, x: Tensor) -> VQVAEOutput:
        """Reconstruct images.

        Args:
            x: (B, C, H, W) floating point, values in the spec's range.

        Returns:
            The reconstruction, the indices, and the quantizer's loss.

        Raises:
            ArgumentError, ArgumentTypeError: ``x`` is of another shape or dtype.
        """
        features = self.features(self._check(x))
        out = self.quantizer(features)
        # Stages have a loss each, finite scalars none.
        loss = out.loss.sum() if hasattr(out, "loss") else features.new_zeros((), dtype=torch.float32)
        return VQVAEOutput(self.images(out.quantized), out.indices.movedim(self._batch_axis, 0), loss)

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to indices (B, *latent_shape), int64; changes no state."""
        return self.quantizer.encode(self.features(self._check(x))).movedim(self._batch_axis, 0)

    def decode(self, indices: Tensor) -> Tensor:
        """Indices (B, *latent_shape) to images (B, C, H, W): in eval, bit for bit those of the forward that gave them.

        Raises:
            ArgumentError, ArgumentTypeError: another shape, or not integers.
            CodeIndexError: an index outside the codebook.
        """
        check_shape("indices", check_indices("indices", indices), ("B", *self.latent_shape))
        quantized = self.quantizer.decode(indices.movedim(0, self._batch_axis))
        return self.images(quantized.to(self._layers_dtype))

    @property
    def _layers_dtype(self) -> torch.dtype:
        """What the model was cast to: codes come in float32 all the same."""
        return next(p.dtype for name, p in self.named_parameters() if not name.startswith("quantizer."))

    @property
    def _batch_axis(self) -> int:
        """Where the quantizer's indices have the batch: groups come before it."""
        return getattr(self.quantizer, "batch_axis", 0)

    def _check(self, x: Tensor) -> Tensor:
        return check_shape("x", check_float("x", x), ("B", *self.spec.shape))

    def _measure_latents(self, *shape: int) -> None:
        """Set ``latent_shape`` by encoding latents of ``shape`` once: a quantizer may add axes (stages, heads)."""
        if math.prod(shape) > MOST_LATENTS:
            raise bad_value("spec", f"latents of at most {MOST_LATENTS} numbers an image", f"{shape}")
        latents = torch.zeros(1, *shape)
        if latents.is_meta:  # a model that is only weighed
            return
        was_training = self.quantizer.training
        self.quantizer.eval()
        with torch.no_grad():
            indices = self.quantizer.encode(latents).movedim(self._batch_axis, 0)
        self.latent_shape = tuple(indices.shape[1:])
        self.quantizer.train(was_training)


def quantizer_config(quantizer: nn.Module) -> dict[str, Any]:
    """The config of a quantizer module, or just its class name when it has none that can be stored.

    Such a model saves its weights like any other; loading it takes ``from_pretrained(folder, quantizer=module)``.
    """
    if not isinstance(quantizer, nn.Module):
        raise bad_type("quantizer", "an nn.Module with a quantizer's interface", quantizer)
    try:
        config: Any = getattr(quantizer, "config", None)
    except VqkitError:
        # it holds a module or a function, which has no JSON form
        config = None
    return {"type": type(quantizer).__name__} if config is None else dict(config)
