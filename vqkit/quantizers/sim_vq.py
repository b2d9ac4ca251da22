"""``SimVQ``: a frozen table seen through a learned map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqkit.codebook.update import Fixed
from vqkit.errors import ArgumentError, bad_type
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import Estimator, Rotation, StraightThrough
from vqkit.quantizers.objectives import CodebookFit, Commitment
from vqkit.quantizers.vector import VectorQuantize
from vqkit.shapes import check_float, check_int, check_number, check_shape


@registered
class SimVQ(VectorQuantize):
    """The nearest of codes C = f(F), with a frozen random table F and a learned map f (Zhu et al. 2024,
    arXiv:2411.02038).

    A gradient at any code moves f, and so all codes at once: none is left behind, and the table does not collapse.
    The loss is w·(mean |sg(x) − q|² + β·mean |x − sg(q)|²). ``forward``, ``encode``, ``decode`` are those of
    ``VectorQuantize``. Codes are rows of f(F), made all at once in ``decode`` too: made for a few rows alone they
    might round differently from what ``forward`` returned.

    Args:
        dim: width of the input and of the codes. codebook_size: number of codes K.
        codebook_transform: f, a module (..., frozen_codebook_dim) to (..., dim); a linear map without bias by default.
        init_fn: applied to F (K, frozen_codebook_dim), which is normal with variance 1/frozen_codebook_dim.
        channel_first: channels along axis 1. channel_dim: any other axis.
        rotation_trick: the rotation estimator, the default, or with False straight through. estimator: any other.
        input_to_quantize_commit_loss_weight: β. commitment_weight: w.
        frozen_codebook_dim: width of F, ``dim`` by default.
        freeze_codebook: f does not learn. usage_window: training rows over which usage is counted.

    Example:
        >>> import torch
        >>> vq = SimVQ(dim=8, codebook_size=32)
        >>> quantized, indices, loss = vq(torch.randn(2, 5, 8))
        >>> bool((vq.indices_to_codes(indices) == quantized).all()), vq.codebook.shape
        (True, torch.Size([32, 8]))
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_transform: nn.Module | None = None,
        init_fn: Callable[[Tensor], Tensor] | None = None,
        channel_first: bool = False,
        rotation_trick: bool | None = None,
        input_to_quantize_commit_loss_weight: float = 0.25,
        commitment_weight: float = 1.0,
        frozen_codebook_dim: int | None = None,
        *,
        channel_dim: int | None = None,
        estimator: Estimator | None = None,
        freeze_codebook: bool = False,
        usage_window: int = 65_536,
    ):
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__") and v is not None}
        for flat, policy in (("channel_first", channel_dim), ("rotation_trick", estimator)):
            if given.get(flat) and policy is not None:
                instead = "channel_dim" if flat == "channel_first" else "estimator"
                raise ArgumentError(f"{flat}: expected either it or {instead}=…, got both")
        width = (
            check_int("dim", dim)
            if frozen_codebook_dim is None
            else check_int("frozen_codebook_dim", frozen_codebook_dim)
        )
        beta = check_number("input_to_quantize_commit_loss_weight", input_to_quantize_commit_loss_weight, 0)
        weight = check_number("commitment_weight", commitment_weight, 0)
        if not (codebook_transform is None or isinstance(codebook_transform, nn.Module)):
            raise bad_type("codebook_transform", "an nn.Module or None", codebook_transform)
        if not (init_fn is None or callable(init_fn)):
            raise bad_type("init_fn", "a function of the table, or None", init_fn)
        transform = nn.Linear(width, dim, bias=False) if codebook_transform is None else codebook_transform
        routes = StraightThrough() if rotation_trick is False else Rotation()
        super().__init__(
            dim,
            codebook_size,
            init=_Frozen(width, init_fn),
            update=Fixed(),
            revive=None,
            bridge=transform,
            estimator=routes if estimator is None else estimator,
            objectives=(CodebookFit(weight), Commitment(beta * weight)),
            channel_dim=1 if channel_first else channel_dim,
            freeze_codebook=freeze_codebook,
            usage_window=usage_window,
        )
        self._arguments = given
        _check_made(transform, self.book.vectors, dim)


@dataclass(frozen=True)
class _Frozen:
    """F: normal with variance 1/width, of a width that need not be that of the codes."""

    width: int
    change: Callable[[Tensor], Tensor] | None
    needs_rows = False

    def initial(self, heads: int, size: int, dim: int) -> Tensor:
        del dim
        drawn = torch.randn(size, self.width, dtype=torch.float32) * self.width**-0.5
        if self.change is not None:
            drawn = check_shape("init_fn", check_float("init_fn", self.change(drawn)), (size, self.width)).float()
        return drawn.detach().expand(heads, size, self.width).clone()

    def from_rows(self, rows: Tensor, size: int, metric: str) -> Tensor:
        del rows, size, metric
        raise ArgumentError("init: a frozen table takes no rows")


@torch.no_grad()
def _check_made(transform: nn.Module, vectors: Tensor, dim: int) -> None:
    """Try the map on one stored vector, so that one that does not fit says so before training."""
    try:
        made = transform(vectors[:, :1])
    except RuntimeError as error:
        width = vectors.shape[-1]
        raise ArgumentError(f"codebook_transform: expected a map from width {width} to {dim}, got {error}") from error
    check_shape("codebook_transform", check_float("codebook_transform", made), (1, 1, dim))
