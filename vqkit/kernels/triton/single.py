"""Plans of one kernel, for what a step does to every row besides the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from vqkit.kernels.triton.launch import Grid, Kernel, power_of_two

VALUES = 1024  # of a tile: eight a thread of four warps


class Single:
    """One kernel and its grid for one set of sizes, dtypes, alignments and device; ``numbers`` follow the tensors."""

    def __init__(self, function: Any, grid: Grid, numbers: Sequence[int], constants: Mapping[str, Any], **options: int):
        self.kernel, self.grid, self.numbers = Kernel(function, constants, **options), grid, numbers

    def run(self, *tensors: Tensor) -> None:
        """Run on these tensors."""
        if self.kernel.binary is None:
            self.kernel.first(self.grid, [*tensors, *self.numbers])
        else:
            self.kernel.again(self.grid, [*[t.data_ptr() for t in tensors], *self.numbers])


def tile(width: int, widest: int) -> tuple[int, int]:
    """How many rows and how many columns of rows that wide a program looks at together."""
    columns = min(widest, power_of_two(width))
    return max(1, VALUES // columns), columns


def blocks(total: int, size: int) -> int:
    """How many blocks of ``size`` hold ``total``."""
    return -(-total // size)
