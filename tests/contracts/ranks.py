"""What one rank of ``test_12_ranks.py`` runs, under torchrun, and one process on all rows: the same training.

Ranks differ in their number of rows, and every fourth step leaves one of them without any. Where parameters learn, the
gradients of ranks are averaged as DDP does, so there every rank has as many rows as the others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tests.contracts.cases import CASES, Case
from tests.contracts.compare import flat_state, loss_of, windows

RANKS, STEPS, LONG = 4, 6, 50
# They let ranks differ on purpose, or are made from rows of their own before the ranks meet.
APART = {"VectorQuantize-ema_of_one_rank-rows", "HierarchicalVQ-of_one_rank", "ProductQuantize-fitted"}
# Their loss is a mean over the rows or scales that dropout left on a rank, which no average over ranks makes one mean.
OWN_MEANS = {"MultiScaleVQ-dropout_each_map"}
# Directions and roundings that torch's generator draws for every row: a rank's own.
DRAWN = {"noise_dropout", "dither", "a_share_of_rows", "rounded", "half_rounded", "diveq", "noise_substitution"}
# Layouts and projections, which no rank sees.
PLACES = ("image", "sequence", "volume", "oblong", "larger", "channel", "projected", "narrow", "tanh")
# Of families whose ranks share sums for a loss, or usage alone, the methods that differ in what is shared.
FEW = {
    "FSQ": ("plain", "noise_dropout", "dither"),
    "FSP": ("plain", "rounded", "moments"),
    "LFQ": ("plain", "commitment", "row_entropy_alone", "batch_entropy_alone", "grouped_entropy", "a_share_of_rows"),
}
LONGEST = ("plain-rows", "kmeans_init-rows", "gradient-rows", "stale-rows", "cvq_closest-rows", "affine_running-rows")


def cases() -> list[Case]:
    """Every method of every family, in its plainest layout."""
    families = {"VectorQuantize", "LFQ", "BSQ", "FSQ", "FSP", "LatentQuantize"}

    def plainest(case: Case) -> bool:
        family, _, rest = case.name.partition("-")
        if family in families:
            few = [f"{method}-rows" for method in FEW.get(family, ())]
            return rest in few if few else rest.endswith("-rows")
        return not any(place in case.name for place in PLACES)

    return [case for case in CASES if plainest(case) and case.name not in APART | OWN_MEANS]


def steps_of(case: Case) -> int:
    return LONG if case.name.removeprefix("VectorQuantize-") in LONGEST else STEPS


def draws_alone(case: Case) -> bool:
    """Whether ranks draw numbers of their own, so that one process would draw others."""
    return case.noisy or any(word in case.name for word in DRAWN) or case.name.startswith("BinaryMapper")


def rows_of_ranks(step: int, even: bool) -> list[int]:
    if even:
        return [2] * RANKS
    return [(2 + (3 * rank + step) % 3) if (rank + step) % RANKS else 0 for rank in range(RANKS)]


def batches(case: Case, rank: int | None, even: bool) -> Iterator[Tensor]:
    for step in range(steps_of(case)):
        rows = rows_of_ranks(step, even)
        generator = torch.Generator().manual_seed(100 + step)
        x = torch.randn((sum(rows), *case.shape[1:]), generator=generator) * 0.7
        yield x if rank is None else x.split(rows)[rank]


def trained(case: Case, rank: int | None) -> dict[str, Tensor]:
    """State, first gradients and windows after training on a rank's rows, or (None) on those of all ranks."""
    quantizer = case.build().train()
    parameters = [p for p in quantizer.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1) if parameters else None
    model: Any = quantizer
    frozen = case.name.endswith("-frozen")  # its parameter gets no gradient, and DDP has to be told
    if parameters and rank is not None:
        model = DistributedDataParallel(quantizer, find_unused_parameters=frozen)
    found: dict[str, Tensor] = {}
    for x in batches(case, rank, even=bool(parameters)):
        out = model(x)
        loss = out.quantized.square().mean() + loss_of(out)
        if optimizer is None or not loss.requires_grad:
            continue
        optimizer.zero_grad()
        loss.backward()
        if not found:
            found = {f"gradient of {n}": p.grad.clone() for n, p in quantizer.named_parameters() if p.grad is not None}
        optimizer.step()
    for number, window in enumerate(windows(quantizer)):
        found[f"usage {number}"], found[f"perplexity {number}"] = window.usage(), window.perplexity()
    return found | flat_state(quantizer)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.save({case.name: trained(case, rank) for case in cases()}, folder / f"{rank}.pt")
    if rank == 0:  # which may evaluate on its own, and waits for nobody
        for case in cases():
            quantizer = case.build().eval()
            quantizer(case.x(1))
            quantizer.decode(quantizer.encode(case.x(2)))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
