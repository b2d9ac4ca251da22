"""Four processes on gloo: groups given, ranks that see nothing, modules older than the group, collectives counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.processes import on_ranks, process_group
from vqkit import FSQ, LFQ, GroupedResidualVQ, MultiScaleVQ, Quantizer, ResidualVQ, VectorQuantize, distributed
from vqkit.errors import ArgumentError

RANKS, STEPS, DIM, SIZE = 4, 4, 4, 8
MAKERS: dict[str, Callable[[], Quantizer]] = {
    "vector": lambda: VectorQuantize(DIM, SIZE),
    "kmeans": lambda: VectorQuantize(DIM, SIZE, kmeans_init=True),
    "residual": lambda: ResidualVQ(DIM, 3, SIZE),
    "groups": lambda: GroupedResidualVQ(DIM, groups=2, num_quantizers=2, codebook_size=SIZE),
    "fsq": lambda: FSQ([3] * DIM),
    "lfq": lambda: LFQ(dim=DIM, commitment_loss_weight=0.1),
}


def batch(step: int, rank: int) -> tuple[Tensor, Tensor]:
    """Rows and their mask: one rank has every row masked, another now and then no rows at all."""
    generator = torch.Generator().manual_seed(10 * step + rank)
    x = torch.randn(0 if rank == 3 and step % 2 else 3 + rank, 5, DIM, generator=generator)
    mask = torch.rand(x.shape[:2], generator=generator) < 0.7
    return x, mask & (rank != 1)


def together(step: int, ranks: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    parts = [batch(step, rank) for rank in ranks]
    return torch.cat([x for x, _ in parts]), torch.cat([mask for _, mask in parts])


def trained(quantizer: Quantizer, batches: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    for x, mask in batches:
        quantizer(x, mask=mask)
    return quantizer.state_dict() | {"usage": quantizer.usage(), "perplexity": quantizer.perplexity()}


def seeded(name: str) -> Quantizer:
    torch.manual_seed(0)
    return MAKERS[name]()


@contextmanager
def counted_collectives() -> Iterator[Counter[str]]:
    """Names of the collectives called within."""
    names = [name for name in ("all_reduce", "all_gather", "broadcast", "barrier") if hasattr(dist, name)]
    kept, seen = {name: getattr(dist, name) for name in names}, Counter()
    gather = distributed._all_gather

    def counting(name: str, function):
        def call(*args, **kwargs):
            seen[name] += 1
            return function(*args, **kwargs)

        return call

    for name, function in kept.items():
        setattr(dist, name, counting(name, function))
    distributed._all_gather = counting("gather", gather)
    yield seen
    for name, function in kept.items():
        setattr(dist, name, function)
    distributed._all_gather = gather


def worker(rank: int, port: int, folder: str) -> None:
    older = {name: seeded(name) for name in MAKERS}  # than the group
    with process_group(rank, port, RANKS):
        mine = [batch(step, rank) for step in range(STEPS)]
        found: dict = {"all": {name: trained(quantizer, mine) for name, quantizer in older.items()}}

        halves = [dist.new_group([0, 2]), dist.new_group([1, 3])]
        distributed.set_group(halves[rank % 2])
        found["half"] = {name: trained(seeded(name), mine) for name in MAKERS}
        try:
            distributed.set_group(halves[1 - rank % 2])
        except ArgumentError as error:
            found["refused"] = str(error)
        distributed.set_group(None)

        apart = VectorQuantize(DIM, SIZE, sync_codebook=False)
        found["apart"] = trained(apart, mine)

        found["collectives"] = {}
        for name in (*MAKERS, "multiscale"):
            quantizer = MultiScaleVQ(DIM, SIZE, scales=(1, 2)) if name == "multiscale" else seeded(name)
            x = torch.randn(8, DIM, 2, 2) if name == "multiscale" else torch.randn(8, 5, DIM)
            quantizer(x)
            with counted_collectives() as seen:
                quantizer(x)
            found["collectives"][name] = dict(seen)
        torch.save(found, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return on_ranks(worker, tmp_path_factory.mktemp("groups"), RANKS)


def assert_one(states: list[dict[str, Tensor]], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        for state in states:
            assert torch.equal(state[name], states[0][name]), name
        torch.testing.assert_close(states[0][name], value, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", MAKERS)
def test_modules_older_than_the_group_and_ranks_without_a_row(ranks: list[dict], name: str):
    expected = trained(seeded(name), [together(step, (0, 1, 2, 3)) for step in range(STEPS)])
    assert_one([rank["all"][name] for rank in ranks], expected)


@pytest.mark.parametrize("half", [(0, 2), (1, 3)], ids=str)
@pytest.mark.parametrize("name", MAKERS)
def test_a_group_shares_among_its_own(ranks: list[dict], name: str, half: tuple[int, int]):
    expected = trained(seeded(name), [together(step, half) for step in range(STEPS)])
    assert_one([ranks[rank]["half"][name] for rank in half], expected)


def test_a_group_that_a_rank_is_not_in_is_refused(ranks: list[dict]):
    for number, rank in enumerate(ranks):
        assert rank["refused"] == f"group: expected one that this rank is in, got one without rank {number}"


def test_codebooks_kept_apart_learn_from_their_own_rows(ranks: list[dict]):
    for number in (0, 2):
        torch.manual_seed(0)
        alone = trained(VectorQuantize(DIM, SIZE, sync_codebook=False), [batch(step, number) for step in range(STEPS)])
        for name, value in alone.items():
            if "vectors" not in name and "sums" not in name:  # which begin where the rank's generator stood
                assert value.shape == ranks[number]["apart"][name].shape
    assert not torch.equal(ranks[0]["apart"]["book.ema_counts"], ranks[2]["apart"]["book.ema_counts"])


def test_a_step_shares_in_one_all_reduce_and_one_gather(ranks: list[dict]):
    expected = {name: {"all_reduce": 1, "gather": 1} for name in (*MAKERS, "multiscale")}
    expected["lfq"] = {"all_reduce": 2, "gather": 1}  # its loss needs sums before anything is learned
    for rank in ranks:
        assert rank["collectives"] == expected
