"""``ProductQuantize``: a codebook for every slice of the vector, after a rotation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from vqkit.codebook.fit import sampled
from vqkit.codebook.precision import Float32State
from vqkit.errors import ArgumentError, bad_value
from vqkit.functional.product import optimised_product
from vqkit.quantizers.config import registered
from vqkit.quantizers.heads import Heads
from vqkit.quantizers.vector import VectorQuantize
from vqkit.shapes import MOST_COLUMNS, check_choice, check_int

ROTATIONS = ("random", "learned")
ROTATION_ITERS = 20
_SAID = {"heads", "codebook_dim", "separate_codebook_per_head", "layernorm_after_project_in", "project"}


@registered
class ProductQuantize(VectorQuantize):
    """Every vector as H codes of width dim/H side by side, each from a codebook of its own (PQ, Jégou et al. 2011,
    Product Quantization for Nearest Neighbor Search).

    K^H values for the cost of H·K codes. A rotation before it, undone behind it, spreads what the slices share: a
    random one, or one found with the codes in ``fit`` (OPQ, Ge et al. 2013). ``forward``, ``encode``, ``decode`` are
    those of ``VectorQuantize`` with H separate heads: indices have a last axis of H if there are several.

    Args:
        dim: width of the input. num_codebooks: H, a divisor of ``dim``. codebook_size: codes K of each.
        rotation: None, ``"random"``, or ``"learned"``: the identity until ``fit``, its own or that of a residual that
            it is a stage of.
        **options: those of ``VectorQuantize`` but for heads and projections: how codes begin and learn
            (``update=Fixed()`` for codes that ``fit`` alone places), estimators, losses, ``channel_dim``.

    Example:
        >>> import torch
        >>> x = torch.randn(500, 8) @ torch.randn(8, 8)
        >>> errors = []
        >>> for rotation in (None, "learned"):
        ...     pq = ProductQuantize(8, num_codebooks=4, codebook_size=16, rotation=rotation).fit([x]).eval()
        ...     errors.append((pq.decode(pq.encode(x)) - x).square().mean())
        >>> pq.encode(x).shape, bool(errors[1] < errors[0])
        (torch.Size([500, 4]), True)
    """

    def __init__(self, dim: int, num_codebooks: int, codebook_size: int, rotation: str | None = None, **options: Any):
        if check_int("dim", dim) % check_int("num_codebooks", num_codebooks, maximum=MOST_COLUMNS):
            raise bad_value("num_codebooks", f"a divisor of dim {dim}", num_codebooks)
        for name in _SAID & options.keys():
            raise ArgumentError(f"{name}: num_codebooks says all there is to say of it, got both")
        super().__init__(dim, codebook_size, dim // num_codebooks, num_codebooks, True, **options)
        kept = {name: value for name, value in self._arguments.items() if name not in _SAID}
        self._arguments = kept | {"num_codebooks": num_codebooks, "rotation": rotation}
        self.rotation = rotation
        if rotation is not None:
            check_choice("rotation", rotation, ROTATIONS)
            if rotation == "learned" and self.book.metric != "euclidean":
                raise ArgumentError(f"rotation: expected metric 'euclidean' to learn one, got {self.book.metric!r}")
            self.slices = RotatedHeads(dim, num_codebooks, self.separate, random=rotation == "random")
            self.straight = False

    def fit(
        self,
        loader: Iterable[Tensor],
        *,
        method: str = "kmeans",
        iters: int = 10,
        rows_per_code: int = 64,
        rotation_iters: int = ROTATION_ITERS,
    ) -> ProductQuantize:
        """Place the codes, and a learned rotation, from many batches of inputs at once; returns self.

        Args:
            loader: batches of inputs. method: ``"kmeans"``, or ``"data"`` for rows as codes without a learned rotation.
            iters: k-means iterations. rows_per_code: the size of the uniform sample of rows kept, per code.
            rotation_iters: alternations of codes and rotation.
        """
        if not isinstance(self.slices, RotatedHeads) or self.rotation != "learned":
            super().fit(loader, method=method, iters=iters, rows_per_code=rows_per_code)
            return self
        check_choice("method", method, ("kmeans",))
        (sample,) = sampled(self, loader, rows_per_code=rows_per_code).values()
        heads = sample.rows()  # the same rows of every head
        found = len(heads[0]) if heads else 0
        if found < self.codebook_size:
            raise bad_value("loader", f"at least {self.codebook_size} rows to place as many codes", found)
        rows = self.slices.outward(self.slices.merged(torch.stack(heads)))
        self._place_rotated_(self.slices, rows, iters, rotation_iters)
        return self

    @torch.no_grad()
    def fit_rows_(self, rows: Tensor, *, method: str, iters: int) -> None:
        """As a stage of a residual learns a rotation, too; ``"data"`` leaves it as it is."""
        if isinstance(self.slices, RotatedHeads) and self.rotation == "learned" and method == "kmeans":
            self._place_rotated_(self.slices, rows, iters, ROTATION_ITERS)
        else:
            super().fit_rows_(rows, method=method, iters=iters)

    def _place_rotated_(self, slices: RotatedHeads, rows: Tensor, iters: int, rotation_iters: int) -> None:
        """Place the codes, and the rotation before them, from rows (N, dim)."""
        generator = torch.Generator().manual_seed(0)
        rotation, codes = optimised_product(
            rows, self.heads, self.codebook_size, iters=rotation_iters, kmeans_iters=iters, generator=generator
        )
        slices.matrix.rotate_(rotation)
        self.book.begin_at_(codes)


class RotatedHeads(Heads):
    """Heads as slices of the rotated row; rotated back on the way out.

    Args:
        dim: width of the input. heads: slices. separate: a table per slice. random: begin with a random rotation
            instead of the identity.
    """

    def __init__(self, dim: int, heads: int, separate: bool, *, random: bool):
        super().__init__(dim, dim // heads, heads, separate)
        self.matrix = Orthogonal32(dim, random)
        self.projects = True  # sums over the row, which may overflow

    def inward(self, rows: Tensor) -> Tensor:
        """(N, dim) to (N, dim), float32."""
        return self.matrix(rows)

    def outward(self, rows: Tensor) -> Tensor:
        """(N, dim) to (N, dim), float32."""
        return self.matrix.inverse(rows)


class Orthogonal32(Float32State):
    """An orthogonal matrix (dim, dim) that stays float32: random (Haar), or the identity."""

    values: Tensor

    def __init__(self, dim: int, random: bool):
        super().__init__()
        drawn = torch.randn(dim, dim, dtype=torch.float64) if random else torch.eye(dim, dtype=torch.float64)
        q, r = torch.linalg.qr(drawn)
        self.register_buffer("values", (q * r.diagonal().sign()).float())

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (N, dim) rotated, float32."""
        return self._product(rows, self.values)

    def inverse(self, rows: Tensor) -> Tensor:
        """Rows (N, dim) rotated back, float32."""
        return self._product(rows, self.values.t())

    @torch.no_grad()
    def rotate_(self, rotation: Tensor) -> None:
        """Hold another rotation from now on."""
        self.values.copy_(rotation)

    def _product(self, rows: Tensor, matrix: Tensor) -> Tensor:
        with torch.autocast(rows.device.type, enabled=False):
            return rows.float() @ matrix
