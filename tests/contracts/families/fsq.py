"""``FSQ``: every option under every layout."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.contracts.case import DIM, Case
from vqkit import FSQ
from vqkit.quantizers import Dither

METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "symmetric": {"preserve_symmetry": True},
    "clamp": {"bound_hard_clamp": True, "usage_window": 64},
    "symmetric_clamp": {"preserve_symmetry": True, "bound_hard_clamp": True},
    "scale": {"scale": 0.3},
    "scale_each": {"scale": (0.5, 2.0, 1.0, 0.1), "bound_hard_clamp": True},
    "rotation": {"orthogonal_rotation": True},
    "rotation_scale_clamp": {"orthogonal_rotation": True, "scale": 0.7, "bound_hard_clamp": True},
    "noise_dropout": {"noise_dropout": 0.5, "preserve_symmetry": True},
    "dither": {"dither": Dither(0.3, 0.3)},
    "dither_clamp": {"dither": Dither(0.3, 0.3, "value"), "bound_hard_clamp": True, "scale": 2.0},
}
DITHERED = {"noise_dropout", "dither", "dither_clamp"}
LEVELS = (8, 5, 4, 3)

LAYOUTS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "rows": ({"num_codebooks": 3}, (2, 9, DIM)),
    "projected": ({"dim": DIM}, (2, 9, DIM)),
    "projected_unbiased": ({"dim": DIM, "num_codebooks": 2, "projection_has_bias": False}, (2, 9, DIM)),
    "projected_kept_axis": ({"dim": DIM, "keep_num_codebooks_dim": True}, (2, 9, DIM)),
    "channel_first": ({"num_codebooks": 3, "channel_first": True}, (2, DIM, 9)),
    "image": ({"num_codebooks": 3, "channel_dim": 1}, (2, DIM, 3, 4)),
    "video_auto_projected": ({"dim": DIM, "channel_dim": None}, (2, DIM, 2, 2, 3)),
}


def cases() -> list[Case]:
    one_code = Case("FSQ-plain-one_code", partial(FSQ, [3, 4] * 6))
    huge = Case("FSQ-plain-2^62_codes", partial(FSQ, [64] * 10 + [2, 2], preserve_symmetry=True))
    return [one_code, huge] + [
        Case(
            f"FSQ-{m}-{place}",
            partial(FSQ, LEVELS, **method, **layout),
            shape,
            draws=m in DITHERED,
            noisy=m in DITHERED,
            projects="project" in place,
            options={**method, **layout},
        )
        for m, method in METHODS.items()
        for place, (layout, shape) in LAYOUTS.items()
    ]
