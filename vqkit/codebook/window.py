"""Which codes the last training rows drew: exact over a sliding window of rows, whatever the batch sizes were."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit import distributed
from vqkit.functional.counted import all_known, at_hand
from vqkit.functional.usage import count_codes, perplexity
from vqkit.kernels import ops
from vqkit.shapes import check_int


class UsageWindow(nn.Module):
    """A ring of the last ``length`` indices per head, over all ranks.

    Not part of the state dict (it describes the run, not the model); ``usage_state`` and ``load_usage_state`` carry it
    through a training checkpoint.
    """

    ring: Tensor
    cursor: Tensor

    def __init__(self, heads: int, size: int, length: int = 65_536):
        super().__init__()
        self.size, self.length = check_int("size", size), check_int("window", length)
        kind = torch.int32 if size < 2**31 else torch.int64
        # One slot more takes what is not recorded, so that shapes never depend on the data.
        self.register_buffer("ring", torch.full((heads, length + 1), -1, dtype=kind), persistent=False)
        self.register_buffer("cursor", torch.zeros(heads, 1, dtype=torch.int64), persistent=False)

    @torch.no_grad()
    def record_(self, indices: Tensor, sync: bool = True) -> None:
        """Add the indices (H, N) of a step, of all ranks if ``sync``; −1 is left out."""
        distributed.share_([Recording(self, indices)], over_ranks=sync)

    def append_(self, indices: Tensor) -> None:
        """Add indices (H, N) as they are; −1 is left out."""
        counted = indices >= 0
        if all_known(counted) and (len(self.cursor) == 1 or all_known(self.cursor == self.cursor[:1])):
            self._append_all_(indices)
            return
        ops.record_(self.ring, self.cursor, indices)

    def _append_all_(self, indices: Tensor) -> None:
        """``append_`` of indices that all count, in heads that are equally far."""
        last = indices[:, -self.length :]
        number = last.shape[1]
        start = (int(self.cursor[0]) + indices.shape[1] - number) % self.length
        before_end = min(number, self.length - start)
        self.ring[:, start : start + before_end] = last[:, :before_end]
        self.ring[:, : number - before_end] = last[:, before_end:]
        self.cursor.add_(indices.shape[1]).remainder_(self.length)

    def counts(self) -> Tensor:
        """How often each code occurs in the window: (H, K) int64."""
        return count_codes(self.ring[:, : self.length], self.size)

    def usage(self) -> Tensor:
        """Share of each head's codes that occur in the window: (H,) float64."""
        return (self._occurrences() > 0).sum(-1).double() / self.size

    def perplexity(self) -> Tensor:
        """Perplexity of each head's codes in the window: (H,) float64."""
        return perplexity(self._occurrences())

    def _occurrences(self) -> Tensor:
        """How often each code that occurs at all does so, in whatever order and with zeros between: (H, ·) int64.

        Never longer than the window, so that 2^62 codes are as cheap as 2^10.
        """
        if self.size <= self.length:
            return self.counts()
        codes = self.ring[:, : self.length].sort(dim=1).values
        first = torch.ones_like(codes, dtype=torch.bool)
        first[:, 1:] = codes[:, 1:] != codes[:, :-1]
        run = torch.where(codes >= 0, first.cumsum(1) - 1, -1)
        return count_codes(run, self.length)


class Recording:
    """The indices (H, N) of a step, on their way into every rank's window: in the order of ranks, which may differ in
    N.
    """

    def __init__(self, window: UsageWindow, indices: Tensor):
        self.window, self.indices = window, indices

    def addends(self) -> list[Tensor]:
        """How many indices every rank has: (R, H)."""
        return [distributed.by_rank((self.indices >= 0).sum(1))]

    def offers(self, sums: list[Tensor]) -> list[Tensor]:
        """This rank's indices where they stand among those of all ranks, −1 elsewhere: the last ones at the end."""
        counted, total_H1, longest = self.indices >= 0, sums[0].sum(0)[:, None], self.window.length
        if at_hand(total_H1):  # where it can be read, no more travels than there is
            longest = min(longest, int(total_H1.max()))
        before_H1 = distributed.before(sums[0])[:, None]
        place = before_H1 + counted.cumsum(1) - 1 - (total_H1 - longest)
        slot = torch.where(counted & (place >= 0), place, longest)
        kind = self.window.ring.dtype
        own = torch.full((len(slot), longest + 1), -1, dtype=kind, device=slot.device)
        return [own.scatter_(1, slot, self.indices.to(kind))[:, :longest]]

    def finish_(self, offers: list[Tensor]) -> None:
        """Add them: every place is one rank's."""
        self.window.append_(offers[0].amax(0))

    def alone_(self) -> None:
        """Add this rank's alone."""
        self.window.append_(self.indices)


def _windows(model: nn.Module) -> dict[str, UsageWindow]:
    return {name: module for name, module in model.named_modules() if isinstance(module, UsageWindow)}


def usage_state(model: nn.Module) -> dict[str, Tensor]:
    """The usage windows of every codebook in ``model``, by name: for a training checkpoint."""
    state = {}
    for name, window in _windows(model).items():
        state[f"{name}.ring"], state[f"{name}.cursor"] = window.ring.clone(), window.cursor.clone()
    return state


def load_usage_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put back what ``usage_state`` gave; windows without an entry stay as they are."""
    for name, window in _windows(model).items():
        if f"{name}.ring" in state:
            window.ring.copy_(state[f"{name}.ring"])
            window.cursor.copy_(state[f"{name}.cursor"])
