"""``GumbelQuantize``: hard and soft, groups, temperatures, losses, layouts."""

from __future__ import annotations

from tests.contracts.case import DIM, SIZE, Case
from vqkit import GumbelQuantize
from vqkit.codebook import Normal


def cases() -> list[Case]:
    options = {
        "hard": ({}, (2, 9, DIM)),
        "frozen": ({"freeze_codebook": True}, (2, 9, DIM)),
        "soft": ({"hard": False, "temperature": 0.7, "usage_window": 64}, (2, 9, DIM)),
        "groups": ({"groups": 3, "diversity_weight": 0.1, "kl_weight": 0.0}, (2, 9, DIM)),
        "groups_combined": ({"groups": 3, "combine_groups": True, "init": Normal()}, (2, 9, DIM)),
        "groups_soft": ({"groups": 2, "hard": False, "kl_weight": 0.1, "diversity_weight": 0.1}, (2, 9, DIM)),
        "annealed": ({"temperature": (1.0, 0.1, 0.5), "kl_weight": 0.0}, (2, 9, DIM)),
        "image": ({"channel_dim": 1, "groups": 2}, (2, DIM, 3, 4)),
    }
    return [
        Case(
            f"GumbelQuantize-{name}",
            lambda o=given: GumbelQuantize(DIM, SIZE, **o),
            shape,
            draws=True,
            noisy=not given.get("hard", True),
            projects=True,
            counts=name != "frozen",
            options=given,
        )
        for name, (given, shape) in options.items()
    ]
