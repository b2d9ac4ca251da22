"""``LFQ``, ``BSQ`` and ``BinaryMapper``: every option under every layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tests.contracts.case import DIM, Case
from vqkit import BSQ, LFQ, BinaryMapper

Options = dict[str, Any]
Layouts = dict[str, tuple[Options, tuple[int, ...]]]

# The suite brings these to any rank, so they say where channels are; where they are left to be found out, the shape
# differs.
ROWS, SEQUENCES = (2, 9, DIM), (3, 7, DIM)
LFQ_METHODS: dict[str, Options] = {
    "plain": {},
    "commitment": {"commitment_loss_weight": 0.25, "codebook_scale": 0.5},
    "commitment_alone": {"commitment_loss_weight": 0.25, "entropy_loss_weight": 0.0},
    "weights_apart": {"sample_minimization_weight": 0.5, "batch_maximization_weight": 2.0},
    "row_entropy_alone": {"diversity_gamma": 0.0},
    "batch_entropy_alone": {"sample_minimization_weight": 0.0},
    "softplus": {"experimental_softplus_entropy_loss": True, "entropy_loss_offset": 3.0},
    "grouped_entropy": {"entropy_group_size": 2},
    "a_share_of_rows": {"frac_per_sample_entropy": 0.5},
    "soft_clamp": {"soft_clamp_input_value": 2.0},
    "activation": {"straight_through_activation": torch.tanh},
    "spherical": {"spherical": True, "codebook_scale": 2.0},
    "rotated": {"orthogonal_rotation": True},
    "spherical_rotated": {"spherical": True, "orthogonal_rotation": True, "commitment_loss_weight": 1.0},
    "soft": {"inv_temperature": 1.0, "usage_window": 64},
}
LFQ_LAYOUTS: Layouts = {
    "rows": ({"channel_first": False}, ROWS),
    "projected": ({"codebook_size": 16, "channel_first": False}, ROWS),
    "codebooks": ({"codebook_size": 16, "num_codebooks": 3, "channel_first": False}, ROWS),
    "image_codebooks_projected": ({"codebook_size": 16, "num_codebooks": 2}, (2, DIM, 3, 4)),
}
# What lies around the rounding alone: under the plainest and under the most crooked of the methods.
LFQ_MORE_LAYOUTS: Layouts = {
    "sequence": ({}, SEQUENCES),
    "projected_by_cosine": ({"codebook_size": 16, "cosine_sim_project_in": True}, SEQUENCES),
    "projected_by_scaled_cosine": (
        {"codebook_size": 16, "cosine_sim_project_in": True, "cosine_sim_project_in_scale": 1.5},
        SEQUENCES,
    ),
    "projected_alike": ({"has_projections": True, "projection_has_bias": False}, SEQUENCES),
    "one_codebook_kept": ({"keep_num_codebooks_dim": True}, SEQUENCES),
    "channel_first": ({"channel_first": True}, (2, DIM, 9)),
    "image": ({}, (2, DIM, 3, 4)),
    "image_channel_last": ({"channel_first": False}, (2, 3, 4, DIM)),
    "volume": ({}, (2, DIM, 2, 2, 3)),
    "projected_to_2^62_codes": ({"codebook_size": 2**62, "entropy_group_size": 2}, SEQUENCES),
}
BSQ_METHODS: dict[str, Options] = {
    "plain": {},
    "all_weights": {
        "beta": 0.25,
        "gamma0": 0.5,
        "gamma": 2.0,
        "zeta": 0.3,
        "inv_temperature": 50.0,
        "usage_window": 64,
    },
    "grouped": {"group_size": 2},
    "group_indices": {"group_size": 4, "group_indices": True},
}
BSQ_LAYOUTS: Layouts = {
    "rows": ({"channel_first": False}, ROWS),
    "projected": ({"codebook_size": 16, "channel_first": False}, ROWS),
    "projected_alike": ({"has_projections": True, "projection_has_bias": False}, SEQUENCES),
    "channel_first": ({"channel_first": True}, (2, DIM, 9)),
    "image": ({}, (2, DIM, 3, 4)),
}


def _cases(make: Callable, methods: dict[str, Options], layouts: Layouts) -> list[Case]:
    return [
        Case(
            f"{make.__name__}-{m}-{place}",
            partial(make, dim=DIM, **method, **layout),
            shape,
            draws="frac_per_sample_entropy" in method,
            # A rotation is a matrix product, too.
            projects="projected" in place or "orthogonal_rotation" in method,
            options={**method, **layout},
        )
        for m, method in methods.items()
        for place, (layout, shape) in layouts.items()
    ]


def cases() -> list[Case]:
    # What draws in eval as well has no code to decode to; ``tests/quantizers/test_binary_mapper.py`` holds that.
    mapper = Case(
        "BinaryMapper-deterministic_on_eval",
        partial(BinaryMapper, DIM, kl_loss_threshold=0.1, deterministic_on_eval=True, usage_window=64),
        draws=True,
        width=2**DIM,
    )
    two = {name: LFQ_METHODS[name] for name in ("plain", "spherical_rotated")}
    lfq = [*_cases(LFQ, LFQ_METHODS, LFQ_LAYOUTS), *_cases(LFQ, two, LFQ_MORE_LAYOUTS)]
    return [*lfq, *_cases(BSQ, BSQ_METHODS, BSQ_LAYOUTS), mapper]
