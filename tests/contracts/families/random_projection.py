"""``RandomProjectionQuantizer``: codebooks, norms, layouts. It returns indices alone."""

from __future__ import annotations

from tests.contracts.case import DIM, SIZE, Case
from vqkit import RandomProjectionQuantizer


def cases() -> list[Case]:
    options = {
        "one": ({}, (2, 9, DIM)),
        "several": ({"num_codebooks": 3}, (2, 9, DIM)),
        "plain": ({"norm": False, "usage_window": 64}, (2, 9, DIM)),
        "offsets": ({"num_codebooks": 2, "projection_has_bias": True}, (2, 9, DIM)),
        "image": ({"num_codebooks": 2, "channel_dim": 1}, (2, DIM, 3, 4)),
    }
    return [
        Case(
            f"RandomProjectionQuantizer-{name}",
            lambda o=given: RandomProjectionQuantizer(DIM, SIZE, 5, **o),
            shape,
            projects=True,
            returns_vectors=False,
            options=given,
        )
        for name, (given, shape) in options.items()
    ]
