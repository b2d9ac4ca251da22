"""Two processes on gloo, ragged and sometimes empty: residual stages, groups and fits equal one process on all rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.processes import on_ranks, process_group
from vqkit.codebook import accumulating
from vqkit.errors import ArgumentError
from vqkit.quantizers import (
    GroupedResidualVQ,
    LatentQuantize,
    Quantizer,
    ResidualFSQ,
    ResidualLFQ,
    ResidualSimVQ,
    ResidualVQ,
    SplitResidualVQ,
    StageDropout,
    VectorQuantize,
)

STEPS, DIM, SIZE, ROWS = 6, 4, 8, 5
PER_SAMPLE = StageDropout(per_sample=True)


def _rvq(**options) -> Callable[[], Quantizer]:
    return lambda: ResidualVQ(DIM, 3, SIZE, **options)


MAKERS: dict[str, Callable[[], Quantizer]] = {
    "plain": _rvq(),
    "shared": _rvq(shared_codebook=True),
    "dropout": _rvq(quantize_dropout=True),
    "dropout_per_sample": _rvq(dropout=PER_SAMPLE),
    "dropout_per_sample_shared": _rvq(dropout=PER_SAMPLE, shared_codebook=True),
    "beam": _rvq(beam_size=3),
    "beam_dropout": _rvq(beam_size=3, dropout=PER_SAMPLE),
    "kmeans": _rvq(kmeans_init=True),
    "kmeans_beam": _rvq(kmeans_init=True, beam_size=3),
    "kmeans_dropout": _rvq(kmeans_init=True, dropout=PER_SAMPLE),
    "kmeans_shared": _rvq(kmeans_init=True, shared_codebook=True),
    "grouped": lambda: GroupedResidualVQ(DIM, groups=2, num_quantizers=2, codebook_size=SIZE, dropout=PER_SAMPLE),
    "split": lambda: SplitResidualVQ(DIM, 3, SIZE, 2, dropout=PER_SAMPLE),
    "sim": lambda: ResidualSimVQ(DIM, 2, SIZE, dropout=PER_SAMPLE),
    "fsq": lambda: ResidualFSQ([3] * DIM, 2, dropout=PER_SAMPLE),
    "lfq": lambda: ResidualLFQ(2, 2**DIM, dropout=PER_SAMPLE),
    "latent": lambda: LatentQuantize([3] * DIM, DIM, channel_dim=-1),
}
FITTED: dict[str, Callable[[], Quantizer]] = {
    "vector": lambda: VectorQuantize(DIM, SIZE),
    "residual": _rvq(),
    "heads": lambda: VectorQuantize(DIM, SIZE, heads=2, codebook_dim=2, separate_codebook_per_head=True),
}


def batches(rank: int) -> list[Tensor]:
    """Ragged, and every other one empty on one rank."""
    generator = torch.Generator().manual_seed(10 + rank)
    sizes = [4 + rank, 0 if rank else 3] * STEPS
    return [torch.randn(sizes[s], ROWS, DIM, generator=generator) for s in range(STEPS)]


def trained(make: Callable[[], Quantizer], steps: list[Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    quantizer = make()
    for x in steps:
        quantizer(x)
    return quantizer.state_dict() | {"usage": quantizer.usage(), "perplexity": quantizer.perplexity()}


def drawn(rank: int | None) -> list[Tensor]:
    """How many stages every item of two micro-batches keeps."""
    torch.manual_seed(0)
    rvq = ResidualVQ(DIM, 16, SIZE, dropout=PER_SAMPLE)
    parts = [batches(r)[:2] for r in range(2)]
    micro = parts[rank] if rank is not None else [torch.cat(pair) for pair in zip(*parts, strict=True)]
    kept = []
    for number, x in enumerate(micro):
        with accumulating(rvq, defer=number == 0):
            kept.append((rvq(x).indices >= 0).sum(-1)[:, 0])
    return kept


def fitted(make: Callable[[], Quantizer], loader: list[Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return make().fit(loader).state_dict()


def worker(rank: int, port: int, folder: str) -> None:
    with process_group(rank, port):
        found: dict = {name: trained(make, batches(rank)) for name, make in MAKERS.items()}
        # One rank has one batch more than the other.
        found |= {f"fit {name}": fitted(make, batches(rank)[: STEPS - rank]) for name, make in FITTED.items()}
        found["drawn"] = drawn(rank)
        try:
            VectorQuantize(DIM, SIZE).fit([torch.randn(20, DIM)] * (1 - rank))
        except ArgumentError as error:
            found["no batch"] = str(error)
        torch.save(found, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return on_ranks(worker, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", MAKERS)
def test_two_ranks_hold_the_same_bits_and_equal_one_process(ranks: list[dict], name: str):
    together = [torch.cat(pair) for pair in zip(batches(0), batches(1), strict=True)]
    for key, value in trained(MAKERS[name], together).items():
        assert torch.equal(ranks[0][name][key], ranks[1][name][key]), key
        torch.testing.assert_close(ranks[0][name][key], value, rtol=1e-5, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


def test_items_of_micro_batches_on_ranks_draw_as_those_of_one_process(ranks: list[dict]):
    for number, together in enumerate(drawn(None)):
        assert torch.equal(torch.cat([ranks[0]["drawn"][number], ranks[1]["drawn"][number]]), together)


def test_a_rank_without_a_batch_to_fit_is_told_on_all_ranks(ranks: list[dict]):
    assert [found["no batch"] for found in ranks] == [
        "loader: expected at least one batch on every rank, got 1 ranks without"
    ] * 2


@pytest.mark.parametrize("name", FITTED)
def test_a_fit_on_ranks_places_the_same_codes(ranks: list[dict], name: str):
    first, second = (found[f"fit {name}"] for found in ranks)
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
