from __future__ import annotations

from vqkit.models import ConvVQVAEConfig
from vqkit.training.config import DataConfig, RunConfig
from vqkit.training.train_config import TrainConfig


def digits() -> RunConfig:
    """Scikit-learn's handwritten digits at 32x32 pixels: real images, no download, about a minute on two cores."""
    return RunConfig(
        data=DataConfig("digits", size=32),
        model=ConvVQVAEConfig(
            hidden=32,
            downsamplings=2,
            residual_blocks=2,
            residual_hidden=16,
            quantizer={
                "type": "VectorQuantize",
                "dim": 16,
                "codebook_size": 128,
                "commitment_weight": 0.25,
            },
        ),
        train=TrainConfig(epochs=30, batch_size=64, lr=2e-3, log_every=10, eval_every=66, checkpoint_every=132),
    )
