"""A run trains, evaluates and draws around any kind of quantizer."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from vqkit.models import load
from vqkit.training import presets, train
from vqkit.training.code_counts import code_counts, usage_and_perplexity
from vqkit.training.metrics import read_metrics

KINDS = {
    "FSQ": {"type": "FSQ", "levels": [5, 4, 3], "dim": 8},
    "ResidualVQ": {"type": "ResidualVQ", "dim": 8, "num_quantizers": 2, "codebook_size": [16, 8]},
    "GroupedResidualVQ": {"type": "GroupedResidualVQ", "dim": 8, "groups": 2, "num_quantizers": 2, "codebook_size": 8},
    "LFQ of many codes": {"type": "LFQ", "dim": 40, "codebook_size": 2**40, "entropy_group_size": 10},
}


@pytest.mark.parametrize("name", KINDS)
def test_a_run(name: str, tmp_path: Path):
    run = presets.get("digits").override(["train.epochs=null", "train.steps=4", "train.eval_every=4"])
    run = run.override([f"model.quantizer={__import__('json').dumps(KINDS[name])}"])
    model = train(run, tmp_path / "run", progress=False)
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(math.isfinite(line["loss"]) for line in lines if line["split"] == "train")
    again = load(tmp_path / "run" / "model")
    x = torch.rand(2, *again.spec.shape)
    assert torch.equal(again.encode(x), model.eval().cpu().encode(x))


def test_usage_is_the_mean_over_a_rows_indices():
    from vqkit import ResidualVQ

    rvq = ResidualVQ(4, codebook_size=(4, 2))
    counts = code_counts(rvq, torch.tensor([[0, 0], [1, 0], [1, 0]]))
    used, perplexity = usage_and_perplexity(rvq, counts)
    assert used.item() == 0.5
    assert math.isclose(perplexity.item(), (math.exp(-math.log(1 / 3) / 3 - 2 * math.log(2 / 3) / 3) + 1) / 2)
