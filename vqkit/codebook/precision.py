"""State that casts leave alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self


class Float32State(nn.Module):
    """A module whose tensors, and those of the modules within, stay float32 through ``.half()``, ``.bfloat16()`` and
    ``load_state_dict(assign=True)``: averages of half-precision numbers drift, and codes must not move.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves between devices go through; casts do not."""

        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_dtype, recurse)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        for tensor in [*self.parameters(recurse=False), *self.buffers(recurse=False)]:
            if tensor.is_floating_point() and tensor.dtype != torch.float32:  # assigned, not copied
                tensor.data = tensor.data.float()
