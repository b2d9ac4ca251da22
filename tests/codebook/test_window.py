"""The usage window counts alike whether it holds a slot per code or sorts."""

from __future__ import annotations

import torch

from vqkit.codebook.window import UsageWindow


def test_many_codes_are_counted_as_few_are():
    torch.manual_seed(0)
    few, many = UsageWindow(2, 40, length=64), UsageWindow(2, 2**40, length=64)
    for n in (30, 7, 90):
        indices = torch.randint(-1, 40, (2, n))
        few.record_(indices)
        many.record_(indices)
        torch.testing.assert_close(many.usage() * 2**40, few.usage() * 40)
        torch.testing.assert_close(many.perplexity(), few.perplexity())


def test_indices_beyond_32_bits_are_kept():
    window = UsageWindow(1, 2**62, length=8)
    window.record_(torch.tensor([[2**62 - 1, 2**62 - 1, 5, -1]]))
    assert (window.usage() * 2.0**62).item() == 2
    assert window.perplexity().item() < 2
