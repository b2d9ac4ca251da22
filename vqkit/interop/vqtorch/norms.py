"""Norms of inputs and of codes by vqtorch's names: ``l2`` is unit length, ``l2c`` is length at most 10, for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqkit.codebook.affine import Affine, AffineMap
from vqkit.errors import bad_value
from vqkit.kernels.reference.unit import unit
from vqkit.shapes import check_choice

LONGEST = 10.0
GROUPS = 32


def capped(x: Tensor, longest: float = LONGEST) -> Tensor:
    """Vectors (..., D) of at most this length: longer ones are shortened, the others and their gradient left alone.

    >>> import torch
    >>> capped(torch.tensor([[30.0, 40.0], [0.0, 2.0]]))
    tensor([[6., 8.],
            [0., 2.]])
    """
    return torch.where(x.norm(dim=-1, keepdim=True) > longest, longest * unit(x), x)


OF_VECTORS: Mapping[str, Callable[[Tensor], Tensor]] = {"l2": unit, "l2c": capped}
OF_CHANNELS: Mapping[str, Callable[[int], nn.Module]] = {
    "bn": nn.BatchNorm1d,
    "gn": lambda channels: nn.GroupNorm(GROUPS, channels, eps=1e-6),
    "in": nn.InstanceNorm1d,
}


class InputNorm(nn.Module):
    """The norm of a layer's input (B, ..., C, ...), C = ``channels`` along ``dim``, to the same shape and dtype.

    Args:
        norm: ``"none"`` or None; ``"l2"``, ``"l2c"`` of each of ``groups`` slices of a vector; ``"bn"``, ``"gn"`` (32
            groups), ``"in"``: torch's batch, group and instance norm over the channels.
    """

    def __init__(self, norm: str | None, channels: int, groups: int, dim: int):
        super().__init__()
        self.kind = check_choice("norm", norm or "none", ("none", *OF_VECTORS, *OF_CHANNELS))
        if self.kind == "gn" and channels % GROUPS:
            expected = f"another than 'gn' unless features are a multiple of {GROUPS}"
            raise bad_value("norm", expected, f"{channels} of them")
        self.channels, self.groups, self.dim = channels, groups, dim
        self.of_channels = OF_CHANNELS[self.kind](channels) if self.kind in OF_CHANNELS else None

    def forward(self, z: Tensor) -> Tensor:
        if self.of_channels is not None:
            first = z.movedim(self.dim, 1)
            weight = getattr(self.of_channels, "weight", None)
            flat = first.reshape(*first.shape[:2], first.shape[2:].numel())
            return (
                self.of_channels(flat if weight is None else flat.to(weight.dtype))
                .reshape(first.shape)
                .movedim(1, self.dim)
                .to(z.dtype)
            )
        if self.kind in OF_VECTORS:
            last = z.movedim(self.dim, -1)
            slices = last.unflatten(-1, (self.groups, self.channels // self.groups))
            # A row that is not finite stays so, but no NaN enters the norm's gradient.
            finite = slices.isfinite().all(-1, keepdim=True)
            normed = torch.where(finite, OF_VECTORS[self.kind](torch.where(finite, slices, 0)), torch.nan)
            return normed.flatten(-2).movedim(-1, self.dim)
        return z

    def extra_repr(self) -> str:
        """What the module prints."""
        return repr(self.kind)


@dataclass(frozen=True)
class NormedCodes:
    """Codes are the norm of the stored vectors, then go through an affine map if there is one.

    The norm is part of how codes are made, not written into the vectors: an eval forward changes nothing, and the
    codes' gradient lies along the sphere. ``norm``: ``"l2"`` or ``"l2c"``.
    """

    norm: str
    affine: Affine | None = None

    def build(self, heads: int, size: int, dim: int) -> AffineMap:
        return _NormedMap(self.norm, self.affine.build(heads, size, dim) if self.affine else None)


class _NormedMap(AffineMap):
    def __init__(self, norm: str, inner: AffineMap | None):
        super().__init__()
        self.norm, self.inner = norm, inner
        self.needs_gradient = inner is not None and inner.needs_gradient

    def forward(self, vectors: Tensor) -> Tensor:
        normed = OF_VECTORS[self.norm](vectors)
        return normed if self.inner is None else self.inner(normed)

    def inverse(self, codes: Tensor) -> Tensor:
        return codes if self.inner is None else self.inner.inverse(codes)

    def moments(self, rows: Tensor, valid: Tensor) -> Tensor | None:
        return None if self.inner is None else self.inner.moments(rows, valid)

    def follow_(self, moments: Tensor | None, rows: Tensor, vectors: Tensor, held: Tensor) -> None:
        if self.inner is not None:
            self.inner.follow_(moments, rows, OF_VECTORS[self.norm](vectors), held)
