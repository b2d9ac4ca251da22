"""Ranks that die, and states kept by as many ranks as there were, and read by fewer."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import fully_shard

from tests.processes import free_port, process_group
from tests.torchrun import ROOT
from vqkit import ResidualVQ, VectorQuantize

TIMEOUT = 5  # seconds that a rank waits for another

DYING = f"""
import os, sys, torch
from tests.processes import process_group
from vqkit import VectorQuantize

rank, port = int(sys.argv[1]), int(sys.argv[2])
with process_group(rank, port, seconds={TIMEOUT}):
    vq = VectorQuantize(4, 8)
    for step in range(100):
        if step == 3 and rank == 1:
            os._exit(7)
        vq(torch.randn(5, 4))
print("finished")
"""
ABSENT = DYING.replace("os._exit(7)", "import time; time.sleep(60)")  # alive, but it calls nothing


@pytest.mark.parametrize("worker", [DYING, ABSENT], ids=["dead", "absent"])
def test_the_others_end_with_an_error(worker: str):
    port, environment = free_port(), {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", worker]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(port)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        shown, error = ranks[0].communicate(timeout=120)
        assert ranks[0].returncode == 1
        assert "finished" not in shown
        assert "RuntimeError" in error or "DistBackendError" in error, error
    finally:
        ranks[1].kill()
        ranks[1].communicate()


class Model(nn.Module):
    """Averages, an optimizer's parameters, and layers around them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 8)
        self.averaged = ResidualVQ(8, 2, 16)
        self.learned = VectorQuantize(8, 16, heads=2, separate_codebook_per_head=True, learnable_codebook=True)

    def forward(self, x: Tensor) -> Tensor:
        first = self.averaged(self.encoder(x))
        second = self.learned(first.quantized)
        return second.quantized.square().mean() + first.loss.sum() + second.loss


def sharded(seed: int) -> Model:
    torch.manual_seed(seed)
    model = Model()
    for module in (model.encoder, model.learned, model):
        fully_shard(module)
    return model


def whole(model: Model) -> dict[str, Tensor]:
    return {k: getattr(v, "full_tensor", lambda v=v: v)().clone() for k, v in model.state_dict().items()}


def saving(rank: int, port: int, ranks: int, folder: str) -> None:
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
    with process_group(rank, port, ranks):
        model = sharded(0)
        optimizer = torch.optim.Adam(model.parameters())
        for step in range(3):
            model(torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(10 * step + rank))).backward()
            optimizer.step()
            optimizer.zero_grad()
        dcp.save(get_model_state_dict(model), checkpoint_id=f"{folder}/checkpoint")
        state = whole(model)
        if rank == 0:
            torch.save(state, f"{folder}/expected.pt")


def loading(rank: int, port: int, ranks: int, folder: str) -> None:
    with process_group(rank, port, ranks):
        model = sharded(1)
        state = get_model_state_dict(model)
        dcp.load(state, checkpoint_id=f"{folder}/checkpoint")
        set_model_state_dict(model, state)
        torch.save(whole(model), f"{folder}/{ranks}-{rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    mp.spawn(saving, (free_port(), 4, str(folder)), nprocs=4)
    return folder


def assert_same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


def test_a_state_saved_by_four_ranks_is_read_by_two(folder: Path):
    mp.spawn(loading, (free_port(), 2, str(folder)), nprocs=2)
    expected = torch.load(folder / "expected.pt", weights_only=True)
    for rank in range(2):
        assert_same(torch.load(folder / f"2-{rank}.pt", weights_only=True), expected)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_state_saved_by_four_ranks_is_read_by_one_without_a_group(folder: Path):
    model = Model()
    state = model.state_dict()
    dcp.load(state, checkpoint_id=folder / "checkpoint", no_dist=True)
    model.load_state_dict(state)
    assert_same(model.state_dict(), torch.load(folder / "expected.pt", weights_only=True))
    model(torch.randn(4, 5, 6)).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())
