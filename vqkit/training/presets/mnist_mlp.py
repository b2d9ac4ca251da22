from __future__ import annotations

from vqkit.models import MLPVQVAEConfig
from vqkit.training.config import DataConfig, RunConfig
from vqkit.training.train_config import TrainConfig


def mnist_mlp() -> RunConfig:
    """MNIST as 16 codes of width 32, through three linear layers each way.

    ``data.source`` is the folder of MNIST's idx files (or "hf:ylecun/mnist").
    """
    return RunConfig(
        data=DataConfig(channels=1, valid_fraction=0.02),
        model=MLPVQVAEConfig(
            codes=16,
            hidden=300,
            quantizer={
                "type": "VectorQuantize",
                "dim": 32,
                "codebook_size": 512,
                "decay": 0.8,
                "commitment_weight": 1.0,
            },
        ),
        train=TrainConfig(epochs=5, batch_size=128, lr=1e-3, log_every=20, eval_every=400, checkpoint_every=400),
    )
