"""A temperature that falls with the training steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqkit.errors import bad_type
from vqkit.shapes import check_number

Schedule = float | Sequence[float]
"""A constant temperature, or (start, stop, decay)."""


class Annealing(nn.Module):
    """max(stop, start·decay^t) after t training steps; the count t is part of the state dict.

    Args:
        name: the argument's name in errors. schedule: a number for a constant, or (start, stop, decay).

    Example:
        >>> temperature = Annealing("temperature", (2.0, 0.5, 0.5))
        >>> for _ in range(3):
        ...     print(temperature.value().item())
        ...     temperature.advance_()
        2.0
        1.0
        0.5
    """

    steps: Tensor

    def __init__(self, name: str, schedule: Schedule):
        super().__init__()
        parts = (schedule, schedule, 1.0) if isinstance(schedule, (int, float)) else schedule
        if isinstance(parts, str) or not isinstance(parts, Sequence) or len(parts) != 3:
            raise bad_type(name, "a number, or three: start, stop, decay", schedule)
        self.start = check_number(f"{name} (start)", parts[0], 0, open_low=True)
        self.stop = check_number(f"{name} (stop)", parts[1], 0, self.start, open_low=True)
        self.decay = check_number(f"{name} (decay)", parts[2], 0, 1, open_low=True)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def value(self) -> Tensor:
        """The temperature now: () float32, read without a device synchronisation."""
        falling = self.start * (self.steps.double() * math.log(self.decay)).exp()
        return falling.clamp(min=self.stop).float()

    @torch.no_grad()
    def advance_(self) -> None:
        """Count one training step."""
        self.steps.add_(1)
