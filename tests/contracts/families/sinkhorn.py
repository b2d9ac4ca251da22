"""``SinkhornVQ``: plans, metrics, updates, estimators, layouts."""

from __future__ import annotations

from functools import partial

import torch

from tests.contracts.case import DIM, SIZE, Case
from vqkit import SinkhornVQ
from vqkit.codebook import InPlace, ReplaceRare
from vqkit.quantizers import DiVeQ, NoGradient, NoiseSubstitution, Rotation


def cases() -> list[Case]:
    rows = (2, 9, DIM)
    options = {
        "plain": ({}, rows),
        "soft": ({"epsilon": 0.5, "iters": 2}, rows),
        "cosine": ({"use_cosine_sim": True}, rows),
        "gradient": ({"learnable_codebook": True}, rows),
        "in_place": ({"update": InPlace(partial(torch.optim.SGD, lr=0.5))}, rows),
        "fixed": ({"ema_update": False}, rows),
        "kmeans": ({"kmeans_init": True}, rows),
        "revive": ({"revive": ReplaceRare()}, rows),
        "rotation": ({"estimator": Rotation(), "learnable_codebook": True}, rows),
        "diveq": ({"estimator": DiVeQ(), "learnable_codebook": True}, rows),
        "noise_substitution": ({"estimator": NoiseSubstitution(), "learnable_codebook": True}, rows),
        "no_gradient": ({"estimator": NoGradient(), "learnable_codebook": True}, rows),
        "projected": ({"codebook_dim": 5}, rows),
        "heads": ({"codebook_dim": 4, "heads": 3}, rows),
        "heads_apart": ({"codebook_dim": 4, "heads": 3, "separate_codebook_per_head": True}, rows),
        "image": ({"accept_image_fmap": True}, (2, DIM, 3, 4)),
    }
    noisy = {"diveq", "noise_substitution"}
    return [
        Case(
            f"SinkhornVQ-{name}",
            lambda o=given: SinkhornVQ(DIM, SIZE, **o),
            shape,
            draws=name in noisy,
            noisy=name in noisy,
            projects=name == "projected",
            couples=True,
            options=given,
        )
        for name, (given, shape) in options.items()
    ]
