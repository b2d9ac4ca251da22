"""An autoencoder around a quantizer on two processes, under DDP and FSDP2, equals one process."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from tests.processes import RANKS, on_ranks, process_group
from vqkit import FSQ, IBQ, LFQ, GumbelQuantize, Quantizer, ResidualVQ, SimVQ, VectorQuantize
from vqkit.codebook import InPlace, OnlineClustering, ReplaceStale, accumulating
from vqkit.errors import ArgumentError

DIM, SIZE, STEPS = 8, 16, 6
STALE = ReplaceStale(4.0)
MAKERS: dict[str, Callable[[], Quantizer]] = {
    "average": lambda: VectorQuantize(DIM, SIZE, revive=STALE),
    "projected": lambda: VectorQuantize(DIM, SIZE, codebook_dim=4, kmeans_init=True),
    "stochastic": lambda: VectorQuantize(DIM, SIZE, stochastic_sample_codes=True),
    "gradient": lambda: VectorQuantize(DIM, SIZE, learnable_codebook=True, kmeans_init=True, revive=STALE),
    "gradient_heads": lambda: VectorQuantize(
        DIM, SIZE, heads=2, separate_codebook_per_head=True, learnable_codebook=True, revive=OnlineClustering("random")
    ),
    "residual": lambda: ResidualVQ(DIM, 3, SIZE, quantize_dropout=True),
    "lfq": lambda: LFQ(dim=DIM, codebook_size=SIZE),
    "fsq": lambda: FSQ([5, 3, 3], DIM),
    "sim": lambda: SimVQ(DIM, SIZE),
    "ibq": lambda: IBQ(DIM, SIZE),
    "gumbel": lambda: GumbelQuantize(DIM, SIZE, 2),
}
WAYS = ("ddp", "no_sync", "checkpointed", "fsdp", "fsdp_root")


class Autoencoder(nn.Module):
    def __init__(self, quantizer: Quantizer, checkpointed: bool):
        super().__init__()
        self.encoder, self.quantizer, self.decoder = nn.Linear(6, DIM), quantizer, nn.Linear(DIM, 6)
        self.checkpointed = checkpointed

    def forward(self, x: Tensor) -> Tensor:
        out = self.quantizer(self._run(self.encoder, x))
        error = (self._run(self.decoder, out.quantized) - x).square().mean()
        return error + out.loss.sum() if hasattr(out, "loss") else error

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        return checkpoint(module, x, use_reentrant=False) if self.checkpointed else module(x)


def wrapped(model: Autoencoder, way: str) -> Any:
    if not way.startswith("fsdp"):
        return DistributedDataParallel(model)
    parts = [] if way == "fsdp_root" else [model.encoder, model.quantizer, model.decoder]
    for module in (*parts, model):
        fully_shard(module)
    return model


def batch(step: int, rank: int | None, parts: int) -> list[Tensor]:
    """A rank's micro-batches, or those of all ranks."""
    all_x = [torch.randn(6, 5, 6, generator=torch.Generator().manual_seed(10 * step + r)) for r in range(RANKS)]
    if rank is not None:
        return list(all_x[rank].chunk(parts))
    return [torch.cat(micro) for micro in zip(*(x.chunk(parts) for x in all_x), strict=True)]


def trained(name: str, way: str, rank: int | None) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = Autoencoder(MAKERS[name](), way == "checkpointed")
    whole = model if rank is None else wrapped(model, way)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(STEPS):
        micro = batch(step, rank, 2 if way == "no_sync" else 1)
        for number, x in enumerate(micro):
            unfinished = number < len(micro) - 1
            with (
                whole.no_sync() if unfinished and rank is not None else nullcontext(),
                accumulating(model, defer=unfinished),
            ):
                (whole(x) / len(micro)).backward()
        optimizer.step()
        optimizer.zero_grad()
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    # A copy: what is read of a shard may be a view of all of it.
    return {name: getattr(value, "full_tensor", lambda v=value: v)().clone() for name, value in state.items()}


def worker(rank: int, port: int, folder: str) -> None:
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")  # that a Linear's output is a view
    with process_group(rank, port):
        found: dict[Any, Any] = {(name, way): trained(name, way, rank) for name in MAKERS for way in WAYS}
        model = wrapped(Autoencoder(VectorQuantize(DIM, SIZE, update=InPlace(torch.optim.SGD)), False), "fsdp")
        with pytest.raises(ArgumentError) as refusal:
            model(batch(0, rank, 1)[0])
        torch.save(found | {"in_place": str(refusal.value)}, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return on_ranks(worker, tmp_path_factory.mktemp("wrapped"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MAKERS)
def test_it_trains_as_one_process(ranks: list[dict], name: str, way: str):
    first, second = (rank[name, way] for rank in ranks)
    expected = trained(name, way, None)
    assert first.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], value, rtol=1e-5, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


def test_an_optimizer_in_place_refuses_shards(ranks: list[dict]):
    expected = "update: InPlace steps whole codes: expected a codebook outside fully_shard, got shards"
    assert [rank["in_place"] for rank in ranks] == [expected] * RANKS


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_quantizer_does_not_learn_twice(reentrant: bool):
    x = torch.randn(20, DIM, requires_grad=True)
    fsq = FSQ([3] * DIM)
    out = checkpoint(lambda rows: fsq(rows).quantized, x, use_reentrant=reentrant)
    out.sum().backward()
    assert torch.equal(x.grad, torch.autograd.grad(fsq.eval()(x).quantized.sum(), x)[0])
    assert int(fsq.window.cursor) == 20
    vq = VectorQuantize(DIM, SIZE, rotation_trick=True)  # whose gradient needs what the forward saw
    out = checkpoint(lambda rows: vq(rows).quantized, x, use_reentrant=reentrant)
    before = {name: value.clone() for name, value in vq.state_dict().items()}
    with pytest.raises(ArgumentError, match="activation checkpointing runs again"):
        out.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in vq.state_dict().items())
