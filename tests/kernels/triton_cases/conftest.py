from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _poisoned_allocations(monkeypatch: pytest.MonkeyPatch):
    """What a kernel does not write is garbage."""
    empty = torch.empty

    def poisoned(*size: int, **options) -> torch.Tensor:
        made = empty(*size, **options)
        made.view(-1).view(torch.uint8).fill_(255)  # NaN, or −1
        return made

    monkeypatch.setattr(torch, "empty", poisoned)
