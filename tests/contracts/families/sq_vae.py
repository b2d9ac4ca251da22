"""``SQVAE``: both distributions, temperatures, layouts."""

from __future__ import annotations

from tests.contracts.case import DIM, SIZE, Case
from vqkit import SQVAE
from vqkit.codebook import Uniform


def cases() -> list[Case]:
    options = {
        "gaussian": ({}, (2, 9, DIM)),
        "vmf": ({"distribution": "vmf"}, (2, 9, DIM)),
        "frozen": ({"freeze_codebook": True}, (2, 9, DIM)),
        "sharp": ({"precision": 5.0, "temperature": 0.5, "loss_weight": 0.1, "usage_window": 64}, (2, 9, DIM)),
        "annealed": ({"temperature": (1.0, 0.1, 0.5), "init": Uniform()}, (2, 9, DIM)),
        "image": ({"channel_dim": 1}, (2, DIM, 3, 4)),
    }
    return [
        Case(
            f"SQVAE-{name}",
            lambda o=given: SQVAE(DIM, SIZE, **o),
            shape,
            draws=True,
            noisy=True,
            counts=name != "frozen",
            options=given,
        )
        for name, (given, shape) in options.items()
    ]
