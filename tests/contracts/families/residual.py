"""The wrappers: residual stages, groups, and both; of ``VectorQuantize`` and of whatever else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tests.contracts.case import DIM, SIZE, Case
from vqkit import (
    GroupedResidualFSQ,
    GroupedResidualLFQ,
    GroupedResidualVQ,
    ResidualFSQ,
    ResidualLFQ,
    ResidualSimVQ,
    ResidualVQ,
    VectorQuantize,
)
from vqkit.codebook import EMA, Gradient, InPlace, LearnedAffine, OnlineClustering
from vqkit.quantizers import (
    FSQ,
    LFQ,
    DiVeQ,
    Grouped,
    ImplicitVQ,
    NoGradient,
    NoiseSubstitution,
    Quantizer,
    Residual,
    Rotation,
    SplitResidualVQ,
    StageDropout,
)

Q = 3
ROWS, IMAGE = (2, 9, DIM), (2, DIM, 3, 4)
SGD = partial(torch.optim.SGD, lr=0.5, momentum=0.9)

VQ_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "shared": {"shared_codebook": True},
    "shared_gradient": {"shared_codebook": True, "learnable_codebook": True},
    "shared_stochastic": {
        "shared_codebook": True,
        "stochastic_sample_codes": True,
        "sample_codebook_temp": 0.1,
    },
    "kmeans": {"kmeans_init": True},
    "shared_kmeans": {"kmeans_init": True, "shared_codebook": True},
    "cosine": {"use_cosine_sim": True},
    "rotation": {"rotation_trick": True},
    "rotation_gradient": {"estimator": Rotation(), "update": Gradient()},
    "gradient_sync": {"update": Gradient(0.25), "sync_update_v": 0.5},
    "ema_debiased": {"update": EMA(0.9, debias=True)},
    "in_place": {"update": InPlace(SGD)},
    "affine": {"affine": LearnedAffine(), "update": Gradient()},
    "affine_running": {"affine_param": True},
    "fixed": {"ema_update": False},
    "cvq": {"revive": OnlineClustering("closest")},
    "stale": {"threshold_ema_dead_code": 0.5},
    "no_route": {"estimator": NoGradient(), "update": Gradient()},
    "diveq": {"diveq": True},
    "noise_substitution": {"estimator": NoiseSubstitution(), "update": Gradient()},
    "projected": {"codebook_dim": 5},
    "projected_each": {"codebook_dim": 5, "project_each_stage": True},
    "projected_each_diveq": {"codebook_dim": (5, 4, 3), "estimator": DiVeQ(), "update": Gradient()},
    "sizes": {"codebook_size": (16, 8, 16), "loss_weights": (1.0, 0.5, 0.25)},
    "heads": {"heads": 2, "codebook_dim": (6, 6, 6), "separate_codebook_per_head": True},
    "dropout": {"quantize_dropout": True},
    "dropout_multiple": {
        "quantize_dropout": True,
        "quantize_dropout_cutoff_index": 1,
        "quantize_dropout_multiple_of": 2,
    },
    "dropout_per_sample": {"dropout": StageDropout(0.5, per_sample=True)},
    "dropout_some": {
        "quantize_dropout": True,
        "quantize_dropout_rate": 0.5,
        "quantize_dropout_per_sample": True,
    },
    "dropout_shared": {"quantize_dropout": True, "shared_codebook": True},
    "beam": {"beam_size": 3},
    "beam_eval": {"eval_beam_size": 4, "shared_codebook": True},
    "beam_dropout": {"beam_size": 2, "quantize_dropout": True},
    "beam_projected_each": {"beam_size": 3, "codebook_dim": 5, "project_each_stage": True},
    "implicit": {"implicit_neural_codebook": True, "mlp_kwargs": {"depth": 1}},
    "implicit_beam": {
        "implicit_neural_codebook": True,
        "beam_size": 2,
        "mlp_kwargs": {"dim_hidden": 8, "depth": 2, "preselect": 6},
    },
}
DRAWS = {"shared_stochastic", "diveq", "noise_substitution", "projected_each_diveq"}
NOISY = {"diveq", "noise_substitution", "projected_each_diveq"}


def _flags(name: str) -> dict[str, Any]:
    return {
        "draws": name in DRAWS,
        "noisy": name in NOISY,
        "projects": "project" in name or "implicit" in name,
        "drops": "dropout" in name,
        "moves_within": name == "in_place",
    }


def _sized(options: dict[str, Any]) -> dict[str, Any]:
    return {"num_quantizers": Q, "codebook_size": SIZE} | options


def _vq_cases() -> list[Case]:
    cases = []
    for name, options in VQ_OPTIONS.items():
        made = _sized(options)
        image = {**made, "accept_image_fmap": True}
        cases += [
            Case(f"ResidualVQ-{name}", partial(ResidualVQ, DIM, **made), ROWS, options=made, **_flags(name)),
            Case(f"ResidualVQ-{name}-image", partial(ResidualVQ, DIM, **image), IMAGE, options=image, **_flags(name)),
        ]
    for name in ("plain", "shared", "projected", "dropout", "beam", "rotation", "kmeans", "implicit"):
        made = {"groups": 2, **_sized(VQ_OPTIONS[name])}
        image = {**made, "accept_image_fmap": True}
        make = partial(GroupedResidualVQ, DIM)
        cases += [
            Case(f"GroupedResidualVQ-{name}", partial(make, **made), ROWS, options=made, **_flags(name)),
            Case(f"GroupedResidualVQ-{name}-image", partial(make, **image), IMAGE, options=image, **_flags(name)),
        ]
    return cases


def _composed() -> dict[str, Callable[[], Quantizer]]:
    def vq(width: int = DIM, **options: Any) -> VectorQuantize:
        return VectorQuantize(width, SIZE, **options)

    return {
        "Residual-of-residuals": lambda: Residual([Residual(vq(), 2), ResidualVQ(DIM, 2, SIZE)]),
        "Residual-of-groups": lambda: Residual([Grouped([vq(4), vq(8)]), Grouped([vq(6), vq(6)])]),
        "Residual-own_estimator": lambda: Residual([vq(), vq()], estimator=Rotation()),
        "Residual-of-kinds": lambda: Residual([vq(), ImplicitVQ(DIM, 8, depth=1)], loss_weights=(1, 2)),
        "Grouped-of-kinds": lambda: Grouped([vq(4, use_cosine_sim=True), vq(8, learnable_codebook=True)]),
        "ImplicitVQ": lambda: ImplicitVQ(DIM, SIZE, depth=2),
        "Residual-of-finite-scalars": lambda: Residual([vq(), FSQ([3] * DIM, bound_hard_clamp=True), LFQ(dim=DIM)]),
        "Grouped-of-lookup-free": lambda: Grouped([FSQ([5] * 4), FSQ([4] * 8)]),
        "SplitResidualVQ": lambda: SplitResidualVQ(DIM, Q, SIZE, 5),
        "SplitResidualVQ-two_semantic": lambda: SplitResidualVQ(DIM, Q, SIZE, 5, n_semantic=2),
    }


SCALAR = {"levels": [4, 3, 5], "num_quantizers": Q}
BINARY = {"codebook_size": SIZE, "num_quantizers": Q}
SIM = {"codebook_size": SIZE, "num_quantizers": Q}
OTHERS: dict[str, tuple[type[Quantizer], dict[str, Any]]] = {
    "ResidualFSQ-plain": (ResidualFSQ, {"levels": [3] * DIM, "num_quantizers": Q}),
    "ResidualFSQ-projected": (ResidualFSQ, {"dim": DIM, **SCALAR}),
    "ResidualFSQ-rotated": (ResidualFSQ, {"dim": DIM, "orthogonal_rotation": True, **SCALAR}),
    "ResidualFSQ-dropout": (ResidualFSQ, {"dim": DIM, "quantize_dropout": True, **SCALAR}),
    "ResidualFSQ-noise": (ResidualFSQ, {"dim": DIM, "noise_dropout": 0.3, **SCALAR}),
    "ResidualFSQ-tanh": (ResidualFSQ, {"dim": DIM, "bound_hard_clamp": False, **SCALAR}),
    "ResidualFSQ-tanh-clamped": (
        ResidualFSQ,
        {"dim": DIM, "bound_hard_clamp": False, "soft_clamp_input_value": 2.0, **SCALAR},
    ),
    "GroupedResidualFSQ-projected": (GroupedResidualFSQ, {"dim": DIM, "groups": 2, **SCALAR}),
    "ResidualLFQ-projected": (ResidualLFQ, {"dim": DIM, **BINARY}),
    "ResidualLFQ-plain": (ResidualLFQ, {"codebook_size": 2**DIM, "num_quantizers": Q, "commitment_loss_weight": 0.2}),
    "ResidualLFQ-dropout-projected": (ResidualLFQ, {"dim": DIM, "quantize_dropout": True, **BINARY}),
    "ResidualLFQ-spherical-projected": (ResidualLFQ, {"dim": DIM, "spherical": True, **BINARY}),
    "ResidualLFQ-rotated-projected": (ResidualLFQ, {"dim": DIM, "orthogonal_rotation": True, **BINARY}),
    "ResidualLFQ-clamped-projected": (ResidualLFQ, {"dim": DIM, "soft_clamp_input_value": 3.0, **BINARY}),
    "GroupedResidualLFQ-projected": (GroupedResidualLFQ, {"dim": DIM, "groups": 2, **BINARY}),
    "ResidualSimVQ-projected": (ResidualSimVQ, {"dim": DIM, **SIM}),
    "ResidualSimVQ-straight-projected": (ResidualSimVQ, {"dim": DIM, "rotation_trick": False, **SIM}),
    "ResidualSimVQ-dropout-projected": (ResidualSimVQ, {"dim": DIM, "quantize_dropout": True, **SIM}),
    "ResidualSimVQ-beam-projected": (ResidualSimVQ, {"dim": DIM, "beam_size": 3, **SIM}),
}


def _other_cases() -> list[Case]:
    cases = []
    for name, (kind, options) in OTHERS.items():
        flags = _flags(name) | {"projects": "dim" in options}
        noise = "noise" in name  # later stages see what the noise left, and choose otherwise than encode does
        flags |= {"draws": noise, "noisy": noise, "couples": noise}
        image = {**options, "accept_image_fmap": True}
        cases += [
            Case(name, partial(kind, **options), ROWS, options=options, **flags),
            Case(f"{name}-image", partial(kind, **image), IMAGE, options=image, **flags),
        ]
    return cases


def cases() -> list[Case]:
    projecting = {"Residual-of-kinds", "ImplicitVQ", "SplitResidualVQ", "SplitResidualVQ-two_semantic"}
    composed = [Case(name, make, ROWS, projects=name in projecting) for name, make in _composed().items()]
    return [*_vq_cases(), *_other_cases(), *composed]
