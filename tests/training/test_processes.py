"""Two processes on one machine, as Accelerate and torchrun start them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from tests.processes import free_port
from tests.training.conftest import metric_lines, small_run
from vqkit.models import load
from vqkit.training import train

WORKER = """
import sys
import vqkit.training.pictures
from vqkit.training import RunConfig, loop, train
import hashlib, torch

vqkit.training.pictures.draw_run = lambda *args: []
run, folder = RunConfig.read(sys.argv[1]), sys.argv[2]
train(run, folder, progress=False)
model = train(run.override(["train.steps=12"]), folder, resume=True, progress=False)
values = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
print(hashlib.sha256(values).hexdigest())
"""


def launch(run, folder):
    config = folder.with_suffix(".json")
    config.write_text(run.to_json())
    shared = {
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    command = [sys.executable, "-c", WORKER, str(config), str(folder)]
    children = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    digests = set()
    for child in children:
        digest, shown = child.communicate(timeout=300)
        digests.add(digest)
        assert child.returncode == 0, shown
        assert "Warning" not in shown
    assert len(digests) == 1


@pytest.mark.usefixtures("quick")
def test_two_processes_train_as_one_and_resume_as_they_were(tmp_path):
    settings = {"schedule": "constant", "eval_every": 6, "checkpoint_every": 6, "accumulate": 1}
    run = small_run(steps=6, **settings).override(["model.quantizer.stochastic_sample_codes=false"])
    launch(run, tmp_path / "two")
    alone = train(run.override(["train.steps=12"]), tmp_path / "one", progress=False).state_dict()
    together = load(tmp_path / "two" / "model").state_dict()
    assert all(torch.allclose(alone[name].double(), together[name].double(), atol=1e-5) for name in alone)
    one, two = metric_lines(tmp_path / "one")[-1], metric_lines(tmp_path / "two")[-1]
    assert one["mse"] == pytest.approx(two["mse"], rel=1e-4)
    assert one["dataset_perplexity"] == pytest.approx(two["dataset_perplexity"], rel=1e-2)
