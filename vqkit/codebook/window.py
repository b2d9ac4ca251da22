"""Which codes the last training rows drew: exact over a sliding window of rows, whatever the batch sizes were."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit import distributed
from vqkit.functional.usage import count_codes, perplexity, usage
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
        # One slot more takes what is not recorded, so that shapes never depend on the data.
        self.register_buffer("ring", torch.full((heads, length + 1), -1, dtype=torch.int32), persistent=False)
        self.register_buffer("cursor", torch.zeros(heads, 1, dtype=torch.int64), persistent=False)

    @torch.no_grad()
    def record_(self, indices: Tensor, sync: bool = True) -> None:
        """Add the indices (H, N) of a step, of all ranks if ``sync``; −1 is left out."""
        if sync and distributed.world_size() > 1:
            indices = distributed.gathered_rows(indices)
        counted = indices >= 0
        order = counted.cumsum(1) - 1
        total = counted.sum(1, keepdim=True)
        kept = counted & (order >= total - self.length)
        slot = torch.where(kept, (self.cursor + order) % self.length, self.length)
        self.ring.scatter_(1, slot, indices.to(torch.int32))
        self.cursor.copy_((self.cursor + total) % self.length)

    def counts(self) -> Tensor:
        """How often each code occurs in the window: (H, K) int64."""
        return count_codes(self.ring[:, : self.length], self.size)

    def usage(self) -> Tensor:
        """Share of each head's codes that occur in the window: (H,) float64."""
        return usage(self.counts())

    def perplexity(self) -> Tensor:
        """Perplexity of each head's codes in the window: (H,) float64."""
        return perplexity(self.counts())


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
