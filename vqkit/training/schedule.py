from __future__ import annotations

import math

from vqkit.training.train_config import TrainConfig


def learning_rate(config: TrainConfig, step: int, total: int | None) -> float:
    """The learning rate of a step (the first is 0): a pure function, so a continued run needs no scheduler state.

    Args:
        config: its ``lr``, ``schedule`` and ``warmup_steps``.
        step: steps already taken.
        total: the step the run ends at; None only with a constant schedule.

    Examples:
        >>> config = TrainConfig(steps=100, lr=1.0, schedule="cosine", warmup_steps=10)
        >>> [round(learning_rate(config, step, 100), 3) for step in (0, 9, 10, 55, 99)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant" or total is None:
        return config.lr
    progress = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return config.lr * (1 + math.cos(math.pi * min(1.0, progress))) / 2
