"""``Grouped``: the feature axis in slices, each quantized by a quantizer of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from vqkit import distributed
from vqkit.errors import bad_value
from vqkit.layout import Layout, channel_axis
from vqkit.quantizers.base import Quantizer, Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.output import Quantized, QuantizedWithCodes
from vqkit.quantizers.stage_checks import all_frozen, check_first_rows, quantizers_in
from vqkit.shapes import check_indices, check_tensor


@registered
class Grouped(Quantizer):
    """Cut the channels into G groups, each with a quantizer of its own (HiFi-Codec, Yang et al. 2023,
    arXiv:2305.02765; product quantization, Jégou et al. 2011).

    ``forward(x)`` returns ``quantized`` (shape and dtype of x), ``indices`` (G, ...) as the groups' own, stacked, and
    ``loss`` (G, ...), theirs too.

    Args:
        groups: quantizers that keep equally many indices a row; their own ``channel_dim`` does not matter.
        channel_dim: the axis of the channels. rank: axes that the input must have; any number by default.

    Example:
        >>> import torch
        >>> from vqkit import VectorQuantize
        >>> grouped = Grouped([VectorQuantize(4, 16), VectorQuantize(4, 16)])
        >>> quantized, indices, loss = grouped(torch.randn(2, 5, 8))
        >>> quantized.shape, indices.shape, loss.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 2, 5]), torch.Size([2]))
    """

    batch_axis = 1

    def __init__(self, groups: Sequence[Quantizer], *, channel_dim: int | None = -1, rank: int | None = None):
        made = quantizers_in("groups", groups)
        widths = {(group.index_axis, len(group.index_sizes)) for group in made}
        if len(widths) > 1:
            raise bad_value("groups", "quantizers with equally many indices a row", f"{len(widths)} kinds")
        if not all(getattr(group, "return_indices", True) for group in made):
            raise bad_value("groups", "quantizers that return their indices", "return_indices=False")
        super().__init__(sum(group.dim for group in made), channel_dim, rank)
        self.groups = nn.ModuleList(made)
        self.straight = all(group.straight for group in made)
        self._arguments = {"groups": made, "channel_dim": channel_dim, "rank": rank}

    @property
    def members(self) -> list[Quantizer]:
        """The groups' quantizers, in order."""
        return list(self.groups)  # pyright: ignore[reportReturnType] - a ModuleList of quantizers

    @property
    def freeze_codebook(self) -> bool:
        """Whether nothing within learns, as constructed."""
        return all_frozen(self.members)

    @property
    def index_sizes(self) -> tuple[int, ...]:
        return tuple(size for group in self.members for size in group.index_sizes)

    # --- on tensors -------------------------------------------------------------------------------------------------

    @overload
    def forward(self, x: Tensor, *, return_all_codes: Literal[False] = ..., **call: Any) -> Quantized: ...
    @overload
    def forward(self, x: Tensor, *, return_all_codes: Literal[True], **call: Any) -> QuantizedWithCodes: ...
    def forward(self, x: Tensor, *, return_all_codes: bool = False, **call: Any) -> Quantized | QuantizedWithCodes:
        """Quantize ``x``; in training mode also learn.

        ``return_all_codes`` gives the groups' codes, (G, Q, ...), channels along their axis; ``**call`` is the groups'
        own, ``indices`` given as returned, (G, ...).
        """
        return self._forward(x, return_all_codes, **call)

    @distributed.together()
    def _forward(self, x: Tensor, return_all_codes: bool, **call: Any) -> Quantized | QuantizedWithCodes:
        mask, lens = call.pop("mask", None), call.pop("lens", None)
        targets = call.pop("indices", None)
        if targets is not None:
            self._check_groups(check_indices("indices", targets))
        rows, valid, layout = self._rows(x, mask, lens, count=self.training)
        self._check_first(valid, call.get("freeze_codebook"))
        axes = [self._axis(group, layout) for group in self.members]
        outs = []
        for number, (group, part, axis) in enumerate(zip(self.members, self._split(rows), axes, strict=True)):
            own = {} if targets is None else {"indices": targets[number]}
            own |= {"return_all_codes": True} if return_all_codes else {}
            x_group = layout.arrange(part).movedim(-1, axis)
            outs.append(group(x_group, mask=valid.reshape(layout.positions), **call, **own))
        parts = [out.quantized.movedim(axis, -1) for out, axis in zip(outs, axes, strict=True)]
        with torch.autocast(x.device.type, enabled=False):  # which joins no half type but its own
            quantized = layout.restore(torch.cat(parts, -1).reshape(-1, self.dim)).to(x.dtype)
        indices = torch.stack([out.indices for out in outs])
        nothing = quantized.new_zeros((), dtype=torch.float32)
        loss = torch.stack([getattr(out, "loss", nothing) for out in outs])
        if not return_all_codes:
            return Quantized(quantized, indices, loss)
        with torch.autocast(x.device.type, enabled=False):
            codes = torch.stack([out.all_codes.movedim(axis, -1) for out, axis in zip(outs, axes, strict=True)])
        return QuantizedWithCodes(quantized, indices, loss, codes.movedim(-1, self._axis(self, layout)))

    def encode(self, x: Tensor, *, mask: Tensor | None = None, lens: Tensor | None = None, **call: Any) -> Tensor:
        """Indices (G, ...) of ``x``; changes nothing. ``**call`` is the groups' own, such as ``n_quantizers``."""
        rows, valid, layout = self._rows(x, mask, lens, count=False)
        counted = valid.reshape(layout.positions)
        found = []
        for group, part in zip(self.members, self._split(rows), strict=True):
            x_group = layout.arrange(part).movedim(-1, self._axis(group, layout))
            found.append(group.encode(x_group, mask=counted, **call))
        return torch.stack(found)

    def columns(self, indices: Tensor) -> tuple[Tensor, Layout]:
        """As ``Quantizer.columns``, of indices (G, ...)."""
        self._check_groups(check_tensor("indices", indices))
        found = [group.columns(part) for group, part in zip(self.members, indices, strict=True)]
        own = found[0][1]
        layout = Layout(own.positions, self._axis(self, own, "indices") + len(own.positions) + 1)
        return torch.cat([columns for columns, _ in found], 1), layout

    def _check_groups(self, indices: Tensor) -> None:
        if indices.ndim == 0 or indices.shape[0] != len(self.groups):
            raise bad_value("indices", f"a first axis of {len(self.groups)} groups", f"shape {tuple(indices.shape)}")

    @staticmethod
    def _axis(quantizer: Quantizer, layout: Layout, name: str = "x") -> int:
        """Where a quantizer has the channels of tensors with these positions, counted from the end."""
        rank = len(layout.positions) + 1
        axis = channel_axis(quantizer.channel_dim, rank)
        if axis is None:
            raise bad_value(name, f"positions around a channel axis {quantizer.channel_dim}", f"{rank - 1} of them")
        return axis - rank

    # --- on rows ----------------------------------------------------------------------------------------------------

    @distributed.together()
    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
    ) -> Step:
        self._check_first(valid, frozen)
        chosen = [None] * len(self.groups) if given is None else given.chunk(len(self.groups), 1)
        steps = [
            group.step(part, valid, frozen=frozen, given=indices, more=more)
            for group, part, indices in zip(self.members, self._split(rows), chosen, strict=True)
        ]

        def through(again: Tensor) -> Tensor:
            parts = self._split(again)
            return torch.cat([step.through(part) for step, part in zip(steps, parts, strict=True)], 1)

        counted = torch.stack([step.valid for step in steps]).all(0)
        code = torch.cat([step.code for step in steps], 1)
        indices = torch.where(counted[:, None], torch.cat([step.indices for step in steps], 1), -1)
        return Step(code, indices, torch.stack([step.loss for step in steps]), counted, through)

    def _check_first(self, valid: Tensor, frozen: bool | None) -> None:
        if self.training and not frozen and not self.begun:
            check_first_rows(self, valid, frozen)

    def begin_(self, rows: Tensor, valid: Tensor, *, frozen: bool | None = None) -> None:
        for group, part in zip(self.members, self._split(rows), strict=True):
            group.begin_(part, valid, frozen=frozen)

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        parts = zip(self.members, self._split(rows), strict=True)
        found = torch.cat([group.encode_rows(part, valid) for group, part in parts], 1)
        return torch.where((found >= 0).all(1)[:, None], found, -1)  # a group's projection may overflow

    def decode_rows(self, indices: Tensor) -> Tensor:
        parts = indices.chunk(len(self.groups), 1)
        return torch.cat([group.decode_rows(part) for group, part in zip(self.members, parts, strict=True)], 1)

    def fit_rows_(self, rows: Tensor, *, method: str, iters: int) -> None:
        for group, part in zip(self.members, self._split(rows), strict=True):
            group.fit_rows_(part, method=method, iters=iters)

    def _split(self, rows: Tensor) -> Sequence[Tensor]:
        return rows.split([group.dim for group in self.members], 1)

    # --- usage ------------------------------------------------------------------------------------------------------

    def usage(self) -> Tensor:
        """As the groups', stacked: (G, ...) float64."""
        return torch.stack([group.usage() for group in self.members])

    def perplexity(self) -> Tensor:
        """As the groups', stacked: (G, ...) float64."""
        return torch.stack([group.perplexity() for group in self.members])
