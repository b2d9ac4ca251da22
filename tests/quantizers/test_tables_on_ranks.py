"""Two processes on gloo: what the ranks share in entropies and balanced plans equals one process on all rows."""

from __future__ import annotations

import pytest
import torch

from tests.processes import on_ranks, process_group
from vqkit import IBQ, SQVAE, GumbelQuantize, SimVQ, SinkhornVQ, VectorQuantize
from vqkit.codebook import Gradient, Normal
from vqkit.functional import sinkhorn_assignment
from vqkit.quantizers import Diversity

DIM, SIZE = 4, 8
LEARNED = {"update": Gradient(0.0), "revive": None}
MAKERS = {
    "ibq": lambda: IBQ(DIM, SIZE, init=Normal(), commitment_weight=0.0, entropy_weight=1.0, entropy_temperature=1.0),
    "diversity": lambda: VectorQuantize(
        DIM, SIZE, update=Gradient(0.0), revive=None, objectives=(Diversity(1.0, 2.0),)
    ),
    "gumbel": lambda: GumbelQuantize(DIM, SIZE, groups=2, kl_weight=0.0, diversity_weight=1.0, temperature=1.0),
}
# Rows on each of the two ranks: even, ragged, one rank with none.
SPLITS = [(20, 20), (33, 7), (40, 0)]


def rows(split: tuple[int, int], rank: int | None = None) -> torch.Tensor:
    x = torch.randn(40, DIM, generator=torch.Generator().manual_seed(3))
    return x if rank is None else x.split(split)[rank]


def shared_term(name: str, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The loss of all rows' choices and its gradient."""
    torch.manual_seed(0)
    quantizer = MAKERS[name]()
    if name == "ibq":  # the entropy of the mean alone: means of rows are averaged over ranks by the trainer
        quantizer.objectives = (type(quantizer.objectives[-1])(1.0, 1.0, sure=0.0),)
    loss = quantizer(x).loss
    loss.backward()
    found = {"loss": loss.detach()}
    return found | {n: p.grad for n, p in quantizer.named_parameters() if p.grad is not None}


def trained(make, steps: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    quantizer = make()
    indices = [quantizer(x).indices for x in steps]
    window = quantizer.book.window.counts()
    return {**quantizer.state_dict(), "window": window, "last": indices[-1]}


def worker(rank: int, port: int, folder: str) -> None:
    with process_group(rank, port):
        found: dict = {}
        for split in SPLITS:
            x = rows(split, rank)
            for name in MAKERS:
                found[name, split] = shared_term(name, x)
            found["plan", split] = sinkhorn_assignment(x, torch.eye(DIM), over_ranks=True)
            found["sinkhorn", split] = trained(lambda: SinkhornVQ(DIM, SIZE), [x, x])
            for name, make in (("sim", lambda: SimVQ(DIM, SIZE)), ("sq", lambda: SQVAE(DIM, SIZE))):
                found[name, split] = trained(make, [x, x])
        # A rank that evaluates on its own waits for nobody.
        if rank == 0:
            for make in (*MAKERS.values(), lambda: SinkhornVQ(DIM, SIZE), lambda: SQVAE(DIM, SIZE)):
                make().eval()(rows(SPLITS[0]))
        torch.save(found, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return on_ranks(worker, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("name", MAKERS)
def test_the_entropy_of_all_choices_and_its_gradient(ranks: list[dict], name: str, split: tuple[int, int]):
    expected = shared_term(name, rows(split))
    for key, value in expected.items():
        both = [rank[name, split][key] for rank in ranks]
        if key == "loss":
            assert torch.equal(both[0], both[1])
            torch.testing.assert_close(both[0], value, rtol=1e-5, atol=1e-6)
        else:  # what data-parallel training makes of the ranks' gradients
            torch.testing.assert_close((both[0] + both[1]) / 2, value, rtol=1e-4, atol=1e-6, msg=lambda m, k=key: k + m)


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_a_plan_balances_the_rows_of_all_ranks(ranks: list[dict], split: tuple[int, int]):
    together = torch.cat([rank["plan", split] for rank in ranks])
    assert torch.equal(together, sinkhorn_assignment(rows(split), torch.eye(DIM)))


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("sinkhorn", lambda: SinkhornVQ(DIM, SIZE)),
        ("sim", lambda: SimVQ(DIM, SIZE)),
        ("sq", lambda: SQVAE(DIM, SIZE)),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_state_and_usage_are_those_of_one_process(ranks: list[dict], name: str, make, split: tuple[int, int]):
    expected = trained(make, [rows(split), rows(split)])
    found = [rank[name, split] for rank in ranks]
    assert torch.equal(torch.cat([f.pop("last") for f in found]), expected.pop("last"))
    for key, value in expected.items():
        assert torch.equal(found[0][key], found[1][key]), key
        torch.testing.assert_close(found[0][key], value, rtol=1e-5, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
