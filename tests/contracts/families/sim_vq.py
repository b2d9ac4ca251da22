"""``SimVQ``: maps, widths, estimators, layouts."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tests.contracts.case import DIM, SIZE, Case
from vqkit import SimVQ
from vqkit.quantizers import DiVeQ, GumbelStraightThrough, NoGradient, NoiseSubstitution, Quantizer


def _doubled(table: Tensor) -> Tensor:
    return 2 * table


def _mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 10), nn.ReLU(), nn.Linear(10, DIM))


METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "straight_through": {"rotation_trick": False},
    "frozen": {"freeze_codebook": True},
    "narrow": {"frozen_codebook_dim": 5, "usage_window": 64},
    "mlp": {"codebook_transform": _mlp, "frozen_codebook_dim": 6},
    "init": {"init_fn": _doubled, "commitment_weight": 2.0, "input_to_quantize_commit_loss_weight": 0.5},
    "diveq": {"estimator": DiVeQ()},
    "noise_substitution": {"estimator": NoiseSubstitution()},
    "gumbel": {"estimator": GumbelStraightThrough(noise=False)},
    "gumbel_noise": {"estimator": GumbelStraightThrough(0.5)},
    "no_gradient": {"estimator": NoGradient()},
}
NOISY = {"diveq", "noise_substitution"}
DRAWS = {*NOISY, "gumbel_noise"}


def _make(options: dict[str, Any]) -> Quantizer:
    transform = options.get("codebook_transform")
    made = {"codebook_transform": transform(options["frozen_codebook_dim"])} if transform else {}
    return SimVQ(DIM, SIZE, **{**options, **made})


def cases() -> list[Case]:
    rows = [
        Case(
            f"SimVQ-{name}",
            lambda o=options: _make(o),
            draws=name in DRAWS,
            noisy=name in NOISY,
            counts=name != "frozen",
            options=options,
        )
        for name, options in METHODS.items()
    ]
    first = Case("SimVQ-channel_first", lambda: SimVQ(DIM, SIZE, channel_first=True), (2, DIM, 3, 4))
    axis = Case("SimVQ-channel_dim", lambda: SimVQ(DIM, SIZE, channel_dim=2), (2, 3, DIM, 4))
    return [*rows, first, axis]
