"""vqtorch's residual layer over ``vqkit.quantizers.Residual``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqkit.functional import codebook_loss, commitment_loss
from vqkit.interop.vqtorch.layers import Misc, VQLayer
from vqkit.interop.vqtorch.options import Options, policies
from vqkit.quantizers import Residual, VectorQuantize

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ResidualVectorQuant(VQLayer):
    """Quantize vectors, then what is left of them, ``groups`` times over: ``z_q, misc = vq(z)``.

    ``misc`` is that of ``VectorQuantize``, with G stages in place of groups in ``q`` and ``d``, one slice
    (positions, 1, C) in ``z`` and ``z_q``, and

    - ``z_res``: (positions, G + 1, C), what each stage saw, and what is left in the end.

    The loss is taken once, between ``z`` and the sum of all codes.

    Args:
        groups: stages. share: one table for all of them; False gives each its own K/G codes, and indices that count on.
        dim, norm, **options: as of ``VectorQuantize``, whose ``vector_normalize`` has no meaning here.

    Example:
        >>> import torch
        >>> vq = ResidualVectorQuant(feature_size=8, num_codes=64, groups=4, share=False)
        >>> z_q, misc = vq(torch.randn(2, 8, 5))
        >>> z_q.shape, misc["q"].shape, misc["z_res"].shape
        (torch.Size([2, 8, 5]), torch.Size([2, 5, 4]), torch.Size([2, 5, 5, 8]))
    """

    def __init__(
        self,
        feature_size: int,
        num_codes: int,
        groups: int = 1,
        share: bool = True,
        *,
        dim: int = 1,
        norm: str | None = "none",
        **options: Unpack[Options],
    ):
        super().__init__(feature_size, num_codes, groups, share, 1, dim, norm)
        self.beta = options.get("beta", 0.95)
        made = policies(**options) | {"objectives": ()}  # the loss is the layer's, on the sum of all stages
        stages = [VectorQuantize(feature_size, self.table_size, **made) for _ in range(1 if share else groups)]
        self.vq = Residual(stages[0], groups, channel_dim=dim) if share else Residual(stages, channel_dim=dim)

    def quantize(self, z: Tensor) -> tuple[Tensor, Misc]:
        quantized, indices, _, codes = self.vq(z.to(torch.promote_types(z.dtype, torch.float32)), return_all_codes=True)
        q, z_P1C = self._numbered(indices), self._sliced(z)
        codes_PQC = codes.movedim(1 + self.dim % z.ndim, -1).movedim(0, -2)
        valid = (q >= 0).all(-1)
        rows_P1C = torch.where(valid[..., None, None], z_P1C, 0).to(codes_PQC.dtype)
        left_PQC = torch.cat([rows_P1C, rows_P1C - codes_PQC.cumsum(-2)], -2)
        z_q_P1C = codes_PQC.sum(-2, keepdim=True)
        misc = {
            "loss": self._loss(rows_P1C, z_q_P1C, valid),
            "q": q,
            "d": self.distance(self.vq.members[0].book.prepare(left_PQC[..., :-1, :]), codes_PQC, q),
            "z": z_P1C,
            "z_q": z_q_P1C,
            "z_res": left_PQC,
            "perplexity": self._perplexity(q),
        }
        return quantized.to(z.dtype), misc

    def _loss(self, z: Tensor, z_q: Tensor, valid: Tensor) -> Tensor:
        rows, codes, counted = z.flatten(0, -2), z_q.flatten(0, -2), valid.flatten()
        pull, push = commitment_loss(rows, codes, counted), codebook_loss(rows, codes, counted)
        return ((1 - self.beta) * pull + self.beta * push).float()
