"""``MultiScale`` around every kind of quantizer, in one, two and three spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.contracts.case import DIM, SIZE, Case
from vqkit import BSQ, FSQ, IBQ, LFQ, HierarchicalVQ, MultiScale, MultiScaleVQ, ResidualVQ, SimVQ, VectorQuantize
from vqkit.codebook import KMeansInit, ReplaceStale
from vqkit.functional import straight_through
from vqkit.quantizers import Commitment, Diversity, Grouped, Quantizer, Residual, Rotation, StageDropout
from vqkit.quantizers.base import Step
from vqkit.quantizers.projections import Projections

IMAGE, SCALES = (2, DIM, 4, 4), (1, 2, 3, 4)


class Rounding(Quantizer):
    """Stands for quantizers without a table: round a few squashed values, an index each; no loss of its own."""

    index_axis, straight = True, False

    def __init__(self, dim: int, inner: int = 2, levels: int = 5):
        super().__init__(dim)
        self.levels, self.inner = levels, inner
        self.maps = Projections(dim, inner)

    @property
    def index_sizes(self) -> tuple[int, ...]:
        return (self.levels,) * self.inner

    def _values(self, indices: Tensor) -> Tensor:
        return indices.clamp(min=0) * 2 / (self.levels - 1) - 1.0

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        place = (self.maps.inward(rows).float().tanh() + 1) / 2 * (self.levels - 1)
        return torch.where(valid[:, None], place.round().long(), -1)

    def decode_rows(self, indices: Tensor) -> Tensor:
        return self.maps.outward(self._values(indices))

    def step(self, rows, valid, *, frozen=None, given=None, more=False) -> Step:
        del frozen, more
        indices = self.encode_rows(rows, valid) if given is None else given
        values = self._values(indices)

        def through(again: Tensor) -> Tensor:
            return self.maps.outward(straight_through(self.maps.inward(again).float().tanh(), values))

        return Step(self.maps.outward(values), indices, rows.new_zeros((), dtype=torch.float32), valid, through)


def _around(table: dict[str, Any]) -> Callable[[], Quantizer]:
    return lambda: MultiScale(VectorQuantize(DIM, SIZE, **table), SCALES)


def _vq(scales: Any = SCALES, codes: Any = SIZE, **options: Any) -> Callable[[], Quantizer]:
    return lambda: MultiScaleVQ(DIM, codes, scales, **options)


def _peer(scales: Any = SCALES, **options: Any) -> Callable[[], Quantizer]:
    return lambda: HierarchicalVQ(dim=DIM, codebook_size=SIZE, scales=scales, **options)


TABLES: dict[str, dict[str, Any]] = {
    "plain": {},
    "cosine": {"use_cosine_sim": True},
    "gradient": {"learnable_codebook": True},
    "kmeans": {"init": KMeansInit(iters=3)},
    "stale": {"revive": ReplaceStale(0.5)},
    "in_place": {"in_place_codebook_optimizer": partial(torch.optim.SGD, lr=0.5, momentum=0.9)},
    "fixed": {"ema_update": False},
    "affine": {"affine_param": True},
    "heads": {"heads": 3, "codebook_dim": 4, "separate_codebook_per_head": True},
    "heads_shared": {"heads": 3, "codebook_dim": 4},
    "projected": {"codebook_dim": 5},
    "projected_gradient_rotation": {"codebook_dim": 5, "learnable_codebook": True, "rotation_trick": True},
    "terms": {"objectives": (Commitment(0.5), Diversity(0.1))},
}

PYRAMIDS: dict[str, tuple[Callable[[], Quantizer], tuple[int, ...]]] = {
    "plain": (_vq(), IMAGE),
    "no_phi": (_vq(quant_resi=0.0, usage_window=64), IMAGE),
    "phi_each": (_vq(share_quant_resi=0), IMAGE),
    "phi_by_place": (_vq(share_quant_resi=2), IMAGE),
    "linear": (_vq(interpolation="linear"), IMAGE),
    "channels_last": (_vq(channel_dim=-1), (2, 4, 4, DIM)),
    "larger_than_its_scales": (_vq(scales=(1, 3), size=(5, 4)), (2, DIM, 5, 4)),
    "sequence": (_vq(scales=(1, 2, 9), spatial_axes=1), (2, DIM, 9)),
    "volume": (_vq(scales=((1, 1, 1), (1, 2, 2), (2, 3, 3))), (2, DIM, 2, 3, 3)),
    "oblong": (_vq(scales=((1, 2), (2, 3), (3, 6))), (2, DIM, 3, 6)),
    "table_each": (_vq(codes=(4, 8, 12, 16), init=KMeansInit()), IMAGE),
    "rotation": (_vq(estimator=Rotation()), IMAGE),
    "no_losses": (_vq(commitment_weight=0.0, fit_weight=0.0), IMAGE),
    "dropout": (_vq(dropout=StageDropout()), IMAGE),
    "dropout_each_map": (_vq(dropout=StageDropout(0.7, cutoff=1, per_sample=True)), IMAGE),
    "in_order": (lambda: MultiScale([VectorQuantize(DIM, n) for n in (4, 8)], (2, 4)), IMAGE),
}

RANK = {"decay": 0.5, "commitment_weight": 0.5, "kmeans_init": False, "sync_codebook": False, "accept_image_fmap": True}
ORTHOGONAL = {
    "orthogonal_reg_weight": 1.0,
    "orthogonal_reg_max_codes": 8,
    "orthogonal_reg_active_codes_only": True,
    "threshold_ema_dead_code": 0,
    "accept_image_fmap": True,
}

PEER: dict[str, tuple[Callable[[], Quantizer], tuple[int, ...]]] = {
    "image": (_peer(accept_image_fmap=True), IMAGE),
    "sequence": (_peer(scales=(2, 9)), (2, DIM, 9)),
    "volume": (_peer(scales=(1, 2), accept_3d_fmap=True), (2, DIM, 2, 2, 2)),
    "last": (_peer(accept_image_fmap=True, channel_first=False, rotation_trick=True), (2, 4, 4, DIM)),
    "apart": (_peer(accept_image_fmap=True, shared_codebook=False, share_quant_resi=-1), IMAGE),
    "nested_dropout": (_peer(accept_image_fmap=True, nested_dropout=0.9, nested_dropout_min_levels=2), IMAGE),
    "stochastic": (_peer(accept_image_fmap=True, stochastic_sample_codes=True, sample_codebook_temp=0.5), IMAGE),
    "larger": (_peer(accept_image_fmap=True, size=(5, 4), quant_resi=0.3, kmeans_iters=3), (2, DIM, 5, 4)),
    "of_one_rank": (_peer(**RANK), IMAGE),
    "orthogonal": (_peer(orthogonal_reg_weight=1.0, threshold_ema_dead_code=0, accept_image_fmap=True), IMAGE),
    "orthogonal_active_stochastic": (_peer(**ORTHOGONAL), IMAGE),
}


def _case(name: str, make: Callable[[], Quantizer], shape: tuple[int, ...] = IMAGE) -> Case:
    projects = "projected" in name or "rounding" in name
    return Case(name, make, shape, pools=True, projects=projects, drops="dropout" in name, draws="stochastic" in name)


def _residual(**options: Any) -> Callable[[], Quantizer]:
    return lambda: MultiScale(ResidualVQ(DIM, 2, SIZE, **options), SCALES)


WRAPPED: dict[str, Callable[[], Quantizer]] = {
    "rounding": lambda: MultiScale(Rounding(DIM), SCALES),
    "fsq": lambda: MultiScale(FSQ([5, 4, 3], DIM), SCALES),
    "fsq_unprojected": lambda: MultiScale(FSQ([3] * DIM), SCALES),
    "lfq": lambda: MultiScale(LFQ(dim=DIM, codebook_size=16), SCALES),
    "bsq": lambda: MultiScale(BSQ(dim=DIM), SCALES),
    "sim_vq": lambda: MultiScale(SimVQ(DIM, SIZE), SCALES),
    "ibq": lambda: MultiScale(IBQ(DIM, SIZE), SCALES),
    "residual": _residual(kmeans_init=True),
    "residual_shared": _residual(shared_codebook=True),
    "residual_projected": _residual(codebook_dim=5),
    "residual_dropout": _residual(quantize_dropout=True),
    "groups": lambda: MultiScale(Grouped([VectorQuantize(w, SIZE, kmeans_init=True) for w in (4, 8)]), SCALES),
    "residuals_each": lambda: MultiScale([Residual(VectorQuantize(DIM, n), 2) for n in (4, 8)], (2, 4)),
}


def cases() -> list[Case]:
    wrapped = [_case(f"MultiScale-{name}", make) for name, make in WRAPPED.items()]
    tables = [_case(f"MultiScale-{name}", _around(table)) for name, table in TABLES.items()]
    pyramids = [_case(f"MultiScaleVQ-{name}", *made) for name, made in PYRAMIDS.items()]
    peer = [_case(f"HierarchicalVQ-{name}", *made) for name, made in PEER.items()]
    return [*wrapped, *tables, *pyramids, *peer]
