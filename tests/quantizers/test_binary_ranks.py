"""Two processes on gloo under DDP: entropies and the parameters' gradients are those of one process on both batches."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.processes import on_ranks, process_group
from vqkit import BSQ, LFQ

OPTIONS = {
    "LFQ": (LFQ, {"dim": 6, "codebook_size": 16, "inv_temperature": 3.0}),
    "LFQ-codebooks": (LFQ, {"dim": 6, "codebook_size": 8, "num_codebooks": 3, "inv_temperature": 3.0}),
    "LFQ-softplus": (LFQ, {"dim": 6, "codebook_size": 16, "experimental_softplus_entropy_loss": True}),
    "LFQ-row_entropy_alone": (LFQ, {"dim": 6, "codebook_size": 16, "diversity_gamma": 0.0, "inv_temperature": 3.0}),
    "BSQ": (BSQ, {"dim": 6, "codebook_size": 16, "inv_temperature": 3.0}),
    "BSQ-grouped": (BSQ, {"dim": 6, "codebook_size": 256, "group_size": 4, "inv_temperature": 3.0}),
}
# rank 0 and rank 1: alike, ragged, one of them empty, one of them masked altogether
BATCHES = {"alike": (20, 20), "ragged": (30, 7), "empty": (13, 0), "masked": (15, 9)}


class Encoder(nn.Module):
    """A quantizer behind a layer, as a model would train it."""

    def __init__(self, name: str):
        super().__init__()
        torch.manual_seed(0)
        make, options = OPTIONS[name]
        self.layer, self.quantizer = nn.Linear(6, 6), make(**options)

    def forward(self, x: torch.Tensor, mask: torch.Tensor):
        out = self.quantizer(self.layer(x), mask=mask, return_loss_breakdown=True)
        return out.loss, *out.loss_breakdown


def batch(kind: str, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    size = BATCHES[kind][rank]
    x = torch.randn(size, 6, generator=torch.Generator().manual_seed(10 + rank))
    return x, torch.full((size,), not (kind == "masked" and rank == 1))


def step(model: nn.Module, x: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    loss, per_sample, entropy, _ = model(x, mask)
    loss.backward()
    values = {"loss": loss.detach(), "per_sample": per_sample.detach(), "batch": entropy.detach()}
    names = [(name.removeprefix("module."), p) for name, p in model.named_parameters() if "project_out" not in name]
    return values | {name: parameter.grad.clone() for name, parameter in names}


def worker(rank: int, port: int, folder: str) -> None:
    with process_group(rank, port):
        results = {}
        for name in OPTIONS:
            for kind in BATCHES:
                # What comes out of the quantizer is left unused, so the projection out gets no gradient.
                model = nn.parallel.DistributedDataParallel(Encoder(name), find_unused_parameters=True)
                results[f"{name}/{kind}"] = step(model, *batch(kind, rank))
        model = Encoder("LFQ").eval()
        if rank == 0:  # an evaluation of one rank alone must not wait for the others
            results["alone"] = {"loss": model(*batch("alike", 0))[0].detach()}
        torch.save(results, f"{folder}/{rank}.pt")
        dist.barrier()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return on_ranks(worker, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", BATCHES)
def test_two_ranks_under_ddp_equal_one_process(ranks: list[dict], name: str, kind: str):
    parts = [batch(kind, rank) for rank in range(2)]
    expected = step(Encoder(name), *(torch.cat(pair) for pair in zip(*parts, strict=True)))
    for rank in range(2):
        got = ranks[rank][f"{name}/{kind}"]
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(got[key], value, rtol=1e-5, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}")
    assert any(bool(value.any()) for key, value in expected.items() if key.endswith("weight"))


def test_one_rank_may_evaluate_alone(ranks: list[dict]):
    assert torch.equal(ranks[0]["alone"]["loss"], Encoder("LFQ").eval()(*batch("alike", 0))[0].detach())
