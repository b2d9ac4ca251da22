"""Weights in safetensors files: no code runs when they are read, and a misfit names its keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from vqkit.errors import CheckpointError

# How many keys an error lists before it counts the rest.
LISTED = 8


def write_weights(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to a safetensors file.

    Args:
        state: name to tensor, on any device.
        path: the file; the caller stages it when it must be atomic.
        metadata: strings kept in the file's header.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    # tensors that share memory (tied weights, views) become separate ones: the file holds each by its own name
    own = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
    # through Python's own file: safetensors' writer hides what the system said, and leaves a file behind when killed
    path.write_bytes(serialise(own, metadata={"format": "pt", **(metadata or {})}))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors (on the CPU) and the header's strings of a safetensors file.

    Raises:
        CheckpointError: no such file, or it is damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    # A damaged file fails in its reader's own ways; whatever it is, the file is to blame.
    except Exception as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error


def load_weights(module: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """Load ``state`` into ``module``; every parameter and buffer must be there, in its shape, and nothing else.

    Args:
        module: changed only if everything fits.
        state: name to tensor.
        source: the file or folder the state came from, for the message.

    Raises:
        CheckpointError: naming the keys that are missing, unexpected, or of another shape.

    Examples:
        >>> import torch
        >>> load_weights(nn.Linear(2, 1), {"weight": torch.zeros(1, 3)}, "a.safetensors")
        Traceback (most recent call last):
            ...
        vqkit.errors.CheckpointError: a.safetensors: weights of another model: missing bias; weight has shape (1, 3),
        the model's is (1, 2)
    """
    check_fit(module, state, source)
    module.load_state_dict({**extra_state(module), **state})


def check_fit(module: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """Raise as :func:`load_weights` does if ``state`` is not that of ``module``; loads nothing."""
    own = tensor_state(module)
    problems = []
    if missing := [name for name in own if name not in state]:
        problems.append(f"missing {listed(missing)}")
    if unexpected := [name for name in state if name not in own]:
        problems.append(f"unexpected {listed(unexpected)}")
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, the model's is {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ][:LISTED]
    if problems:
        raise CheckpointError(f"{source}: weights of another model: {'; '.join(problems)}")


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def tensor_state(module: nn.Module) -> dict[str, Tensor]:
    """``module.state_dict()`` without what is no tensor: a codebook's in-place optimizer, say, belongs to the run."""
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def extra_state(module: nn.Module) -> dict[str, Any]:
    """The part of ``module.state_dict()`` that :func:`tensor_state` leaves out."""
    return {name: value for name, value in module.state_dict().items() if not isinstance(value, Tensor)}
