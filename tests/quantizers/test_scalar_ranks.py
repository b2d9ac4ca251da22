"""Two processes on gloo: FSP's loss and gradients, and the values of LatentQuantize, equal those of one process on both
batches.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.distributed as dist

from tests.processes import on_ranks, process_group
from vqkit import FSP, LatentQuantize

SIZES = [(20, 33), (7, 0), (1, 0), (0, 0)]  # ragged, one rank empty, one row, none


def batches(rank: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(10 + rank)
    return [torch.randn(sizes[rank], 6, generator=generator) + rank for sizes in SIZES]


def penalised(steps: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """FSP's loss and the gradients of its projection, per step; the mean over the ranks, as DDP takes it."""
    torch.manual_seed(0)
    fsp = FSP([8, 5, 2], dim=6, vector_norm="kurt")
    results = []
    for x in steps:
        fsp.zero_grad()
        loss = fsp(x).loss
        loss.backward()
        weight = fsp.projections.project_in.weight
        if dist.is_initialized():
            dist.all_reduce(weight.grad)
            weight.grad /= dist.get_world_size()
        results.append({"loss": loss.detach(), "gradient": weight.grad.clone()})
    return results


def learned(steps: list[torch.Tensor]) -> list[torch.Tensor]:
    quantizer = LatentQuantize([5, 8, 3] * 2, 6, in_place_codebook_optimizer=partial(torch.optim.SGD, lr=0.5))
    for x in steps:
        quantizer(x)
    return [*quantizer.tables, quantizer.usage(), quantizer.perplexity()]


def worker(rank: int, port: int, folder: str) -> None:
    with process_group(rank, port):
        torch.save({"penalised": penalised(batches(rank)), "learned": learned(batches(rank))}, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return on_ranks(worker, tmp_path_factory.mktemp("ranks"))


TOGETHER = [torch.cat(pair) for pair in zip(batches(0), batches(1), strict=True)]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("step", range(len(SIZES)))
def test_the_moments_are_those_of_all_rows(ranks: list[dict], rank: int, step: int):
    expected = penalised(TOGETHER)[step]
    for name, value in ranks[rank]["penalised"][step].items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    assert step > 0 or bool(expected["gradient"].any())


def test_the_values_are_those_learned_from_all_rows(ranks: list[dict]):
    for first, second, expected in zip(*(r["learned"] for r in ranks), learned(TOGETHER), strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, expected, rtol=1e-5, atol=1e-5)
