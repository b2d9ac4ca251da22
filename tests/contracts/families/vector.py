"""``VectorQuantize``: every method under every layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from tests.contracts.case import DIM, SIZE, Case
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
    Entropy,
    GumbelStraightThrough,
    IndexBackpropagation,
    NoiseSubstitution,
    Quantizer,
    SoftCommitment,
    StraightThrough,
)

SGD = partial(torch.optim.SGD, lr=0.5, momentum=0.9)

METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cosine": {"use_cosine_sim": True},
    "cosine_gradient": {"use_cosine_sim": True, "learnable_codebook": True},
    "dot": {"metric": "dot"},
    "cosine_lengths": {"use_cosine_sim": True, "unit_codes": False},
    "cosine_lengths_gradient": {"metric": "cosine", "unit_codes": False, "update": Gradient(), "init": KMeansInit(3)},
    "kmeans_init": {"kmeans_init": True},
    "kmeans_init_cosine": {"metric": "cosine", "init": KMeansInit(iters=3, seeding="k-means++")},
    "normal_init": {"init": Normal(0.5)},
    "ema_debiased": {"update": EMA(0.9, debias=True)},
    "ema_manual": {"manual_ema_update": True},
    "ema_of_one_rank": {"decay": 0.5, "eps": 1e-2, "sync_codebook": False, "usage_window": 64},
    "frozen": {"freeze_codebook": True},
    "gradient": {"learnable_codebook": True},
    "gradient_weighted": {"learnable_codebook": True, "codebook_weight": 0.25, "commitment": 0.5},
    "gradient_sync": {"update": Gradient(0.25), "sync_update_v": 0.5},
    "fixed": {"ema_update": False},
    "in_place": {"in_place_codebook_optimizer": SGD},
    "in_place_manual": {"in_place_codebook_optimizer": SGD, "manual_in_place_optimizer_update": True},
    "affine_running": {"affine_param": True},
    "affine_running_fast": {
        "affine_param": True,
        "affine_param_batch_decay": 0.7,
        "affine_param_codebook_decay": 0.5,
    },
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
    "index_backpropagation": {"estimator": IndexBackpropagation(0.5), "learnable_codebook": True},
    "diveq": {"directional_reparam": True, "directional_reparam_variance": 1e-2},
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
    "entropy": {"objectives": (Entropy(0.1, 0.5, even=2.0), SoftCommitment(0.5)), "update": Gradient()},
    "all_terms": {
        "objectives": (Commitment(0.25), CrossEntropyCommitment(0.1), Diversity(0.1)),
        "update": Gradient(0.5),
    },
    "masked_kept": {"return_zeros_for_masked_padding": False},
}
NOISY = {"diveq", "noise_substitution"}
DRAWS = {"gumbel_noise", "diveq", "noise_substitution", "stochastic", "orthogonal_active"}

LAYOUTS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "rows": ({}, (2, 9, DIM)),
    "projected": ({"codebook_dim": 5}, (2, 9, DIM)),
    "projected_alike": ({"project": True}, (2, 9, DIM)),
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


def cases() -> list[Case]:
    return [
        Case(
            f"VectorQuantize-{m}-{place}",
            _vector(method, layout),
            shape,
            draws=m in DRAWS,
            noisy=m in NOISY,
            projects="project" in place,
            counts=m != "frozen",
            options={**method, **layout},
        )
        for m, method in METHODS.items()
        for place, (layout, shape) in LAYOUTS.items()
    ]
