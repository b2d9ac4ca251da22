"""Every public quantizer, in every option it has and in the pairs of options that share code.

A new quantizer joins with one ``FAMILIES`` line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vqkit import VectorQuantize
from vqkit.codebook import (
    EMA,
    Gradient,
    InPlace,
    KMeansInit,
    LearnedAffine,
    Normal,
    OnlineClustering,
    ReplaceRare,
    ReplaceStale,
    ReplaceUnused,
)
from vqkit.quantizers import (
    Commitment,
    CrossEntropyCommitment,
    Diversity,
    GumbelStraightThrough,
    NoiseSubstitution,
    Quantizer,
    StraightThrough,
)

DIM, SIZE = 12, 16


@dataclass(frozen=True)
class Case:
    """A quantizer and the shape it takes. ``draws``: training consumes torch's random numbers, so reshaped batches
    differ.
    """

    name: str
    make: Callable[[], Quantizer]
    shape: tuple[int, ...] = (2, 9, DIM)
    draws: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, seed: int = 0) -> Quantizer:
        torch.manual_seed(seed)
        return self.make()

    def x(self, seed: int = 0) -> Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(seed)) * 0.7

    def trained(self, steps: int = 3) -> Quantizer:
        """The quantizer after a few steps of the loop a user writes."""
        quantizer = self.build()
        parameters = [p for p in quantizer.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.1) if parameters else None
        for step in range(steps):
            out = quantizer(self.x(100 + step))
            loss = out.quantized.square().mean() + out.loss.sum()
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return quantizer


SGD = partial(torch.optim.SGD, lr=0.5, momentum=0.9)

METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cosine": {"use_cosine_sim": True},
    "cosine_gradient": {"use_cosine_sim": True, "learnable_codebook": True},
    "kmeans_init": {"kmeans_init": True},
    "kmeans_init_cosine": {"metric": "cosine", "init": KMeansInit(iters=3, seeding="k-means++")},
    "normal_init": {"init": Normal(0.5)},
    "ema_debiased": {"update": EMA(0.9, debias=True)},
    "ema_manual": {"manual_ema_update": True},
    "gradient": {"learnable_codebook": True},
    "gradient_sync": {"update": Gradient(0.25), "sync_update_v": 0.5},
    "fixed": {"ema_update": False},
    "in_place": {"in_place_codebook_optimizer": SGD},
    "in_place_manual": {"update": InPlace(SGD, manual=True)},
    "affine_running": {"affine_param": True},
    "affine_learned": {"affine": LearnedAffine(lr=0.5, groups=4), "update": Gradient()},
    "affine_in_place": {"affine": LearnedAffine(), "update": InPlace(partial(torch.optim.Adam, lr=0.01))},
    "bridge": {"vq_bridge": nn.Identity},  # stands for a module; made per build
    "no_revive": {"revive": None},
    "stale": {"threshold_ema_dead_code": 0.5},
    "stale_gradient": {"revive": ReplaceStale(0.5, every=2), "update": Gradient()},
    "rare_on_rows": {"revive": ReplaceRare(share=0.3, window=2, reach=1.0)},
    "unused": {"revive": ReplaceUnused(after=2)},
    "cvq_random": {"revive": OnlineClustering("random")},
    "cvq_closest": {"revive": OnlineClustering("closest")},
    "cvq_probability": {"revive": OnlineClustering("probability")},
    "straight_through": {"estimator": StraightThrough()},
    "rotation": {"rotation_trick": True},
    "rotation_gradient": {"rotation_trick": True, "learnable_codebook": True},
    "no_route": {"route_gradients_to_input": False},
    "gumbel": {"straight_through": True},
    "gumbel_noise": {"estimator": GumbelStraightThrough(0.5), "learnable_codebook": True},
    "diveq": {"directional_reparam": True},
    "noise_substitution": {"estimator": NoiseSubstitution(), "update": Gradient()},
    "stochastic": {"stochastic_sample_codes": True, "sample_codebook_temp": 0.5},
    "cross_entropy": {"commitment_use_cross_entropy_loss": True},
    "orthogonal": {"orthogonal_reg_weight": 10.0},
    "orthogonal_active": {
        "orthogonal_reg_weight": 1.0,
        "orthogonal_reg_active_codes_only": True,
        "orthogonal_reg_max_codes": 8,
    },
    "diversity": {"codebook_diversity_loss_weight": 0.1, "codebook_diversity_temperature": 3.0},
    "all_terms": {
        "objectives": (Commitment(0.25), CrossEntropyCommitment(0.1), Diversity(0.1)),
        "update": Gradient(0.5),
    },
    "masked_kept": {"return_zeros_for_masked_padding": False},
}
DRAWS = {"gumbel_noise", "diveq", "noise_substitution", "stochastic", "orthogonal_active"}

LAYOUTS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "rows": ({}, (2, 9, DIM)),
    "projected": ({"codebook_dim": 5}, (2, 9, DIM)),
    "heads": ({"heads": 3, "codebook_dim": 4}, (2, 9, DIM)),
    "heads_apart": ({"heads": 3, "codebook_dim": 4, "separate_codebook_per_head": True}, (2, 9, DIM)),
    "image_heads_projected": (
        {"heads": 2, "codebook_dim": 5, "accept_image_fmap": True, "layernorm_after_project_in": True},
        (2, DIM, 3, 4),
    ),
    "channel_first": ({"channel_last": False}, (2, DIM, 9)),
    "volume": ({"accept_3d_fmap": True}, (2, DIM, 2, 2, 3)),
}


def _vector(method: dict[str, Any], layout: dict[str, Any]) -> Callable[[], Quantizer]:
    def make() -> Quantizer:
        options = {k: v() if v is nn.Identity else v for k, v in {**method, **layout}.items()}
        if "vq_bridge" in options:
            width = options.get("codebook_dim", DIM)
            options["vq_bridge"] = nn.Linear(width, width)
        return VectorQuantize(DIM, SIZE, **options)

    return make


def _vector_cases() -> list[Case]:
    return [
        Case(f"VectorQuantize-{m}-{place}", _vector(method, layout), shape, m in DRAWS, {**method, **layout})
        for m, method in METHODS.items()
        for place, (layout, shape) in LAYOUTS.items()
    ]


FAMILIES: dict[str, Callable[[], list[Case]]] = {"VectorQuantize": _vector_cases}
CASES: list[Case] = [case for family in FAMILIES.values() for case in family()]
