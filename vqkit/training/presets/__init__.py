"""Runs that are known to work, by name; each file makes one."""

from __future__ import annotations

from collections.abc import Callable

from vqkit.errors import bad_value
from vqkit.training.config import RunConfig
from vqkit.training.presets.cifar10 import cifar10
from vqkit.training.presets.digits import digits
from vqkit.training.presets.mnist import mnist
from vqkit.training.presets.mnist_mlp import mnist_mlp

PRESETS: dict[str, Callable[[], RunConfig]] = {
    "digits": digits,
    "mnist-mlp": mnist_mlp,
    "mnist": mnist,
    "cifar10": cifar10,
}


def names() -> list[str]:
    """The presets there are."""
    return list(PRESETS)


def get(name: str) -> RunConfig:
    """The run of a preset.

    Raises:
        ArgumentError: there is none of that name; the message lists those there are.

    Examples:
        >>> get("cifar10").model.quantizer["codebook_size"]
        512
    """
    if name not in PRESETS:
        raise bad_value("preset", f"one of {', '.join(PRESETS)}", repr(name))
    return PRESETS[name]()


__all__ = ["get", "names"]
