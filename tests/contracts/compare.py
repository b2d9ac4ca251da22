"""What the contract compares: state dicts, gradients, losses, the tables within a quantizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vqkit import Codebook
from vqkit.codebook.window import UsageWindow


def loss_of(out: Any) -> Tensor:
    """The sum of a forward's losses; zero for the families that have none."""
    return out.loss.sum() if hasattr(out, "loss") else out.quantized.new_zeros((), dtype=torch.float32)


def tables(module: nn.Module) -> list[Codebook]:
    return [m for m in module.modules() if isinstance(m, Codebook)]


def windows(module: nn.Module) -> list[UsageWindow]:
    return [m for m in module.modules() if isinstance(m, UsageWindow)]


def flat_state(module: nn.Module) -> dict[str, Tensor]:
    """Every tensor of the state dict, those inside extra state too."""
    flat: dict[str, Tensor] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            flat[name] = value.detach().clone()
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(f"{name}.{key}", item)

    for key, value in module.state_dict().items():
        walk(key, value)
    return flat


def assert_same_state(first: dict[str, Tensor], second: dict[str, Tensor], tolerance: float = 0.0) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(
            second[name], tensor, rtol=tolerance, atol=tolerance, equal_nan=False, msg=lambda m, n=name: f"{n}: {m}"
        )


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def positions_of(x: Tensor, channel_dim: int) -> tuple[int, ...]:
    shape = list(x.shape)
    del shape[channel_dim]
    return tuple(shape)
