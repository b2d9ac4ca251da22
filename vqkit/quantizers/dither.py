"""Noise in place of rounding, as a policy. The maths is in ``functional.dither``."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vqkit import functional
from vqkit.errors import bad_value
from vqkit.shapes import check_choice, check_number

SCOPES = ("value", "sample")


@dataclass(frozen=True)
class Dither:
    """In training some values are not rounded: what decodes them learns not to lean on exact levels.

    Args:
        noise: probability of p + U(−½, ½) in place of the rounded position p, in steps of the value's own grid.
        skip: probability of the position as it is.
        per: what is drawn for, each ``"value"`` by itself, or a whole ``"sample"``, the entries of the first axis.
            Stages of another quantizer see rows alone, so there each row is a sample.
    """

    noise: float = 0.5
    skip: float = 0.0
    per: str = "sample"

    def __post_init__(self) -> None:
        check_number("noise", self.noise, 0, 1)
        check_number("skip", self.skip, 0, 1)
        if self.noise + self.skip > 1:
            raise bad_value("noise + skip", "at most 1", self.noise + self.skip)
        check_choice("per", self.per, SCOPES)

    def __call__(self, positions: Tensor, levels: Tensor, samples: int) -> Tensor:
        """Positions (N, ..., D), of so many samples one after the other, to those to train with."""
        return functional.dither(
            positions, levels, self.noise, self.skip, samples=samples if self.per == "sample" else None
        )
