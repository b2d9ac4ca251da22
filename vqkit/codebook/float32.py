"""State that stays float32 whatever dtype the module around it is cast to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Float32State(nn.Module):
    """A module whose parameters and buffers stay float32 through ``half()``, ``to(dtype)`` and ``load_state_dict``.

    >>> import torch
    >>> class Table(Float32State):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.register_buffer("values", torch.zeros(2))
    >>> Table().half().values.dtype
    torch.float32
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Float32State:
        """Moves between devices go through; casts do not: averages of half-precision numbers drift."""

        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_dtype, recurse)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        for tensor in [*self.parameters(recurse=False), *self.buffers(recurse=False)]:
            if tensor.is_floating_point() and tensor.dtype != torch.float32:  # assigned, not copied
                tensor.data = tensor.data.float()
