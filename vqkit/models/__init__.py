"""Autoencoders built on quantizers."""

from __future__ import annotations

from vqkit.models.base import VQVAE
from vqkit.models.config import VQVAEConfig
from vqkit.models.conv import ConvVQVAE, ConvVQVAEConfig
from vqkit.models.mlp import MLPVQVAE, MLPVQVAEConfig
from vqkit.models.output import VQVAEOutput
from vqkit.models.registry import build_model, config_from_dict, load

__all__ = [
    "MLPVQVAE",
    "VQVAE",
    "ConvVQVAE",
    "ConvVQVAEConfig",
    "MLPVQVAEConfig",
    "VQVAEConfig",
    "VQVAEOutput",
    "build_model",
    "config_from_dict",
    "load",
]
