"""What ranks share. The only file that talks to ``torch.distributed``; without a process group it costs nothing.

The group is looked up at each call, so a module built before ``init_process_group`` takes part all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """The number of ranks that take part; 1 without a process group.

    >>> world_size()
    1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's rank; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor summed over the ranks, in one all-reduce, in the dtype it came in (float64 on the way)."""
    if world_size() == 1:
        return list(tensors)
    flat = torch.cat([t.reshape(-1).double() for t in tensors])
    dist.all_reduce(flat)
    parts = flat.split([t.numel() for t in tensors])
    return [part.reshape(t.shape).to(t.dtype) for part, t in zip(parts, tensors, strict=True)]


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        del ctx
        return tuple(summed(tensors))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        del ctx
        return tuple(summed(grads))


def summed_with_gradient(tensors: Sequence[Tensor]) -> list[Tensor]:
    """``summed``, with gradients: what reaches a rank's tensor is the sum of what all ranks' losses send to the total.

    With a loss that every rank makes alike from the totals, that is the world size times its gradient; DDP's average
    over the ranks then leaves the gradient of that one loss. If one rank goes backward, all must.
    """
    if world_size() == 1:
        return list(tensors)
    return list(_Summed.apply(*tensors))  # pyright: ignore[reportArgumentType]


def gathered(tensor: Tensor) -> Tensor:
    """Every rank's tensor of one shape, stacked along a new first axis in the order of ranks."""
    if world_size() == 1:
        return tensor[None]
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.stack(parts)


def gathered_rows(tensor: Tensor, fill: int = -1) -> Tensor:
    """Every rank's (H, N) side by side, (H, ΣN), in the order of ranks; ranks may differ in N (``fill`` pads, at most
    the longest).
    """
    length = torch.tensor(tensor.shape[1], device=tensor.device)
    longest = int(gathered(length).max())
    padded = torch.nn.functional.pad(tensor, (0, longest - tensor.shape[1]), value=fill)
    return gathered(padded).movedim(0, 1).reshape(tensor.shape[0], -1)
