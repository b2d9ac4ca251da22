"""Two processes on gloo: equal to one process on the concatenated batch, and to each other to the bit."""

from __future__ import annotations

import pytest
import torch

from tests.processes import on_ranks, process_group
from vqkit import VectorQuantize
from vqkit.codebook import OnlineClustering, ReplaceRare, ReplaceStale, ReplaceUnused

STEPS, DIM, SIZE = 8, 6, 16
OPTIONS = {
    "default": {},
    "stale": {"revive": ReplaceStale(1.0)},
    "rare": {"revive": ReplaceRare(share=0.5, window=1.0), "use_cosine_sim": True},
    "unused": {"revive": ReplaceUnused(2)},
    "cvq": {"revive": OnlineClustering("probability")},
    "affine": {"affine_param": True},
    "kmeans": {"kmeans_init": True},
}


def batches(rank: int) -> list[torch.Tensor]:
    """Ragged, and one of them empty on one rank."""
    generator = torch.Generator().manual_seed(10 + rank)
    sizes = [20 + 5 * rank, 0 if rank else 7] * STEPS
    return [torch.randn(sizes[s], DIM, generator=generator) for s in range(STEPS)]


def train(name: str, steps: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    quantizer = VectorQuantize(DIM, SIZE, **OPTIONS[name])
    for x in steps:
        quantizer(x)
    return quantizer.state_dict() | {"window": quantizer.book.window.counts()}


def worker(rank: int, port: int, folder: str) -> None:
    with process_group(rank, port):
        torch.save({name: train(name, batches(rank)) for name in OPTIONS}, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return on_ranks(worker, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", OPTIONS)
def test_two_ranks_hold_the_same_bits(ranks: list[dict], name: str):
    for key, value in ranks[0][name].items():
        assert torch.equal(value, ranks[1][name][key]), key


@pytest.mark.parametrize("name", OPTIONS)
def test_two_ranks_equal_one_process_on_both_batches(ranks: list[dict], name: str):
    together = [torch.cat(pair) for pair in zip(batches(0), batches(1), strict=True)]
    for key, value in train(name, together).items():
        torch.testing.assert_close(ranks[0][name][key], value, rtol=1e-5, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
