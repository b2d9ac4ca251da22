"""``LatentQuantize``: every option under every layout."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from tests.contracts.case import DIM, Case
from vqkit import LatentQuantize

METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weights": {"commitment_loss_weight": 1.0, "quantization_loss_weight": 0.0, "usage_window": 64},
    "fixed": {"optimize_values": False},
    "in_place": {"in_place_codebook_optimizer": partial(torch.optim.SGD, lr=0.5, momentum=0.9)},
}

LAYOUTS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "rows": ({"levels": (5, 4, 8), "num_codebooks": 4, "channel_dim": -1}, (2, 9, DIM)),
    "one_code": ({"levels": 5, "channel_dim": -1}, (2, 9, DIM)),
    "projected": ({"levels": (5, 5, 8), "channel_dim": -1}, (2, 9, DIM)),
    "projected_kept_axis": ({"levels": 4, "codebook_dim": 3, "keep_num_codebooks_dim": True}, (2, DIM, 3, 4)),
    "image_auto": ({"levels": (5, 4, 8), "num_codebooks": 4}, (2, DIM, 3, 4)),
    "video_auto_projected": ({"levels": (5, 5, 8), "num_codebooks": 2}, (2, DIM, 2, 2, 3)),
}


def cases() -> list[Case]:
    return [
        Case(
            f"LatentQuantize-{m}-{place}",
            partial(LatentQuantize, dim=DIM, **method, **layout),
            shape,
            projects="project" in place,
            options={**method, **layout},
        )
        for m, method in METHODS.items()
        for place, (layout, shape) in LAYOUTS.items()
    ]
