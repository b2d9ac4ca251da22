"""``MultiScaleVQ`` and ``HierarchicalVQ``: a pyramid of maps with learned tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vqkit.errors import ArgumentError, bad_type, bad_value
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import Estimator, Rotation
from vqkit.quantizers.flags import check_details
from vqkit.quantizers.flat import POLICY_OF
from vqkit.quantizers.multiscale import MultiScale
from vqkit.quantizers.scales import Size
from vqkit.quantizers.stage_dropout import StageDropout
from vqkit.quantizers.vector import VectorQuantize
from vqkit.shapes import check_int, check_number


@registered
class MultiScaleVQ(MultiScale):
    """The multi-scale quantizer of VAR (Tian et al. 2024, arXiv:2404.02905): ``MultiScale`` of ``VectorQuantize``.

    Args:
        dim: width of the input. codebook_size: codes of the table all scales share, or of each scale's own.
        scales, size, spatial_axes, quant_resi, share_quant_resi, interpolation, commitment_weight, fit_weight,
            estimator, dropout, channel_dim, usage_window: as for ``MultiScale``; the commitment of each scale is that
            of the running sum, so the tables have none of their own.
        **options: of ``VectorQuantize``, by policy or by flat name.

    Raises:
        ArgumentError, ArgumentTypeError: arguments that do not fit.

    Example:
        >>> import torch
        >>> vq = MultiScaleVQ(16, 64, scales=(1, 2, 3, 4), decay=0.9)
        >>> vq(torch.randn(2, 16, 4, 4)).indices.shape, vq.usage().shape
        (torch.Size([2, 30]), torch.Size([4]))
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int | Sequence[int],
        scales: Sequence[Size],
        *,
        size: Size | None = None,
        spatial_axes: int | None = None,
        quant_resi: float = 0.5,
        share_quant_resi: int = 1,
        interpolation: str = "cubic",
        commitment_weight: float = 0.25,
        fit_weight: float = 1.0,
        estimator: Estimator | None = None,
        dropout: StageDropout | None = None,
        channel_dim: int = 1,
        usage_window: int = 65_536,
        **options: Any,
    ):
        given = {n: value for n, value in locals().items() if n not in ("self", "__class__", "options")}
        for name in options:
            if POLICY_OF.get(name) in ("estimator", "channel_dim"):
                raise ArgumentError(f"{name}: expected {POLICY_OF[name]}=…, since a whole map is quantized")
        _check_sizes(codebook_size)
        commitment = {} if "objectives" in options else {"commitment_weight": 0.0}

        def table(codes: int) -> VectorQuantize:
            return VectorQuantize(dim, codes, usage_window=usage_window, **commitment, **options)

        super().__init__(
            table(codebook_size) if isinstance(codebook_size, int) else [table(codes) for codes in codebook_size],
            scales,
            **{n: v for n, v in given.items() if n not in ("dim", "codebook_size", "scales")},
        )
        self._arguments = options | given


@registered
class HierarchicalVQ(MultiScaleVQ):
    """``MultiScaleVQ`` by the argument names of vector-quantize-pytorch: linear interpolation, k-means at the start.

    Unlike there, indices come as one tensor (``split`` gives its maps), forward and ``decode`` agree on one size, masks
    are of whole maps, the encoder's gradient is the output's, the commitment is that of the running sums, and a shared
    table learns once a step.

    Args:
        dim, scales, quant_resi, share_quant_resi: as for ``MultiScale``.
        codebook_size: codes of the shared table, or of each scale's own.
        shared_codebook: False for a table a scale. channel_first: False for channels last.
        sync_codebook: False lets every rank's tables go their own way.
        decay, kmeans_init, kmeans_iters, threshold_ema_dead_code, stochastic_sample_codes, sample_codebook_temp,
            orthogonal_reg_weight, orthogonal_reg_max_codes, orthogonal_reg_active_codes_only: as ``VectorQuantize``.
        commitment_weight: β of the running sums. rotation_trick: the estimator from the sum of all scales to ``x``.
        nested_dropout: how often a training step keeps as many first scales as are drawn.
        nested_dropout_min_levels: how many it keeps at least.
        accept_image_fmap, accept_3d_fmap: two or three spatial axes; neither means one.
        size: of the maps, the last scale by default.

    Example:
        >>> import torch
        >>> vq = HierarchicalVQ(dim=8, codebook_size=16, scales=(1, 2, 4), accept_image_fmap=True)
        >>> quantized, indices, loss = vq(torch.randn(2, 8, 4, 4))
        >>> quantized.shape, [tuple(m.shape) for m in vq.split(indices)]
        (torch.Size([2, 8, 4, 4]), [(2, 1, 1), (2, 2, 2), (2, 4, 4)])
    """

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int | Sequence[int],
        scales: Sequence[Size],
        shared_codebook: bool = True,
        channel_first: bool = True,
        sync_codebook: bool | None = None,
        decay: float = 0.99,
        commitment_weight: float = 1.0,
        rotation_trick: bool = False,
        kmeans_init: bool = True,
        kmeans_iters: int = 10,
        threshold_ema_dead_code: float = 2,
        stochastic_sample_codes: bool = False,
        sample_codebook_temp: float = 0.1,
        orthogonal_reg_weight: float = 0.0,
        orthogonal_reg_max_codes: int | None = 128,
        orthogonal_reg_active_codes_only: bool = False,
        quant_resi: float = 0.5,
        share_quant_resi: int = 1,
        nested_dropout: float = 0.0,
        nested_dropout_min_levels: int = 1,
        accept_image_fmap: bool = False,
        accept_3d_fmap: bool = False,
        size: Size | None = None,
    ):
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        _check_sizes(codebook_size)
        check_details({"sample_codebook_temp": ("stochastic_sample_codes", 0.1)}, given)
        check_number("quant_resi", quant_resi, -1, 1)
        check_number("nested_dropout", nested_dropout, 0, 1)
        least = check_int("nested_dropout_min_levels", nested_dropout_min_levels)
        if accept_image_fmap and accept_3d_fmap:
            raise ArgumentError("accept_image_fmap, accept_3d_fmap: expected at most one of them, got both")
        sizes = {codebook_size} if isinstance(codebook_size, int) else set(codebook_size)
        if shared_codebook and len(sizes) != 1:
            raise bad_value("codebook_size", "one size for a shared codebook", codebook_size)
        if shared_codebook or not isinstance(codebook_size, int):
            codes = sizes.pop() if shared_codebook else codebook_size
        else:
            codes = (codebook_size,) * len(scales)
        super().__init__(
            dim,
            codes,
            scales,
            size=size,
            spatial_axes=2 if accept_image_fmap else 3 if accept_3d_fmap else 1,
            quant_resi=abs(quant_resi),
            share_quant_resi=max(check_int("share_quant_resi", share_quant_resi, -1), 0),
            interpolation="linear",
            commitment_weight=commitment_weight,
            estimator=Rotation() if rotation_trick else None,
            dropout=StageDropout(nested_dropout, least - 1) if nested_dropout else None,
            channel_dim=1 if channel_first else -1,
            sync_codebook=sync_codebook is not False,
            decay=decay,
            kmeans_init=kmeans_init,
            kmeans_iters=kmeans_iters,
            threshold_ema_dead_code=threshold_ema_dead_code,
            stochastic_sample_codes=stochastic_sample_codes,
            sample_codebook_temp=sample_codebook_temp if stochastic_sample_codes else 1.0,
            orthogonal_reg_weight=orthogonal_reg_weight,
            orthogonal_reg_max_codes=orthogonal_reg_max_codes,
            orthogonal_reg_active_codes_only=orthogonal_reg_active_codes_only,
        )
        self._arguments = given


def _check_sizes(codebook_size: object) -> None:
    """Raise unless this is a number of codes, or one for each scale."""
    sizes = [codebook_size] if isinstance(codebook_size, int) else codebook_size
    if not isinstance(sizes, Sequence) or isinstance(sizes, str) or not sizes:
        raise bad_type("codebook_size", "an int, or a sequence of them, one a scale", codebook_size)
    for size in sizes:
        check_int("codebook_size", size)
