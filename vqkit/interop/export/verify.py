"""Exported parts run beside the module they come from, on real inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import ExportError, bad_value
from vqkit.interop.export.parts import Part
from vqkit.interop.export.ties import Ties

VALUES = 1e-4
"""How far values may differ, relative to the largest: float32 sums in another order differ by less. Values of half
precision may differ by four times their rounding.
"""

Run = Callable[[Tensor], tuple[Tensor, ...]]


@dataclass
class Agreement:
    """What a comparison found.

    Attributes:
        items: how many inputs were compared, along the batch axis. indices: how many indices; 0 for a decode.
        differing: how many of them differ, all of them in near ties.
        near_ties: items in which rounding decides; ``tie_width``: how far one of them had to be moved at most,
            relative to its largest number, for the module to choose as the exported program did; ``tie_bound``: how far
            float32 rounding may move it (``ties.rounding_bound``).
        largest_difference: of values, near ties left out; ``largest_value``: the largest of the module's own.
    """

    items: int = 0
    indices: int = 0
    differing: int = 0
    near_ties: int = 0
    tie_width: float = 0.0
    tie_bound: float = 0.0
    largest_difference: float = 0.0
    largest_value: float = 0.0


@torch.no_grad()
def compare(run: Run, part: Part, batches: Iterable[Tensor], named: str) -> Agreement:
    """Run an exported part beside the module.

    Args:
        run: the exported part. part: what it was made of. batches: inputs of the module's ``encode``. named: what the
            export is called in errors.

    Raises:
        ExportError: indices differ where there is no near tie, or values by more than ``VALUES`` of the largest.
    """
    checked = _Comparison(part, named)
    for x in batches:
        given = part.example(x)
        checked.batch(x, part(given), run(given))
    if not checked.found.items:
        raise bad_value("data", "at least one item to verify with", "none")
    return checked.finish()


class _Comparison:
    def __init__(self, part: Part, named: str):
        self.part, self.named, self.found = part, named, Agreement()
        self.ties: Ties | None = None
        self.allowed = VALUES

    def batch(self, x: Tensor, expected: tuple[Tensor, ...], got: tuple[Tensor, ...]) -> None:
        names = self.part.outputs
        shapes = [(tuple(t.shape), t.dtype) for t in expected], [(tuple(t.shape), t.dtype) for t in got]
        if shapes[0] != shapes[1]:
            raise ExportError(f"{self.named}: expected {', '.join(names)} of {shapes[0]}, got {shapes[1]}")
        self.found.items += x.shape[0]
        same_B = torch.ones(x.shape[0], dtype=torch.bool)
        for name, axis, ours, theirs in zip(names, self.part.output_axes, expected, got, strict=True):
            if name == "indices":
                same_B = self._indices(x, ours.movedim(axis or 0, 0), theirs.movedim(axis or 0, 0))
        for name, axis, ours, theirs in zip(names, self.part.output_axes, expected, got, strict=True):
            if axis is not None:
                ours, theirs = ours.movedim(axis, 0)[same_B], theirs.movedim(axis, 0)[same_B]
            if name != "indices" and (axis is not None or bool(same_B.all())):
                self._values(ours, theirs)

    def _indices(self, x: Tensor, ours: Tensor, theirs: Tensor) -> Tensor:
        """Which items have the same indices, (B,) bool; the others are near ties, or an error is raised."""
        differ_BI = (ours != theirs).reshape(x.shape[0], -1)
        self.found.indices += differ_BI.numel()
        self.found.differing += int(differ_BI.sum())
        for item in differ_BI.any(1).nonzero().flatten().tolist():
            self._near_tie(x[item], ours[item], theirs[item])
        return ~differ_BI.any(1)

    def _near_tie(self, item: Tensor, ours: Tensor, theirs: Tensor) -> None:
        self.ties = self.ties or Ties(self.part.module)
        width = self.ties.width(item, ours, theirs)
        if width is None:
            first = int((ours != theirs).flatten().nonzero()[0])
            pair = f"{int(ours.flatten()[first])} and {int(theirs.flatten()[first])}"
            raise ExportError(
                f"{self.named}: expected the module's indices, got others that no rounding explains: {pair} at {first},"
                f" and moving the input by up to {self.ties.bound:.2g} of its largest number gives not both"
            )
        self.found.near_ties += 1
        self.found.tie_width, self.found.tie_bound = max(self.found.tie_width, width), self.ties.bound

    def _values(self, ours: Tensor, theirs: Tensor) -> None:
        if not bool((ours.isfinite() == theirs.isfinite()).all()):
            raise ExportError(f"{self.named}: expected finite values where the module's are, got others")
        self.allowed = max(self.allowed, 4 * torch.finfo(ours.dtype).eps)
        if ours.numel():
            finite = ours.isfinite()
            difference = torch.where(finite, ours.double() - theirs.double(), 0).abs().amax().item()
            self.found.largest_difference = max(self.found.largest_difference, difference)
            largest = torch.where(finite, ours.double(), 0).abs().amax().item()
            self.found.largest_value = max(self.found.largest_value, largest)

    def finish(self) -> Agreement:
        found, allowed = self.found, self.allowed * self.found.largest_value
        if found.largest_difference > allowed:
            expected = f"values within {allowed:.2g} of the module's"
            raise ExportError(f"{self.named}: expected {expected}, got one {found.largest_difference:.2g} away")
        return found
