from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vqkit.shapes import check_number


class WeightsEMA:
    """Moving averages of a model's parameters; buffers (a codebook's own averages, say) are used as they are.

    The decay grows from 2/11 towards ``decay``, min(decay, (1 + t)/(10 + t)) at update t, so that the random start is
    soon forgotten.

    Args:
        model: its parameters now are the first averages.
        decay: in [0, 1]; how much of the average is kept at each update in the long run.

    Examples:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(layer.weight, 0.0)
        >>> ema = WeightsEMA(layer, decay=0.5)
        >>> _ = nn.init.constant_(layer.weight, 11.0)
        >>> ema.update(layer)
        >>> with ema.applied(layer):
        ...     layer.weight.item()
        9.0
        >>> layer.weight.item()
        11.0
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = check_number("ema_decay", decay, 0, 1)
        self.updates = 0
        self.averages = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the parameters after a step into the averages."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in model.named_parameters():
            self.averages[name].lerp_(value, 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within, the model has the averages for parameters."""
        trained = {name: value.detach().clone() for name, value in model.named_parameters()}
        _set_parameters(model, self.averages)
        try:
            yield
        finally:
            _set_parameters(model, trained)

    def install(self, model: nn.Module) -> None:
        """Make the averages the model's parameters for good."""
        _set_parameters(model, self.averages)

    def state_dict(self) -> dict[str, object]:
        """What :meth:`load_state_dict` takes."""
        return {"updates": self.updates, "averages": self.averages}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a saved state; its averages are copied."""
        averages: Mapping[str, Tensor] = state["averages"]  # pyright: ignore[reportAssignmentType]
        self.updates = int(state["updates"])  # pyright: ignore[reportArgumentType]
        for name, value in self.averages.items():
            value.copy_(averages[name])


@torch.no_grad()
def _set_parameters(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, value in model.named_parameters():
        value.copy_(values[name])
