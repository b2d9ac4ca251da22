"""vqtorch's layers: its ``(z_q, misc)`` from vqkit's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vqkit import quantizers
from vqkit.codebook import Codebook
from vqkit.errors import CodeIndexError, bad_type, bad_value
from vqkit.functional.lookup import check_code_range
from vqkit.functional.usage import count_codes, perplexity
from vqkit.interop.vqtorch.norms import InputNorm
from vqkit.interop.vqtorch.options import Options, policies
from vqkit.shapes import check_float, check_int

if TYPE_CHECKING:
    from typing_extensions import Unpack

Misc = dict[str, Any]


class VQLayer(nn.Module):
    """What the layers share: the input's norm, the way past the quantizer, and how indices of several tables count.

    Attributes:
        enabled: False gives ``(z, {})`` (see ``no_vq``). vq: the vqkit quantizer that does the work.
    """

    vq: Any

    def __init__(
        self, feature_size: int, num_codes: int, groups: int, share: bool, slices: int, dim: int, norm: str | None
    ):
        super().__init__()
        self.feature_size, self.num_codes = check_int("feature_size", feature_size), check_int("num_codes", num_codes)
        self.groups, self.share, self.slices = check_int("groups", groups), share, slices
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise bad_type("dim", "an int", dim)
        if not share and num_codes % groups:
            raise bad_value("num_codes", f"a multiple of the {groups} groups, which share none", num_codes)
        if feature_size % slices:
            raise bad_value("groups", f"a divisor of the {feature_size} features", slices)
        self.table_size = num_codes if share else num_codes // groups
        self.dim, self.enabled = dim, True
        self.norm_layer = InputNorm(norm, feature_size, slices, dim)

    def forward(self, z: Tensor) -> tuple[Tensor, Misc]:
        """``(z_q, misc)``; within ``no_vq`` ``(z, {})``."""
        z = self.norm_layer(self._checked(z))
        return self.quantize(z) if self.enabled else (z, {})

    def quantize(self, z: Tensor) -> tuple[Tensor, Misc]:
        """``(z_q, misc)`` of what the norm gave."""
        raise NotImplementedError  # abstract: each layer below has its own

    def encode(self, z: Tensor) -> Tensor:
        """Indices ``q`` (positions, G) of ``z``; changes nothing."""
        return self._numbered(self.vq.encode(self.norm_layer(self._checked(z))))

    def decode(self, q: Tensor) -> Tensor:
        """The ``z_q`` of indices ``q`` (positions, G).

        Raises:
            CodeIndexError: an index out of range, or of another group's codes.
        """
        check_code_range(q, self.num_codes)
        indices = q if self.share else torch.where(q < 0, q, q - self._offsets(q))
        foreign = (q >= 0) & ((indices < 0) | (indices >= self.table_size))
        if bool(foreign.any()):
            raise CodeIndexError(f"q: expected codes of each group's own {self.table_size}, got {int(q[foreign][0])}")
        return self.vq.decode(indices if self.vq.index_axis else indices.squeeze(-1))

    @property
    def requires_grad(self) -> bool:
        """Whether gradients reach the codes."""
        return any(book.vectors.requires_grad for book in self.books())

    def set_requires_grad(self, requires_grad: bool) -> None:
        """Let gradients reach the codes, or not; those of an in-place optimizer they never reach."""
        for book in self.books():
            book.vectors.requires_grad_(requires_grad and book.update.by_gradient)

    def books(self) -> list[Codebook]:
        """The tables: one, or one a stage."""
        return [module for module in self.modules() if isinstance(module, Codebook)]

    def _checked(self, z: Tensor) -> Tensor:
        fits = check_float("z", z).ndim > 0 and -z.ndim <= self.dim < z.ndim and z.shape[self.dim] == self.feature_size
        if not fits:
            raise bad_value("z", f"{self.feature_size} channels along axis {self.dim}", f"shape {tuple(z.shape)}")
        return z

    def _numbered(self, indices: Tensor) -> Tensor:
        """The quantizer's indices with an axis of groups, counting on from table to table."""
        q = indices if self.vq.index_axis else indices.unsqueeze(-1)
        return q if self.share else torch.where(q < 0, q, q + self._offsets(q))

    def _offsets(self, q: Tensor) -> Tensor:
        return self.table_size * torch.arange(self.groups, device=q.device)

    def _sliced(self, z: Tensor) -> Tensor:
        """(B, ..., C, ...) to (positions, slices, C/slices)."""
        return z.movedim(self.dim, -1).unflatten(-1, (self.slices, self.feature_size // self.slices))

    @torch.no_grad()
    def distance(self, rows: Tensor, codes: Tensor, q: Tensor) -> Tensor:
        """Distances of prepared rows to their codes, inf where there is none."""
        cosine = self.books()[0].metric == "cosine"
        return torch.where(q >= 0, 1 - (rows * codes).sum(-1) if cosine else (rows - codes).norm(dim=-1), torch.inf)

    def _perplexity(self, q: Tensor) -> Tensor:
        return perplexity(count_codes(q.flatten(), self.num_codes))

    def extra_repr(self) -> str:
        """What the module prints."""
        return f"num_codes={self.num_codes}, groups={self.groups}, share={self.share}, enabled={self.enabled}"


class VectorQuantize(VQLayer):
    """Replace every vector along ``dim`` by its nearest code: ``z_q, misc = vq(z)``.

    ``z_q`` has the shape and dtype of ``z``, of any rank. With the positions of ``z``, its shape without ``dim``, and G
    groups ``misc`` holds

    - ``loss``: () float32, (1 − β)·mean|z − sg q|² + β·mean|sg z − q|²: β is the share of the codes;
    - ``q``: (positions, G) int64, the indices, −1 for vectors with NaN or inf;
    - ``d``: (positions, G), the distance |z − q|, for the cosine 1 − cos; inf where ``q`` is −1;
    - ``z``, ``z_q``: (positions, G, C/G), what came in, after its norm, and the codes, with their gradient;
    - ``perplexity``: () float64, of the indices of this batch.

    Args:
        feature_size: C. num_codes: K.
        dim: the axis of the channels.
        groups: slices of a vector, quantized one by one.
        share: one table for all groups; False gives each its own K/G codes, and indices that count on.
        norm: of the input, in each group: ``"none"``, ``"l2"`` (unit length), ``"l2c"`` (length at most 10); or over
            all channels: ``"bn"``, ``"gn"`` (32 groups), ``"in"``.
        vector_normalize: with ``dist="cosine"``, give the output the length of ``z`` in each group.
        code_vector_size: width of a code; only C/G fits.
        dist: ``"euclidean"``, or ``"cosine"``: codes, and ``z`` where it is compared with them, have unit length.
        beta: β in [0, 1].
        sync_nu: ν in [0, 1]; the codes also get ν times the output's gradient, ``z`` always gets it once.
        affine_lr: above 0, a learned affine map of the codes, one per each of ``affine_groups`` groups of them, at this
            learning-rate scale. use_running_statistics: instead a map that follows the inputs' mean and deviation.
        replace_freq: above 0, codes unused for so many training steps become vectors of the batch.
        inplace_optimizer: makes an optimizer from parameters; it moves the codes inside the forward, before the lookup,
            and the loss pulls ``z`` alone.
        cb_norm: of the codes: ``"none"``, ``"l2"``, ``"l2c"`` as for ``norm``. None is ``"none"`` for either.
        kmeans_init: the centroids of the first training batch become the codes.

    Raises:
        ArgumentError, ArgumentTypeError: arguments that do not fit.

    Example:
        >>> import torch
        >>> vq = VectorQuantize(feature_size=32, num_codes=256)
        >>> z_q, misc = vq(torch.randn(1, 32, 64, 64))
        >>> z_q.shape, misc["q"].shape
        (torch.Size([1, 32, 64, 64]), torch.Size([1, 64, 64, 1]))
    """

    def __init__(
        self,
        feature_size: int,
        num_codes: int,
        *,
        dim: int = 1,
        groups: int = 1,
        share: bool = True,
        norm: str | None = "none",
        vector_normalize: bool = False,
        code_vector_size: int | None = None,
        **options: Unpack[Options],
    ):
        super().__init__(feature_size, num_codes, groups, share, groups, dim, norm)
        width = feature_size // groups
        if code_vector_size not in (None, width):
            raise bad_value("code_vector_size", f"{width}, what a group is wide", code_vector_size)
        if vector_normalize and options.get("dist") != "cosine":
            raise bad_value("vector_normalize", "False unless dist is 'cosine'", vector_normalize)
        self.preserve_norm = vector_normalize
        self.vq = quantizers.VectorQuantize(
            feature_size,
            self.table_size,
            width,
            heads=groups,
            separate_codebook_per_head=not share,
            channel_dim=dim,
            **policies(**options),
        )

    def quantize(self, z: Tensor) -> tuple[Tensor, Misc]:
        quantized, indices, loss = self.vq(z)
        q, z_PGD = self._numbered(indices), self._sliced(z)
        codes_PGD = self.codes(indices).unflatten(-1, z_PGD.shape[-2:])
        valid = (q >= 0)[..., None]
        rows_PGD = torch.where(valid, self.vq.book.prepare(z_PGD), 0)
        misc = {"loss": loss, "q": q, "d": self.distance(rows_PGD, codes_PGD, q), "z": z_PGD, "z_q": codes_PGD}
        if self.preserve_norm:
            length_PG1 = torch.where(valid, z_PGD, 0).to(codes_PGD.dtype).norm(dim=-1, keepdim=True)
            quantized = (length_PG1 * self._sliced(quantized)).flatten(-2).movedim(-1, self.dim).to(z.dtype)
            misc["z_q"] = length_PG1 * codes_PGD
        return quantized, {**misc, "perplexity": self._perplexity(q)}

    def codes(self, indices: Tensor) -> Tensor:
        """The codes (positions, C) of the quantizer's own indices, with their gradient."""
        positions = indices.shape[:-1] if self.vq.index_axis else indices.shape
        rows = self.vq.slices.by_slice(indices.reshape(-1, self.groups))
        return self.vq.slices.merged(self.vq.book.take(rows)).reshape(*positions, self.feature_size)


class VectorQuant(VectorQuantize):
    """``VectorQuantize`` under the name it has in the source."""


class GroupVectorQuant(VectorQuantize):
    """``VectorQuantize`` with the groups in front, under the name it has in the source."""

    def __init__(self, feature_size: int, num_codes: int, groups: int = 1, share: bool = True, **options: Any):
        super().__init__(feature_size, num_codes, groups=groups, share=share, **options)
