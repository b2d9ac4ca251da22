"""One loop that trains any model of ``vqkit.models``, and what belongs to it."""

from vqkit.training.config import DataConfig, RunConfig
from vqkit.training.errors import NonFiniteError
from vqkit.training.evaluate import Evaluation, evaluate
from vqkit.training.loop import train
from vqkit.training.metrics import read_metrics
from vqkit.training.run_folder import read_run
from vqkit.training.signals import Stopped
from vqkit.training.train_config import TrainConfig

__all__ = [
    "DataConfig",
    "Evaluation",
    "NonFiniteError",
    "RunConfig",
    "Stopped",
    "TrainConfig",
    "evaluate",
    "read_metrics",
    "read_run",
    "train",
]
