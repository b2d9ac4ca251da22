"""From a tensor of any rank, channels anywhere, to rows and back. The one place that knows about layouts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import bad_type, bad_value
from vqkit.shapes import check_float, check_indices, check_tensor


@dataclass(frozen=True)
class Layout:
    """How rows (N, D) go back into the shape they came from."""

    positions: tuple[int, ...]  # the shape without its channel axis
    channel_dim: int  # as counted in the full tensor, >= 0

    @property
    def samples(self) -> int:
        """How many items the first axis has; a vector alone is one."""
        return self.positions[0] if self.positions else 1

    def restore(self, rows: Tensor) -> Tensor:
        """(N, D) to the positions with the channel axis back in its place; (N, T, D) puts T behind the positions."""
        last = rows.reshape((*self.positions, *rows.shape[1:]))
        return last if self.channel_dim == len(self.positions) else last.movedim(-1, self.channel_dim)

    def arrange(self, indices: Tensor) -> Tensor:
        """(N, ...) to (positions, ...)."""
        return indices.reshape((*self.positions, *indices.shape[1:]))


@dataclass(frozen=True)
class MapLayout(Layout):
    """How rows that are whole maps (B, C·P) go back; P is the product of ``size``."""

    channels: int
    size: tuple[int, ...]
    columns: tuple[int, ...]  # the shape of one map's indices

    def restore(self, rows: Tensor) -> Tensor:
        """(B, C·P) to (B, C, *size) with the channel axis back in its place."""
        return rows.reshape(*self.positions, self.channels, *self.size).movedim(1, self.channel_dim)

    def arrange(self, indices: Tensor) -> Tensor:
        """(B, I) to (B, *columns)."""
        return indices.reshape(*self.positions, *self.columns)


def channel_axis(channel_dim: int | None, rank: int) -> int | None:
    """The channel axis, >= 0, of a tensor of ``rank`` axes; None if it has no such axis.

    ``channel_dim=None`` stands for "auto": the last axis up to rank 3, as in sequences; the second from rank 4 on, as
    in images and video.

    >>> channel_axis(-1, 4), channel_axis(None, 3), channel_axis(None, 4), channel_axis(2, 1)
    (3, 2, 1, None)
    """
    if channel_dim is None:
        channel_dim = -1 if rank <= 3 else 1
    return channel_dim % rank if -rank <= channel_dim < rank else None


def to_rows(x: Tensor, dim: int, channel_dim: int | None = -1, rank: int | None = None) -> tuple[Tensor, Layout]:
    """Flatten ``x`` to rows (N, dim).

    Args:
        x: floating point, rank 1 upward, ``dim`` wide along ``channel_dim``. channel_dim: None: auto, see
            ``channel_axis``. rank: insist on this many axes.

    Raises:
        ArgumentError: a rank or width that does not fit. ArgumentTypeError: not a floating-point tensor.

    Example:
        >>> import torch
        >>> rows, layout = to_rows(torch.zeros(2, 3, 4, 5), dim=3, channel_dim=1)
        >>> rows.shape, layout.restore(rows).shape
        (torch.Size([40, 3]), torch.Size([2, 3, 4, 5]))
    """
    check_float("x", x)
    if rank is not None and x.ndim != rank:
        raise bad_value("x", f"{rank} axes with {dim} channels along axis {channel_dim}", f"shape {tuple(x.shape)}")
    axis = channel_axis(channel_dim, x.ndim)
    if axis is None:
        which = "" if channel_dim is None else f" {channel_dim}"
        raise bad_value("x", f"a tensor with a channel axis{which}", f"shape {tuple(x.shape)}")
    if x.shape[axis] != dim:
        named = axis if channel_dim is None else channel_dim
        raise bad_value("x", f"{dim} channels along axis {named}", f"{x.shape[axis]}, of shape {tuple(x.shape)}")
    last = x.movedim(axis, -1)
    layout = Layout(tuple(last.shape[:-1]), axis)
    # Not numel() of a shape: it takes a size that export leaves open for a constant.
    return last.reshape(math.prod(last.shape[:-1]), dim), layout


def to_maps(
    x: Tensor, channels: int, size: tuple[int, ...], channel_dim: int, columns: tuple[int, ...]
) -> tuple[Tensor, MapLayout]:
    """Flatten maps ``x`` of ``size`` to rows (B, C·P), channels first.

    Raises:
        ArgumentError: a shape that does not fit. ArgumentTypeError: not a floating-point tensor.

    Example:
        >>> import torch
        >>> rows, layout = to_maps(torch.zeros(2, 4, 4, 3), 3, (4, 4), -1, (21,))
        >>> rows.shape, layout.restore(rows).shape
        (torch.Size([2, 48]), torch.Size([2, 4, 4, 3]))
    """
    rank = len(size) + 2
    first = x.movedim(channel_dim, 1) if check_float("x", x).ndim == rank else x
    if first.ndim != rank or first.shape[1:] != (channels, *size):
        wanted = f"a batch of maps of size {size} with {channels} channels along axis {channel_dim}"
        raise bad_value("x", wanted, f"shape {tuple(x.shape)}")
    layout = MapLayout((first.shape[0],), channel_dim % rank, channels, size, columns)
    return first.reshape(first.shape[0], math.prod(first.shape[1:])), layout


def layout_of_indices(
    indices: Tensor, channel_dim: int | None = -1, columns: int | None = None
) -> tuple[Tensor, Layout]:
    """Indices (positions[, columns]) to (N, columns), and the layout of what they decode to; None: one, no axis."""
    check_indices("indices", indices)
    if columns is not None and (indices.ndim == 0 or indices.shape[-1] != columns):
        raise bad_value("indices", f"a last axis of {columns}, one a codebook", f"shape {tuple(indices.shape)}")
    positions = indices.shape if columns is None else indices.shape[:-1]
    rank = len(positions) + 1
    axis = channel_axis(channel_dim, rank)
    if axis is None:
        raise bad_value("indices", f"positions around a channel axis {channel_dim}", f"shape {tuple(indices.shape)}")
    return indices.reshape(math.prod(positions), columns or 1), Layout(tuple(positions), axis)


def rows_that_count(layout: Layout, mask: Tensor | None, lens: Tensor | None, device: torch.device) -> Tensor | None:
    """The mask as (N,) bool, or None when every row counts.

    Args:
        mask: bool, the shape of ``x`` without channels, True where a row counts. lens: int64 (B,), for (B, n)
            positions: how many of each sequence count. One or the other.
    """
    if mask is not None and lens is not None:
        raise bad_value("mask, lens", "one of them", "both")
    if lens is not None:
        check_indices("lens", lens)
        if len(layout.positions) != 2 or lens.shape != layout.positions[:1]:
            raise bad_value(
                "lens", f"shape (B,) for positions (B, n) = {layout.positions}", f"shape {tuple(lens.shape)}"
            )
        mask = torch.arange(layout.positions[1], device=device) < lens.to(device)[:, None]
    if mask is None:
        return None
    if check_tensor("mask", mask).dtype != torch.bool:
        raise bad_type("mask", "a bool tensor", mask.dtype)
    if mask.shape != layout.positions:
        raise bad_value("mask", f"shape {layout.positions}, that of x without channels", f"shape {tuple(mask.shape)}")
    return mask.reshape(-1).to(device)
