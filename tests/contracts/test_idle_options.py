"""An option that waits for another one, which is off, is refused, unless it repeats its default."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vqkit import LFQ, HierarchicalVQ, ResidualVQ, VectorQuantize
from vqkit.errors import ArgumentError

VQ = (VectorQuantize, {"dim": 4, "codebook_size": 8})
RVQ = (ResidualVQ, {"dim": 4, "codebook_size": 8, "num_quantizers": 2})
SIGNS = (LFQ, {"dim": 8, "codebook_size": 16})
PYRAMID = (HierarchicalVQ, {"dim": 4, "codebook_size": 8, "scales": (1, 2)})

IDLE: list[tuple[Any, str, Any, Any, dict[str, Any]]] = [  # made of, option, value, default, what it waits for
    (VQ, "kmeans_iters", 5, 10, {"kmeans_init": True}),
    (VQ, "affine_param_batch_decay", 0.5, 0.99, {"affine_param": True}),
    (VQ, "affine_param_codebook_decay", 0.5, 0.9, {"affine_param": True}),
    (VQ, "directional_reparam_variance", 0.1, 5e-3, {"directional_reparam": True}),
    (VQ, "manual_in_place_optimizer_update", True, False, {"in_place_codebook_optimizer": torch.optim.Adam}),
    (VQ, "orthogonal_reg_max_codes", 4, None, {"orthogonal_reg_weight": 1.0}),
    (VQ, "orthogonal_reg_active_codes_only", True, False, {"orthogonal_reg_weight": 0.0}),
    (VQ, "codebook_diversity_temperature", 1.0, 100.0, {"codebook_diversity_loss_weight": 1.0}),
    (VQ, "sample_codebook_temp", 0.5, 1.0, {"stochastic_sample_codes": True}),
    (VQ, "codebook_weight", 0.5, 1.0, {"learnable_codebook": True}),
    (RVQ, "quantize_dropout_rate", 0.5, 1.0, {"quantize_dropout": True}),
    (RVQ, "quantize_dropout_cutoff_index", 1, 0, {"quantize_dropout": True}),
    (RVQ, "quantize_dropout_multiple_of", 2, 1, {"quantize_dropout": True}),
    (RVQ, "quantize_dropout_per_sample", True, False, {"quantize_dropout": True}),
    (RVQ, "kmeans_iters", 5, 10, {"kmeans_init": True}),
    (SIGNS, "entropy_loss_offset", 1.0, 5.0, {"experimental_softplus_entropy_loss": True}),
    (SIGNS, "cosine_sim_project_in_scale", 2.0, None, {"cosine_sim_project_in": True}),
    (PYRAMID, "sample_codebook_temp", 0.5, 0.1, {"stochastic_sample_codes": True}),
    (PYRAMID, "kmeans_iters", 5, 10, {"kmeans_init": True}),
]


@pytest.mark.parametrize(("made_of", "option", "value", "default", "wanted"), IDLE)
def test_a_detail_of_what_is_off_is_refused(
    made_of: Any, option: str, value: Any, default: Any, wanted: dict[str, Any]
):
    kind, given = made_of
    off = {name: False for name in wanted if name == "kmeans_init"}  # on by default in one of them
    with pytest.raises(ArgumentError, match=f"{option}: expected"):
        kind(**given, **off, **{option: value})
    assert kind(**given, **off, **{option: default}).dim == given["dim"]
    assert kind(**given, **wanted, **{option: value}).dim == given["dim"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"ema_update": False, "manual_ema_update": True}, "manual_ema_update: expected False"),
        (
            {"directional_reparam": True, "commitment_use_cross_entropy_loss": True},
            "commitment_use_cross_entropy_loss: expected a commitment_weight",
        ),
    ],
)
def test_what_another_choice_left_out_is_refused(options: dict[str, Any], match: str):
    with pytest.raises(ArgumentError, match=match):
        VectorQuantize(4, 8, **options)


def test_a_weight_of_zero_lets_its_details_stand():
    vq = VectorQuantize(4, 8, commitment_weight=0.0, commitment_use_cross_entropy_loss=True, decay=0.9, eps=1e-3)
    assert vq.objectives == ()
    assert VectorQuantize(4, 8, learnable_codebook=True, decay=0.99).book.update.by_gradient


@pytest.mark.parametrize("made_of", [VQ, RVQ])
def test_a_call_cannot_set_the_temperature_of_nothing(made_of: Any):
    kind, given = made_of
    with pytest.raises(ArgumentError, match="sample_codebook_temp: expected None without stochastic_sample_codes"):
        kind(**given)(torch.randn(9, 4), sample_codebook_temp=0.5)
    drawing = kind(**given, stochastic_sample_codes=True)
    assert drawing(torch.randn(9, 4), sample_codebook_temp=0.5).quantized.shape == (9, 4)
