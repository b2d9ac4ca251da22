"""Whether a config can be that of the weights beside it, found out before anything is allocated."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registry

from vqkit.errors import CheckpointError
from vqkit.models.weights import check_fit

# What a model may have beside its weights: counts of codes drawn, constants.
SPARE_NUMBERS = 2**26
SPARE_MODULES = 2**12


def check_size(build: Callable[[], nn.Module], state: Mapping[str, Tensor], source: object) -> None:
    """Build a model that takes no memory, and compare it with the weights it is to hold.

    Args:
        build: makes the model, here on torch's ``meta`` device.
        state: name to tensor. source: where they came from, for the message.

    Raises:
        CheckpointError: the model would be larger than its weights account for, or has others.
    """
    numbers = SPARE_NUMBERS + sum(value.numel() for value in state.values())
    with torch.device("meta"), _limited(numbers, SPARE_MODULES + 10 * len(state), source):
        model = build()
    check_fit(model, state, source)


@contextmanager
def _limited(numbers: int, modules: int, source: object) -> Iterator[None]:
    """Raise once the modules this thread makes hold more than that."""
    left, thread = {"numbers": numbers, "modules": modules}, threading.get_ident()

    def spend(what: str, amount: int) -> None:
        if threading.get_ident() != thread:
            return
        left[what] -= amount
        if left[what] < 0:
            raise CheckpointError(f"{source}: its config is that of a model far larger than the weights beside it")

    def on_tensor(_module: nn.Module, _name: str, value: Any) -> None:
        spend("numbers", value.numel() if isinstance(value, Tensor) else 0)

    hooks = [
        registry.register_module_parameter_registration_hook(on_tensor),
        registry.register_module_buffer_registration_hook(on_tensor),
        registry.register_module_module_registration_hook(lambda _module, _name, _child: spend("modules", 1)),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
