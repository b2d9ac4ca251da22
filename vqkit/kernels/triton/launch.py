"""Starting kernels cheaply: one allocation for all that a call needs, and no look at arguments that are known.

Triton's own call looks at every argument to find the right binary, which takes longer than most of these kernels run.
A ``Plan`` belongs to one set of sizes, dtypes and alignments, so it keeps the binaries and passes addresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton
from torch import Tensor
from triton.compiler import ASTSource

ALIGNMENT = 256
WIDE = 16  # bytes of an address, and values of a size, whose multiples a binary may count on
TYPES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.int32: "i32",
    torch.int64: "i64",
}
# From 3.3 on a binary takes the constants too, where it used to take the other arguments alone.
KEEPS_BINARIES = tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 3)


Grid = tuple[int, int, int]


class Kernel:
    """A kernel with its constants, in the order of its parameters, and its options."""

    def __init__(self, function: Any, constants: Mapping[str, Any], **options: int):
        self.function, self.constants, self.options = function, constants, options
        self.binary: Any = None

    def first(self, grid: Grid, arguments: Sequence[Tensor | int]) -> None:
        """Compile, or find what was compiled, and run."""
        binary = self.function[grid](*arguments, **self.constants, **self.options)
        if KEEPS_BINARIES and hasattr(binary, "function"):  # the interpreter has none
            self.binary = binary

    def again(self, grid: Grid, arguments: Sequence[int]) -> None:
        """Run with tensors given as addresses."""
        self.binary[grid](*arguments, *self.constants.values())

    def source(self, arguments: Sequence[torch.dtype | int]) -> ASTSource:
        """What ``first`` compiles, given the dtypes of aligned tensors, and the sizes that follow them.

        Compiled for a named target, by ``triton.compile``, it needs no GPU.
        """
        names, known = self.function.arg_names, [*arguments, *self.constants.values()]
        signature, constants = dict.fromkeys(names, "constexpr"), {}
        attributes: dict[tuple[int], list[list[str | int]]] = {}
        for place, (name, argument) in enumerate(zip(names, known, strict=True)):
            tensor, sizes = isinstance(argument, torch.dtype), place < len(arguments)
            if not tensor and (not sizes or argument == 1):
                constants[place,] = argument
                continue
            signature[name] = f"*{TYPES[argument]}" if tensor else "i32"
            if tensor or argument % WIDE == 0:
                attributes[place,] = [["tt.divisibility", WIDE]]
        return ASTSource(self.function, signature, constants, attributes)


# A kernel, its grid, the names of its arrays, with spaces between, and the numbers that follow them.
Step = tuple[Kernel, Grid, str, Sequence[int]]


class Workspace:
    """Where in one allocation each of several arrays lies."""

    def __init__(self, **arrays: tuple[torch.dtype, int]):
        self.places: dict[str, tuple[torch.dtype, int, int]] = {}
        self.size = 0
        for name, (dtype, length) in arrays.items():
            self.places[name] = (dtype, self.size, length)
            self.size += -(-length * dtype.itemsize // ALIGNMENT) * ALIGNMENT

    def run(self, steps: Sequence[Step], own: Mapping[str, Tensor], device: torch.device) -> Tensor:
        """Run kernels on arrays of their own in new memory, which is returned, and on the tensors ``own``."""
        memory = torch.empty(self.size, dtype=torch.uint8, device=device)
        base = memory.data_ptr()
        known = {name: base + start for name, (_, start, _) in self.places.items()}
        known |= {name: tensor.data_ptr() for name, tensor in own.items()}
        arrays = {}
        if any(kernel.binary is None for kernel, *_ in steps):
            arrays = {name: self.array(memory, name) for name in self.places} | dict(own)
        for kernel, grid, names, sizes in steps:
            if kernel.binary is None:
                kernel.first(grid, [*[arrays[name] for name in names.split()], *sizes])
            else:
                kernel.again(grid, [*[known[name] for name in names.split()], *sizes])
        return memory

    def sources(
        self, steps: Sequence[Step], own: Mapping[str, torch.dtype]
    ) -> list[tuple[ASTSource, Mapping[str, int]]]:
        """What ``run`` compiles for tensors of these dtypes, each with its options."""
        dtypes = {name: dtype for name, (dtype, *_) in self.places.items()} | dict(own)
        return [
            (kernel.source([*[dtypes[name] for name in names.split()], *sizes]), kernel.options)
            for kernel, _, names, sizes in steps
        ]

    def array(self, memory: Tensor, name: str) -> Tensor:
        """One of the arrays in the memory of a run."""
        dtype, start, length = self.places[name]
        return memory[start : start + length * dtype.itemsize].view(dtype)


def power_of_two(size: int) -> int:
    """The least power of two that is not below ``size``."""
    return 1 << (size - 1).bit_length()


def aligned(tensor: Tensor) -> bool:
    """Whether a tensor begins where Triton assumes wide loads to be possible."""
    return tensor.data_ptr() % WIDE == 0
