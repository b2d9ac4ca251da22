"""Starting kernels cheaply: one allocation for all that a call needs, and no look at arguments that are known.

Triton's own call looks at every argument to find the right binary, which takes longer than most of these kernels run.
A ``Plan`` belongs to one set of sizes, dtypes and alignments, so it keeps the binaries and passes addresses.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton
from torch import Tensor

ALIGNMENT = 256
# From 3.3 on a binary takes the constants too, where it used to take the other arguments alone.
KEEPS_BINARIES = tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 3)


class Kernel:
    """A kernel with its constants, in the order of its parameters, and its options."""

    def __init__(self, function: Any, constants: Mapping[str, Any], **options: int):
        self.function, self.constants, self.options = function, constants, options
        self.binary: Any = None

    def __call__(self, grid: tuple[int, int, int], arguments: Sequence[Tensor | int], known: Sequence[int]) -> None:
        """Run; ``known`` are the arguments with tensors as addresses."""
        if self.binary is not None:
            self.binary[grid](*known, *self.constants.values())
            return
        binary = self.function[grid](*arguments, **self.constants, **self.options)
        if KEEPS_BINARIES and hasattr(binary, "function"):  # the interpreter has none
            self.binary = binary


class Workspace:
    """Where in one allocation each of several arrays lies."""

    def __init__(self, **arrays: tuple[torch.dtype, int]):
        self.places: dict[str, tuple[torch.dtype, int, int]] = {}
        self.size = 0
        for name, (dtype, length) in arrays.items():
            self.places[name] = (dtype, self.size, length)
            self.size += -(-length * dtype.itemsize // ALIGNMENT) * ALIGNMENT

    def arrays(self, memory: Tensor) -> dict[str, Tensor]:
        """The arrays in a byte tensor."""
        return {
            name: memory[start : start + length * dtype.itemsize].view(dtype)
            for name, (dtype, start, length) in self.places.items()
        }

    def addresses(self, memory: Tensor) -> dict[str, int]:
        """The arrays' addresses."""
        base = memory.data_ptr()
        return {name: base + start for name, (_, start, _) in self.places.items()}


def interpreting() -> bool:
    """Whether kernels run in Triton's interpreter."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def aligned(tensor: Tensor) -> bool:
    """Whether a tensor begins where Triton assumes wide loads to be possible."""
    return tensor.data_ptr() % 16 == 0
