"""``FSP``: every option under every layout."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.contracts.case import DIM, Case
from vqkit import FSP
from vqkit.quantizers import MomentMatch

METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "half_rounded": {"quantize_rate": 0.5, "act_name": "normal"},
    "rounded": {"quantize_rate": 1.0, "usage_window": 64},
    "rounded_inverse": {"quantize_rate": 1.0, "need_inv_act": True},
    "sigmoid_inverse": {"act_name": "sigmoid", "need_inv_act": True},
    "normal": {"act_name": "normal", "need_inv_act": True, "quantize_rate": 1.0, "vector_norm": "kurt"},
    "laplace": {"act_name": "laplace", "need_inv_act": True, "quantize_rate": 1.0},
    "cauchy": {"act_name": "cauchy", "need_inv_act": True, "quantize_rate": 1.0},
    "laplace_squashed": {"act_name": "laplace", "quantize_rate": 1.0, "vector_norm": "none"},
    "moments": {"quantize_rate": 1.0, "vector_norm": MomentMatch(0.1, 2.0, 0.3, -0.5, (0.1, 0.2, 0.3, 0.4))},
}
LEVELS = (8, 5, 2)

LAYOUTS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "rows": ({"levels": LEVELS * 4}, (2, 9, DIM)),
    "projected": ({"levels": LEVELS, "dim": DIM}, (2, 9, DIM)),
    "projected_unbiased": ({"levels": LEVELS, "dim": DIM, "projection_has_bias": False}, (2, 9, DIM)),
    "channel_first": ({"levels": LEVELS * 4, "channel_first": True}, (2, DIM, 9)),
    "image_auto": ({"levels": LEVELS * 4, "channel_dim": None}, (2, DIM, 3, 4)),
}


def cases() -> list[Case]:
    return [
        Case(
            f"FSP-{m}-{place}",
            partial(FSP, **method, **layout),
            shape,
            draws=method.get("quantize_rate") != 1.0,
            noisy=method.get("quantize_rate") != 1.0,
            projects="project" in place,
            options={**method, **layout},
        )
        for m, method in METHODS.items()
        for place, (layout, shape) in LAYOUTS.items()
    ]
