from __future__ import annotations

from vqkit.models import ConvVQVAEConfig
from vqkit.training.config import DataConfig, RunConfig
from vqkit.training.train_config import TrainConfig


def mnist() -> RunConfig:
    """MNIST as 7x7 codes of a small convolutional VQ-VAE.

    ``data.source`` is the folder of MNIST's idx files (or "hf:ylecun/mnist").
    """
    return RunConfig(
        data=DataConfig(channels=1, valid_fraction=0.02),
        model=ConvVQVAEConfig(
            hidden=64,
            downsamplings=2,
            residual_blocks=2,
            residual_hidden=32,
            quantizer={
                "type": "VectorQuantize",
                "dim": 16,
                "codebook_size": 128,
                "commitment_weight": 0.25,
            },
        ),
        train=TrainConfig(epochs=2, batch_size=128, lr=1e-3, log_every=20, eval_every=200, checkpoint_every=200),
    )
