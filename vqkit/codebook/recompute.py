"""Activation checkpointing runs a forward a second time within the backward; what learned once must not learn again."""

from __future__ import annotations

import torch


def within_backward() -> bool:
    """Whether autograd is computing gradients right now, so that a forward is a recomputation of one that was.

    >>> within_backward()
    False
    """
    # The only sign of it that torch gives; -1 stands for no backward.
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
