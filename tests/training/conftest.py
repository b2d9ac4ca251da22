from __future__ import annotations

import json

import pytest
import torch

from vqkit.models import MLPVQVAEConfig
from vqkit.training import DataConfig, RunConfig, TrainConfig


def small_run(**train) -> RunConfig:
    """A run of a second, with everything in it that could come out otherwise when it is resumed."""
    quantizer = {"type": "VectorQuantize", "dim": 8, "codebook_size": 32, "stochastic_sample_codes": True}
    settings = {
        "steps": 60,
        "batch_size": 32,
        "accumulate": 2,
        "ema_decay": 0.9,
        "warmup_steps": 5,
        "schedule": "cosine",
        "clip_norm": 1.0,
        "log_every": 10,
        "eval_every": 30,
        "checkpoint_every": 25,
        "trackers": [],
    }
    return RunConfig(
        DataConfig("digits"),
        MLPVQVAEConfig(quantizer=quantizer, codes=4, hidden=16),
        TrainConfig(**{**settings, **train}),
    )


def states_equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    other = b.state_dict()
    return a.state_dict().keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in a.state_dict().items())


def metric_lines(folder) -> list[dict]:
    """The lines of ``metrics.jsonl`` without the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.fixture
def quick(monkeypatch):
    """Leave the pictures out: they have their own tests, and cost more than the training here."""
    import vqkit.training.pictures

    monkeypatch.setattr(vqkit.training.pictures, "draw_run", lambda *args: [])
