from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from vqkit.errors import CheckpointError, bad_value
from vqkit.models.base import VQVAE
from vqkit.models.config import VQVAEConfig
from vqkit.models.conv import ConvVQVAE
from vqkit.models.mlp import MLPVQVAE
from vqkit.models.pretrained import find, read_model

MODELS: dict[str, type[VQVAE]] = {"ConvVQVAE": ConvVQVAE, "MLPVQVAE": MLPVQVAE}


def build_model(config: VQVAEConfig, quantizer: nn.Module | None = None) -> VQVAE:
    """The model of a config, freshly initialised from torch's global random generator.

    Args:
        config: a config of one of the models here.
        quantizer: a module to use in place of the config's.

    Raises:
        ArgumentError: the config of an unknown model.
    """
    return model_class(config.model_type)(config, quantizer)


def config_from_dict(values: dict[str, Any]) -> VQVAEConfig:
    """The model config that ``config.to_dict()`` gave; its class is found by the key ``type``.

    Raises:
        ArgumentError: an unknown type or key.

    Examples:
        >>> config_from_dict({"type": "MLPVQVAE", "codes": 4}).codes
        4
    """
    return model_class(values.get("type")).config_class.from_dict(values)


def load(source: str | Path, *, quantizer: nn.Module | None = None, device: Any = "cpu", **hub: Any) -> VQVAE:
    """Load a saved model of any class, in eval mode.

    Args:
        source: a folder that ``save_pretrained`` wrote (a run's ``model/`` or one of its checkpoints, say), or the id
            of a repository on the Hugging Face hub.
        quantizer: the quantizer to load into, when it is not one that vqkit can build from its config.
        device: where the model goes.
        **hub: ``revision``, ``token``, ``cache_dir``, ``force_download``, ``local_files_only`` for a repository.

    Raises:
        CheckpointError: the folder is missing, incomplete or damaged, or its model is unknown.
        MissingExtraError: ``source`` is no folder and ``huggingface_hub`` is not installed.
    """
    folder = find(source, **hub)
    kind = read_model(folder)[0].get("type")
    if not isinstance(kind, str) or kind not in MODELS:
        raise CheckpointError(f"{folder}: unknown model type {kind!r}; known are {', '.join(MODELS)}")
    return MODELS[kind].from_pretrained(folder, quantizer=quantizer, device=device)


def model_class(kind: object) -> type[VQVAE]:
    """The model class called ``kind``."""
    if not isinstance(kind, str) or kind not in MODELS:
        raise bad_value("model.type", f"one of {', '.join(MODELS)}", repr(kind))
    return MODELS[str(kind)]
