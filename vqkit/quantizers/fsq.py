"""``FSQ``: every coordinate rounded to evenly spaced levels; nothing to learn, nothing to collapse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit import functional
from vqkit.codebook.precision import Float32State
from vqkit.errors import ArgumentError, bad_type, bad_value
from vqkit.functional.counted import zero_unless
from vqkit.functional.scalar import LevelGrid, check_grid, level_grid, snap_to_grid
from vqkit.kernels.ops import plain
from vqkit.quantizers.base import Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.dither import Dither
from vqkit.quantizers.estimators import StraightThrough, estimate
from vqkit.quantizers.levels import LevelQuantizer, chosen_channel_dim
from vqkit.quantizers.output import QuantizedIndices
from vqkit.shapes import check_number


class Frame(Float32State):
    """Where a grid over [−1, 1]^D lies: turned by an orthogonal matrix, then stretched.

    Args:
        dim: D. scale: None, or a factor for every coordinate, or D of them. rotation: turn by a random rotation.
    """

    scale: Tensor
    rotation: Tensor

    def __init__(self, dim: int, scale: float | Sequence[float] | None, rotation: bool):
        super().__init__()
        self.scaled, self.rotated = scale is not None, rotation
        if scale is not None:
            self.register_buffer("scale", torch.tensor(_scales(scale, dim), dtype=torch.float32), persistent=False)
        if rotation:
            matrix = torch.empty(dim, dim, dtype=torch.float32)
            self.register_buffer("rotation", torch.nn.init.orthogonal_(matrix))

    def inward(self, x: Tensor) -> Tensor:
        """(..., D) outside to coordinates of the grid."""
        if self.rotated:
            with torch.autocast(x.device.type, enabled=False):
                x = x @ self.rotation.to(x.dtype)
        return x / self.scale if self.scaled else x

    def outward(self, values: Tensor) -> Tensor:
        """The way back."""
        values = values * self.scale if self.scaled else values
        if not self.rotated:
            return values
        with torch.autocast(values.device.type, enabled=False):
            return values @ self.rotation.t()


def _scales(scale: object, dim: int) -> list[float]:
    if not isinstance(scale, Sequence) or isinstance(scale, str):
        return [check_number("scale", scale, 0, open_low=True)] * dim
    if len(scale) != dim:
        raise bad_value("scale", f"one number, or {dim}, one a coordinate", f"{len(scale)}")
    return [check_number("scale", value, 0, open_low=True) for value in scale]


@registered
class FSQ(LevelQuantizer):
    """Squash every coordinate to a range and round it to one of a few levels (finite scalar quantization, Mentzer et
    al. 2023, arXiv:2309.15505).

    ``forward(x)`` takes floating-point ``x`` of any rank with ``dim`` channels along ``channel_dim``. It returns

    - ``quantized``: the shape and dtype of ``x``;
    - ``indices``: int64 in [0, Π levels), the shape of ``x`` without channels, with a last axis of codebooks if there
      are several.

    There is no loss. The gradient passes the rounding straight through and is that of the squashing, tanh; with
    ``bound_hard_clamp`` it is the identity, beyond the range too.

    Rows that are masked, or hold NaN or inf, get index −1 and zeros.

    Args:
        levels: how many levels each coordinate has, their product at most 2^62; >= 3, or 2 with ``preserve_symmetry``.
        dim: width of the input, coordinates times codebooks by default; linear projections go in and out where it
            differs.
        num_codebooks: codes a row, each with its own index.
        keep_num_codebooks_dim: an axis of codebooks behind the indices; by default if there are several.
        scale: the codes span ±scale instead of ±1 and the input is divided by it first; a number, or one a coordinate.
        channel_first: the same as ``channel_dim=1``.
        channel_dim: the axis of the channels, the last by default; None: the second from rank 4 on, else the last.
        projection_has_bias: whether the projections have one.
        return_indices: False returns None for them.
        preserve_symmetry: levels lie symmetric about zero, which for an even number is then none of them
            (arXiv:2411.19842).
        noise_dropout: in training, the probability that a value gets uniform noise of one step in place of rounding;
            short for ``dither=Dither(noise_dropout, per="value")``.
        dither: how values are left unrounded in training.
        bound_hard_clamp: cut off at ±1 in place of tanh, for input that lies there.
        orthogonal_rotation: round in randomly rotated coordinates, the same for all codebooks.
        usage_window: training rows over which usage and perplexity are counted.

    Raises:
        ArgumentError, ArgumentTypeError: arguments that do not fit.

    Example:
        >>> import torch
        >>> fsq = FSQ(levels=[8, 5, 5, 5])
        >>> xhat, indices = fsq(torch.randn(1, 1024, 4))
        >>> xhat.shape, indices.shape, fsq.codebook_size
        (torch.Size([1, 1024, 4]), torch.Size([1, 1024]), 1000)
        >>> bool((xhat == fsq.indices_to_codes(indices)).all())
        True
    """

    def __init__(
        self,
        levels: Sequence[int],
        dim: int | None = None,
        num_codebooks: int = 1,
        keep_num_codebooks_dim: bool | None = None,
        scale: float | Sequence[float] | None = None,
        channel_first: bool = False,
        *,
        channel_dim: int | None = -1,
        projection_has_bias: bool = True,
        return_indices: bool = True,
        preserve_symmetry: bool = False,
        noise_dropout: float = 0.0,
        dither: Dither | None = None,
        bound_hard_clamp: bool = False,
        orthogonal_rotation: bool = False,
        usage_window: int = 65_536,
    ):
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(
            check_grid("levels", levels, symmetric=preserve_symmetry),
            dim,
            num_codebooks,
            keep_num_codebooks_dim,
            channel_dim=chosen_channel_dim(channel_first, channel_dim),
            bias=projection_has_bias,
            usage_window=usage_window,
        )
        self._arguments = arguments
        self.frame = Frame(self.codebook_dim, scale, orthogonal_rotation)
        self.maps = self.maps or self.frame.scaled or self.frame.rotated
        self.symmetric, self.clamp = preserve_symmetry, bound_hard_clamp
        self.dither, self.return_indices = _dither(dither, noise_dropout), return_indices
        self.straight = bound_hard_clamp and not self.projections.projects
        self._kept: LevelGrid | None = None

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
    ) -> QuantizedIndices:
        """Quantize ``x``.

        Args:
            mask: bool, the shape of ``x`` without channels. lens: int64 (B,), rows that count of each x (B, n, dim).
            freeze_codebook: accepted as by every quantizer; nothing learns here.
        """
        rows, valid, layout = self._rows(x, mask, lens, count=self.training)
        step = self.step(rows, valid, frozen=freeze_codebook, samples=layout.samples)
        out = self._returned(step, rows, layout, x.dtype)
        return QuantizedIndices(out.quantized, out.indices if self.return_indices else None)

    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
        samples: int | None = None,
    ) -> Step:
        """As of every quantizer; ``samples``: the rows are those of so many samples (None: each row is one)."""
        del more
        coordinates, valid = self._enter(rows, valid, count=self.training)
        if given is None and not self.clamp and not (self.training and self.dither):
            return self._snapped(rows, coordinates, valid, frozen)
        positions = self.positions(coordinates)
        if given is None:
            levels = functional.nearest_levels(positions, self.level_counts)
        else:
            levels = self.levels_of(given)
        indices = self._indices(levels, valid)
        if not frozen:
            self._count_codes(indices)
        code = self.values(levels)
        if self.training and self.dither is not None:
            code = self.values(self.dither(positions, self.level_counts, samples or rows.shape[0])).float()
        left = self._leave(code)

        def through(again: Tensor) -> Tensor:
            if self.straight:
                return estimate(StraightThrough(), again.to(left.dtype), left, training=self.training)
            entered = coordinates if again is rows else self._enter(again, valid, count=False)[0]
            squashed = positions if again is rows else self.positions(entered)
            return self._straight(entered if self.clamp else self.values(squashed), code)

        return Step(left, indices, left.new_zeros((), dtype=torch.float32), valid, through)

    def _snapped(self, rows: Tensor, coordinates: Tensor, valid: Tensor, frozen: bool | None) -> Step:
        """``step`` as it mostly goes: squashed by tanh and rounded, in one pass."""
        code, found = snap_to_grid(coordinates, self._grid(coordinates))
        indices = zero_unless(valid, found, -1)
        if not frozen:
            self._count_codes(indices)
        left = self._leave(code.detach().float())

        def through(again: Tensor) -> Tensor:
            if again is rows:
                return self._leave(code.float())
            entered = self._enter(again, valid, count=False)[0]
            path, _ = snap_to_grid(entered, self._grid(entered))
            return self._straight(path, code.float())

        return Step(left, indices, left.new_zeros((), dtype=torch.float32), valid, through)

    def _grid(self, coordinates: Tensor) -> LevelGrid:
        """The grid on their device, in their dtype; in eager code the last one is kept."""
        counts, dtype = self.level_counts, coordinates.dtype
        if not plain(coordinates) or not plain(counts):
            return level_grid(counts, dtype, self.symmetric)
        if self._kept is None or (self._kept.half.dtype, self._kept.half.device) != (dtype, counts.device):
            with torch.inference_mode(False):  # its tensors could not be saved for a backward later on
                self._kept = level_grid(counts, dtype, self.symmetric)
        return self._kept

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        if self.clamp:
            return super().encode_rows(rows, valid)
        coordinates, valid = self._enter(rows, valid, count=False)
        found = snap_to_grid(coordinates, self._grid(coordinates))[1]
        return zero_unless(valid, found, -1)

    def entered(self, coordinates: Tensor) -> Tensor:
        return self.frame.inward(coordinates)

    def placed(self, values: Tensor) -> Tensor:
        return self.frame.outward(values)

    def positions(self, coordinates: Tensor) -> Tensor:
        """Coordinates (N, C, D) as positions on their grids, in steps."""
        return functional.level_positions(coordinates, self.level_counts, symmetric=self.symmetric, clamp=self.clamp)

    def round(self, coordinates: Tensor) -> Tensor:
        return functional.nearest_levels(self.positions(coordinates), self.level_counts)

    def values(self, levels: Tensor) -> Tensor:
        return functional.level_values(levels, self.level_counts, symmetric=self.symmetric)


def _dither(dither: Dither | None, noise_dropout: float) -> Dither | None:
    if dither is not None and not isinstance(dither, Dither):
        raise bad_type("dither", "a Dither, or None", dither)
    if not check_number("noise_dropout", noise_dropout, 0, 1):
        return dither
    if dither is not None:
        raise ArgumentError("noise_dropout: expected either it or dither=…, got both")
    return Dither(noise_dropout, per="value")
