"""``FSP``: coordinates perturbed within their bins in training, rounded to the bins' centres after it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit import functional
from vqkit.errors import bad_type
from vqkit.functional.losses import masked_mean
from vqkit.functional.perturbation import DISTRIBUTIONS
from vqkit.functional.scalar import check_grid
from vqkit.quantizers.base import Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.levels import LevelQuantizer, chosen_channel_dim
from vqkit.quantizers.moment_match import NORM_OF, NORMS, MomentMatch
from vqkit.quantizers.output import PerturbedInfo, QuantizedWithInfo
from vqkit.shapes import check_choice, check_number

UNIT = math.sqrt(12)  # over which a uniform number's deviation is one
EDGE = torch.finfo(torch.float32).eps  # how near to 0 and 1 a probability may come before it is unsquashed


@registered
class FSP(LevelQuantizer):
    """Squash every coordinate by a distribution's CDF, and round it to the centre of one of a few bins of equal
    probability, which in training is a perturbation of a bin's width (finite scalar perturbation, VP-VAE,
    arXiv:2602.17133).

    ``forward(x)`` takes floating-point ``x`` of any rank with ``dim`` channels along ``channel_dim``. It returns

    - ``quantized``: the shape and dtype of ``x``; the probabilities, centred and stretched to variance one if uniform;
    - ``indices``: int64 in [0, Π levels), the shape of ``x`` without channels, of the unperturbed bins;
    - ``loss``: () float32, the penalty on the moments of the coordinates, which keeps the bins equally likely; over the
      rows of all ranks in training;
    - ``info``: level indices, moments and the share of perturbations that stayed in range.

    The gradient is that of the CDF, or the identity with ``need_inv_act``. Rows that are masked, or hold NaN or inf,
    get index −1 and zeros, and count nowhere.

    Args:
        levels: bins of each coordinate, >= 2, their product at most 2^62.
        dim: width of the input, the number of coordinates by default; linear projections go in and out where it
            differs.
        channel_first: the same as ``channel_dim=1``.
        channel_dim: the axis of the channels, the last by default; None: the second from rank 4 on, else the last.
        projection_has_bias: whether the projections have one.
        act_name: the distribution, ``"tanh"``, ``"sigmoid"``, ``"normal"``, ``"laplace"`` or ``"cauchy"``.
        quantize_rate: the share of values that are rounded in training, too.
        need_inv_act: return what the inverse CDF makes of the probabilities, numbers of the input's own scale.
        vector_norm: the penalty, ``"none"``, ``"var"``, ``"kurt"``, ``"var_tanh"``, ``"var_sigmoid"``,
            ``"var_laplace"`` or a ``MomentMatch``; None: the variance of the distribution, nothing for ``"cauchy"``,
            which has none.
        usage_window: training rows over which usage and perplexity are counted.

    Raises:
        ArgumentError, ArgumentTypeError: arguments that do not fit.

    Example:
        >>> import torch
        >>> fsp = FSP(levels=[8, 5, 5]).eval()
        >>> quantized, indices, loss, info = fsp(torch.randn(2, 16, 3))
        >>> quantized.shape, indices.shape, info.level_indices.shape
        (torch.Size([2, 16, 3]), torch.Size([2, 16]), torch.Size([2, 16, 3]))
        >>> bool((quantized == fsp.decode(indices)).all())
        True
    """

    def __init__(
        self,
        levels: Sequence[int],
        dim: int | None = None,
        channel_first: bool = False,
        projection_has_bias: bool = True,
        act_name: str = "tanh",
        quantize_rate: float = 0.0,
        need_inv_act: bool = False,
        vector_norm: str | MomentMatch | None = None,
        *,
        channel_dim: int | None = -1,
        usage_window: int = 65_536,
    ):
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(
            check_grid("levels", levels),
            dim,
            channel_dim=chosen_channel_dim(channel_first, channel_dim),
            bias=projection_has_bias,
            usage_window=usage_window,
        )
        self._arguments = arguments
        self.act_name = check_choice("act_name", act_name, DISTRIBUTIONS)
        self.quantize_rate = check_number("quantize_rate", quantize_rate, 0, 1)
        self.inverse, self.norm = need_inv_act, _norm(vector_norm, act_name)
        self.straight = need_inv_act and not self.projections.projects

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
    ) -> QuantizedWithInfo:
        """Quantize ``x``.

        Args:
            mask: bool, the shape of ``x`` without channels. lens: int64 (B,), rows that count of each x (B, n, dim).
            freeze_codebook: accepted as by every quantizer; nothing learns here.
        """
        rows, valid, layout = self._rows(x, mask, lens, count=self.training)
        step, info = self._made(rows, valid, frozen=freeze_codebook)
        info = info._replace(level_indices=layout.arrange(info.level_indices))
        return QuantizedWithInfo(*self._returned(step, rows, layout, x.dtype), info)

    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
    ) -> Step:
        del more
        return self._made(rows, valid, frozen=frozen, given=given)[0]

    def _made(
        self, rows: Tensor, valid: Tensor, *, frozen: bool | None = None, given: Tensor | None = None
    ) -> tuple[Step, PerturbedInfo]:
        coordinates, valid = self._enter(rows, valid, count=self.training)
        p = functional.cdf(coordinates, self.act_name)
        levels = functional.bin_levels(p, self.level_counts) if given is None else self.levels_of(given)
        indices = self._indices(levels, valid)
        if not frozen:
            self._count_codes(indices)
        code, accept_rate = self.values(levels), valid.new_ones((), dtype=torch.float32)
        if self.training and self.quantize_rate < 1:
            perturbed, accepted = functional.perturb(p.float(), self.level_counts, self.quantize_rate)
            code = self._unsquashed(perturbed)
            accept_rate = masked_mean(accepted.float(), valid)
        moments = functional.moments(coordinates[:, 0], valid, sync=self.training)

        def through(again: Tensor) -> Tensor:
            entered = coordinates if again is rows else self._enter(again, valid, count=False)[0]
            if self.inverse:
                return self._straight(entered, code)
            squashed = p if again is rows else functional.cdf(entered, self.act_name)
            return self._straight(self._unsquashed(squashed), code)

        step = Step(self._leave(code), indices, self.norm(moments), valid, through)
        shown = torch.where(valid[:, None], levels[:, 0], -1)
        return step, PerturbedInfo(shown, functional.Moments(*(m.detach() for m in moments)), accept_rate)

    def round(self, coordinates: Tensor) -> Tensor:
        return functional.bin_levels(functional.cdf(coordinates, self.act_name), self.level_counts)

    def values(self, levels: Tensor) -> Tensor:
        return self._unsquashed(functional.bin_centres(levels, self.level_counts))

    def _unsquashed(self, p: Tensor) -> Tensor:
        """Probabilities to coordinates of the output."""
        return functional.inverse_cdf(p.clamp(EDGE, 1 - EDGE), self.act_name) if self.inverse else (p - 0.5) * UNIT


def _norm(vector_norm: str | MomentMatch | None, act_name: str) -> MomentMatch:
    if vector_norm is None:
        return NORMS[NORM_OF[act_name]]
    if isinstance(vector_norm, MomentMatch):
        return vector_norm
    if not isinstance(vector_norm, str):
        raise bad_type("vector_norm", "a name, a MomentMatch, or None", vector_norm)
    return NORMS[check_choice("vector_norm", vector_norm, tuple(NORMS))]
