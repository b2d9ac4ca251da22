"""``IBQ``: losses, temperatures, heads, layouts."""

from __future__ import annotations

from tests.contracts.case import DIM, SIZE, Case
from vqkit import IBQ
from vqkit.codebook import Normal


def cases() -> list[Case]:
    options = {
        "plain": ({}, (2, 9, DIM)),
        "frozen": ({"freeze_codebook": True}, (2, 9, DIM)),
        "normal": ({"init": Normal(0.5), "temperature": 0.5, "usage_window": 64}, (2, 9, DIM)),
        "entropy": (
            {"init": Normal(), "entropy_weight": 0.1, "entropy_temperature": 0.5, "codebook_weight": 1.0},
            (2, 9, DIM),
        ),
        "no_losses": ({"init": Normal(), "commitment_weight": 0.0}, (2, 9, DIM)),
        "projected": ({"codebook_dim": 5, "init": Normal()}, (2, 9, DIM)),
        "heads": ({"codebook_dim": 4, "heads": 3, "init": Normal()}, (2, 9, DIM)),
        "heads_apart": (
            {"codebook_dim": 4, "heads": 3, "separate_codebook_per_head": True, "init": Normal()},
            (2, 9, DIM),
        ),
        "image": ({"channel_dim": 1, "init": Normal()}, (2, DIM, 3, 4)),
    }
    return [
        Case(
            f"IBQ-{name}",
            lambda o=given: IBQ(DIM, SIZE, **o),
            shape,
            projects=name == "projected",
            counts=name != "frozen",
            options=given,
        )
        for name, (given, shape) in options.items()
    ]
