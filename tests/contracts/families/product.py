"""``ProductQuantize``: rotations, updates, estimators, layouts."""

from __future__ import annotations

import torch

from tests.contracts.case import DIM, SIZE, Case
from vqkit import ProductQuantize
from vqkit.codebook import Fixed, Gradient
from vqkit.quantizers import DiVeQ, GumbelStraightThrough, IndexBackpropagation, NoGradient, NoiseSubstitution, Rotation


def _fitted() -> ProductQuantize:
    return ProductQuantize(DIM, 3, SIZE, "learned", update=Fixed(), revive=None).fit([torch.randn(64, DIM)])


def cases() -> list[Case]:
    rows, image = (2, 9, DIM), (2, DIM, 3, 4)
    options = {
        "plain": ({}, rows),
        "one": ({"num_codebooks": 1}, rows),
        "one_random": ({"num_codebooks": 1, "rotation": "random"}, rows),
        "random": ({"rotation": "random"}, rows),
        "learned": ({"rotation": "learned"}, rows),
        "random_image": ({"rotation": "random", "channel_dim": 1}, image),
        "gradient": ({"rotation": "random", "update": Gradient()}, rows),
        "cosine": ({"rotation": "random", "metric": "cosine"}, rows),
        "rotation_trick": ({"rotation": "random", "estimator": Rotation()}, rows),
        "index_backpropagation": ({"estimator": IndexBackpropagation(), "update": Gradient()}, rows),
        "gumbel": ({"estimator": GumbelStraightThrough(0.5), "update": Gradient()}, rows),
        "diveq": ({"rotation": "random", "estimator": DiVeQ(), "update": Gradient()}, rows),
        "noise_substitution": ({"estimator": NoiseSubstitution(), "update": Gradient()}, rows),
        "no_gradient": ({"estimator": NoGradient(), "update": Gradient()}, rows),
    }
    noisy = {"diveq", "noise_substitution"}
    made = [
        Case(
            f"ProductQuantize-{name}",
            lambda o=given: ProductQuantize(DIM, **{"num_codebooks": 3, "codebook_size": SIZE, **o}),
            shape,
            draws=name in {*noisy, "gumbel"},
            noisy=name in noisy,
            projects="rotation" in given,
            options=given,
        )
        for name, (given, shape) in options.items()
    ]
    return [*made, Case("ProductQuantize-fitted", _fitted, projects=True)]
