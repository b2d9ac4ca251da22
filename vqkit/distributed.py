"""What ranks share. The only file that talks to ``torch.distributed``; without a process group it costs nothing.

The group is looked up at each call, so a module built before ``init_process_group`` takes part all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from vqkit.errors import ArgumentError, bad_type

# Its name since torch 2.13, where the old one warns; there is neither where torch was built without ``distributed``.
_all_gather: Any = getattr(dist, "all_gather_single", None) or getattr(dist, "all_gather_into_tensor", None)
_group: dist.ProcessGroup | None = None


def set_group(group: dist.ProcessGroup | None) -> None:
    """Let the ranks of ``group`` share what quantizers learn from now on; None: all ranks, as at the start.

    Give it where not every rank sees rows of its own: the data-parallel group of a mesh whose other axis splits the
    model. Every rank gives the group that it is in.

    Raises:
        ArgumentError, ArgumentTypeError: not a process group, or one that this rank is not in.

    Example:
        >>> set_group(None)
    """
    global _group  # noqa: PLW0603 - torch's own default group is a global, too
    if group is not None:
        apart = group is dist.GroupMember.NON_GROUP_MEMBER  # what ``new_group`` returns to ranks that it leaves out
        if not apart and not isinstance(group, dist.ProcessGroup):
            raise bad_type("group", "a process group that this rank is in, or None", group)
        if apart or dist.get_rank(group) < 0:
            raise ArgumentError(f"group: expected one that this rank is in, got one without rank {dist.get_rank()}")
    _group = group


def world_size() -> int:
    """The number of ranks that take part; 1 without a process group.

    >>> world_size()
    1
    """
    return dist.get_world_size(_group) if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's rank among those that take part; 0 without a process group."""
    return dist.get_rank(_group) if dist.is_available() and dist.is_initialized() else 0


# --- collectives ----------------------------------------------------------------------------------------------------


def summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor summed over the ranks, in one all-reduce, in the dtype it came in (float64 on the way)."""
    if world_size() == 1:
        return list(tensors)
    flat = torch.cat([t.reshape(-1).double() for t in tensors])
    dist.all_reduce(flat, group=_group)
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


def gathered(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Every rank's tensors, which have the same shapes and dtypes on all, stacked along a new first axis in the order
    of ranks: one gather, bit for bit.
    """
    R = world_size()
    if R == 1:
        return [t[None] for t in tensors]
    # Wide types first, so that each starts where its own size divides the offset.
    order = sorted(range(len(tensors)), key=lambda i: -tensors[i].element_size())
    mine = torch.cat([tensors[i].contiguous().reshape(-1).view(torch.uint8) for i in order])
    everyone = mine.new_empty(R * mine.numel())
    _all_gather(everyone, mine, group=_group)
    ends = list(accumulate((tensors[i].numel() * tensors[i].element_size() for i in order), initial=0))
    found: list[Tensor] = list(tensors)
    for place, i in enumerate(order):
        part = everyone.view(R, mine.numel())[:, ends[place] : ends[place + 1]].clone(
            memory_format=torch.contiguous_format
        )
        found[i] = part.view(-1).view(tensors[i].dtype).reshape(R, *tensors[i].shape)
    return found


def by_rank(values: Tensor) -> Tensor:
    """Zeros (R, *shape) but for this rank's own place: summed over the ranks, every rank's ``values``."""
    slots = values.new_zeros(world_size(), *values.shape)
    slots[rank()] = values
    return slots


def before(values_R: Tensor) -> Tensor:
    """The sum of what the ranks before this one have, given every rank's values (R, ...).

    >>> before(torch.tensor([3])).item()
    0
    """
    return values_R[: rank()].sum(0)


# --- what a step shares ---------------------------------------------------------------------------------------------


class Part(Protocol):
    """One table's part in what a step shares: what to sum, then, knowing the sums, what to gather, and what then."""

    def addends(self) -> list[Tensor]:
        """What is summed over the ranks."""
        ...

    def offers(self, sums: list[Tensor]) -> list[Tensor]:
        """What is gathered from the ranks, given the sums of the ``addends``."""
        ...

    def finish_(self, offers: list[Tensor]) -> None:
        """Learn, given every rank's ``offers``, each (R, ...)."""
        ...

    def alone_(self) -> None:
        """Learn from this rank alone."""
        ...


_waiting: list[Part] | None = None


@contextmanager
def together() -> Iterator[None]:
    """Within, what is shared waits, so that all of it travels in one all-reduce and one gather at the end."""
    global _waiting  # noqa: PLW0603 - what is open is open for the whole process, as the group is
    if world_size() == 1 or _waiting is not None:
        yield
        return
    _waiting = []
    try:
        yield
        parts = _waiting
    finally:
        _waiting = None
    _exchange(parts)


def share_(parts: Sequence[Part], *, over_ranks: bool = True, now: bool = False) -> None:
    """Take all ``parts`` through a step; ``now``: without waiting for what else the step shares."""
    if not over_ranks or world_size() == 1:
        for part in parts:
            part.alone_()
    elif _waiting is None or now:
        _exchange(parts)
    else:
        _waiting.extend(parts)


def _exchange(parts: Sequence[Part]) -> None:
    addends = [part.addends() for part in parts]
    sums = _parted(summed, addends)
    offers = [part.offers(own) for part, own in zip(parts, sums, strict=True)]
    for part, found in zip(parts, _parted(gathered, offers), strict=True):
        part.finish_(found)


def _parted(collective: Any, lists: list[list[Tensor]]) -> list[list[Tensor]]:
    """What one ``collective`` of all tensors makes of each list's."""
    flat = [tensor for tensors in lists for tensor in tensors]
    found = iter(collective(flat) if flat else [])
    return [[next(found) for _ in tensors] for tensors in lists]
