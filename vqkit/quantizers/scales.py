"""The sizes of a pyramid of maps, and which indices of a row (L,) belong to which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from vqkit.errors import bad_type, bad_value
from vqkit.shapes import check_int

Size = int | Sequence[int]


@dataclass(frozen=True)
class Scales:
    """sizes: of each scale, coarse to fine. full: of the map they add up to. Each a number a spatial axis."""

    sizes: tuple[tuple[int, ...], ...]
    full: tuple[int, ...]

    @property
    def axes(self) -> int:
        """How many spatial axes."""
        return len(self.full)

    @property
    def tokens(self) -> tuple[int, ...]:
        """How many tokens each scale has; L is their sum."""
        return tuple(math.prod(size) for size in self.sizes)

    def prefix(self, length: int) -> int:
        """How many scales the first ``length`` tokens are."""
        ends = [0, *accumulate(self.tokens)]
        if length not in ends:
            raise bad_value("indices", f"as many tokens as some first scales have, one of {ends}", length)
        return ends.index(length)

    def columns(self, indices: Tensor, width: int) -> list[Tensor]:
        """Indices of whole maps (B, L·I), ``width`` I a token, to those of the tokens of each scale, (B·n, I)."""
        parts = indices.split([n * width for n in self.tokens], 1)
        return [part.reshape(part.shape[0] * n, width) for part, n in zip(parts, self.tokens, strict=True)]

    def one_row(self, columns: Sequence[Tensor]) -> Tensor:
        """What ``columns`` gave, (B, L·I) again."""
        pairs = zip(columns, self.tokens, strict=True)
        return torch.cat([part.reshape(part.shape[0] // n, n * part.shape[1]) for part, n in pairs], 1)


def parse_scales(scales: Sequence[Size], size: Size | None, axes: int | None) -> Scales:
    """The constructor's arguments as ``Scales``; an int stands for that size along every axis.

    Raises:
        ArgumentError, ArgumentTypeError: no scales, not one to three axes, sizes that shrink or outgrow the map.
    """
    if isinstance(scales, (str, int)) or not isinstance(scales, Sequence):
        raise bad_type("scales", "a sequence of sizes, coarse to fine", scales)
    if not scales:
        raise bad_value("scales", "at least one", "none")
    widths = {len(s) for s in (*scales, size) if isinstance(s, Sequence)}
    count = axes if axes is not None else min(widths, default=2)
    if check_int("spatial_axes", count) > 3 or widths - {count}:
        raise bad_value("spatial_axes", "1, 2 or 3, and as many numbers in every size", sorted({count, *widths}))

    def spread(name: str, value: Size) -> tuple[int, ...]:
        numbers = value if isinstance(value, Sequence) else (value,) * count
        return tuple(check_int(name, number) for number in numbers)

    sizes = tuple(spread("scales", s) for s in scales)
    full = sizes[-1] if size is None else spread("size", size)
    for finer, coarser in pairwise((full, *reversed(sizes))):
        if any(a > b for a, b in zip(coarser, finer, strict=True)):
            raise bad_value("scales", f"sizes that grow to at most {full}", f"{coarser} before {finer}")
    return Scales(sizes, full)
