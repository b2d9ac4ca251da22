from __future__ import annotations

from vqkit.models import ConvVQVAEConfig
from vqkit.training.config import DataConfig, RunConfig
from vqkit.training.train_config import TrainConfig


def cifar10() -> RunConfig:
    """CIFAR-10 as Sonnet's VQ-VAE example trains it: 8x8 codes an image, 10,000 steps.

    ``data.source`` is the folder of CIFAR-10's batches (or any folder of pictures, or "hf:uoft-cs/cifar10").
    """
    return RunConfig(
        data=DataConfig(size=32, channels=3, value_range=(-0.5, 0.5)),
        model=ConvVQVAEConfig(
            hidden=128,
            downsamplings=2,
            residual_blocks=2,
            residual_hidden=32,
            quantizer={
                "type": "VectorQuantize",
                "dim": 64,
                "codebook_size": 512,
                "update": {"type": "EMA", "decay": 0.99, "debias": True, "hold_idle": False},
                "revive": None,
                "estimator": {"type": "StraightThrough"},
                "commitment_weight": 0.25,
            },
        ),
        train=TrainConfig(
            steps=10_000,
            batch_size=32,
            lr=3e-4,
            reconstruction="mse/variance",
            log_every=100,
            eval_every=1000,
            checkpoint_every=1000,
        ),
    )
