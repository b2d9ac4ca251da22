"""Long training under everything that goes wrong: ``python -m tools.soak --steps 2000 --report docs/soak.md``.

Two runs see the same batches of random shapes, under random masks or lengths, with NaN and inf in one row of a hundred
and batches without a row. One of them is saved, thrown away and built again from its files at random steps. All of it
alone and on two ranks, of which either joins with empty batches. In the end all is finite, codes are in use, and what
was resumed equals what was not, and every rank the others, to the bit.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vqkit import FSQ, LFQ, SQVAE, GroupedResidualVQ, Quantizer, ResidualVQ, SimVQ, VectorQuantize, distributed
from vqkit.codebook import OnlineClustering, ReplaceStale, load_usage_state, usage_state
from vqkit.training.random_state import random_state, restore_random_state, seed_all

WIDTH, LATENT, CENTRES = 12, 16, 256
USED = 0.95  # of all codes
SETTLED = 1_000  # steps in which codes spread that nobody revives
RESTARTS = 0.05  # the chance of one at a step
WARM = 0.4  # the share of the steps after which that holds where dead codes are revived; elsewhere, at the end

REVIVING: dict[str, Callable[[], Quantizer]] = {
    "VectorQuantize": lambda: VectorQuantize(LATENT, 64),
    "VectorQuantize, cosine, 4 wide": lambda: VectorQuantize(LATENT, 64, codebook_dim=4, use_cosine_sim=True),
    "VectorQuantize, by gradient": lambda: VectorQuantize(LATENT, 64, learnable_codebook=True),
    "VectorQuantize, stochastic, stale": lambda: VectorQuantize(
        LATENT, 64, stochastic_sample_codes=True, revive=ReplaceStale(0.5)
    ),
    "VectorQuantize, rotation, online": lambda: VectorQuantize(
        LATENT, 64, rotation_trick=True, revive=OnlineClustering("closest")
    ),
    "ResidualVQ, dropout": lambda: ResidualVQ(LATENT, 4, 32, quantize_dropout=True),
    "GroupedResidualVQ": lambda: GroupedResidualVQ(LATENT, groups=2, num_quantizers=2, codebook_size=32),
}
OTHERS: dict[str, Callable[[], Quantizer]] = {
    "SimVQ": lambda: SimVQ(LATENT, 64),
    "SQVAE": lambda: SQVAE(LATENT, 64, precision=1.0),  # rows of one linear layer lie close together
    "FSQ": lambda: FSQ([5, 3, 3], LATENT),
    "LFQ": lambda: LFQ(dim=LATENT, codebook_size=64),
}
CASES = REVIVING | OTHERS


class Model(nn.Module):
    """A quantizer between two layers, some of whose latents are spoiled."""

    def __init__(self, quantizer: Quantizer):
        super().__init__()
        self.encoder, self.quantizer, self.decoder = nn.Linear(WIDTH, LATENT), quantizer, nn.Linear(LATENT, WIDTH)

    def forward(self, batch: Batch) -> Tensor:
        """The loss."""
        z = torch.where(batch.bad[..., None], batch.spoil, self.encoder(batch.x))
        out = self.quantizer(z, mask=batch.mask, lens=batch.lens)
        counted = batch.counted()[..., None]
        error = torch.where(counted, (self.decoder(out.quantized) - batch.x).square(), 0).sum()
        loss = error / counted.sum().clamp(min=1) / WIDTH
        if isinstance(self.quantizer, SQVAE):  # a likelihood: beside the error alone its posterior collapses
            loss = WIDTH / 2 * loss.clamp(min=1e-6).log()
        return loss + (out.loss.sum() if hasattr(out, "loss") else 0)


@dataclass(frozen=True)
class Batch:
    """Rows x (B, n, WIDTH), those that are ``bad``, what is in their place, and what is left out."""

    x: Tensor
    bad: Tensor
    spoil: float
    mask: Tensor | None
    lens: Tensor | None

    def counted(self) -> Tensor:
        """The rows that teach something: (B, n) bool."""
        kept = ~self.bad
        if self.mask is not None:
            kept = kept & self.mask
        if self.lens is not None:
            kept = kept & (torch.arange(self.x.shape[1]) < self.lens[:, None])
        return kept


def batch_of(step: int, rank: int) -> Batch:
    """What a rank sees at a step, whatever happened before."""
    g = torch.Generator().manual_seed(1_000 * step + rank)

    def below(limit: int) -> int:
        return int(torch.randint(limit, (), generator=g))

    centres = torch.randn(CENTRES, WIDTH, generator=torch.Generator().manual_seed(0))
    B, n = (0 if below(10) == 0 else 1 + below(16)), 1 + below(24)
    x = centres[torch.randint(CENTRES, (B, n), generator=g)] + 0.2 * torch.randn(B, n, WIDTH, generator=g)
    bad = torch.rand(B, n, generator=g) < 0.01
    kind = below(3)
    mask = torch.rand(B, n, generator=g) < 0.8 if kind == 0 else None
    lens = torch.randint(n + 1, (B,), generator=g) if kind == 1 else None
    return Batch(x, bad, (torch.nan, torch.inf, -torch.inf)[below(3)], mask, lens)


class Run:
    """A model in training, which can be saved, and built again from the file."""

    def __init__(self, name: str):
        self.name = name
        self.model = Model(CASES[name]())
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        ranks = distributed.world_size()
        self.wrapped: nn.Module = DistributedDataParallel(self.model) if ranks > 1 else self.model

    def step(self, batch: Batch) -> None:
        self.wrapped(batch).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def save(self, path: Path) -> None:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state | {"usage": usage_state(self.model), "random": random_state()}, path)

    @classmethod
    def resumed(cls, name: str, path: Path) -> Run:
        run, state = cls(name), torch.load(path, weights_only=True)
        run.model.load_state_dict(state["model"])
        run.optimizer.load_state_dict(state["optimizer"])
        load_usage_state(run.model, state["usage"])
        restore_random_state(state["random"])
        return run

    def state(self) -> dict[str, Tensor]:
        return {k: v for k, v in self.model.state_dict().items() if isinstance(v, Tensor)} | usage_state(self.model)

    def usage(self) -> float:
        """Of the table that is used least."""
        return float(self.model.quantizer.usage().min())


@dataclass
class Outcome:
    """What one rank saw."""

    name: str
    ranks: int
    steps: int
    rows: int = 0
    bad: int = 0
    empty: int = 0
    restarts: int = 0
    usage: float = 1.0
    state: dict[str, Tensor] = field(default_factory=dict)


class SoakError(AssertionError):
    """What must hold did not."""


def soak(name: str, steps: int, folder: Path) -> Outcome:
    """Train two runs in step, one of them restarted now and then; every rank calls this.

    Raises:
        SoakError: a state that is not finite, codes out of use, or a resumed run that differs.
    """
    rank, ranks = distributed.rank(), distributed.world_size()
    seed_all(1)
    straight = Run(name)
    seed_all(1)
    broken = Run(name)
    found = Outcome(name, ranks, steps)
    points = torch.Generator().manual_seed(7)
    streams = [random_state(), random_state()]
    path = folder / f"{rank}.pt"
    for step in range(steps):
        batch = batch_of(step, rank)
        found.rows += int(batch.counted().sum())
        found.bad += int(batch.bad.sum())
        found.empty += len(batch.x) == 0
        if float(torch.rand((), generator=points)) < RESTARTS:
            restore_random_state(streams[1])
            broken.save(path)
            broken = Run.resumed(name, path)
            streams[1] = random_state()
            found.restarts += 1
        for number, run in enumerate((straight, broken)):
            restore_random_state(streams[number])
            run.step(batch)
            streams[number] = random_state()
        if step % 50 == 49 or step == steps - 1:
            check(straight, broken, step)
            if name in REVIVING and step >= WARM * steps:
                found.usage = min(found.usage, straight.usage())
    found.usage = min(found.usage, straight.usage())
    if found.usage < USED and (name in REVIVING or steps >= SETTLED):
        raise SoakError(f"{name}: {found.usage:.1%} of the codes in use, expected {USED:.0%}")
    found.state = straight.state()
    return found


def check(straight: Run, broken: Run, step: int) -> None:
    """Raise unless all is finite and both runs hold the same bits."""
    other = broken.state()
    for key, value in straight.state().items():
        if not bool(value.isfinite().all()):
            raise SoakError(f"{straight.name}: {key} is not finite after step {step}")
        if not torch.equal(value, other[key]):
            raise SoakError(f"{straight.name}: {key} of the resumed run differs after step {step}")


# --- on ranks -------------------------------------------------------------------------------------------------------


def _rank(rank: int, ranks: int, port: int, names: list[str], steps: int, folder: str) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="[0-9]+ rows of .*'s input hold NaN or inf")  # as they are meant to
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if ranks > 1:
        dist.init_process_group("gloo", rank=rank, world_size=ranks)
    found = [asdict(soak(name, steps, Path(folder))) for name in names]
    torch.save(found, Path(folder, f"found-{rank}.pt"))
    if ranks > 1:
        dist.destroy_process_group()


def soak_all(names: list[str], steps: int, ranks: int) -> list[Outcome]:
    """Soak every case on so many ranks; what their sums come to.

    Raises:
        SoakError: ranks differ. An error on a rank ends all, and is shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, (ranks, _free_port(), names, steps, folder), nprocs=ranks)
        each = [torch.load(Path(folder, f"found-{rank}.pt"), weights_only=True) for rank in range(ranks)]
    outcomes = []
    for of_ranks in zip(*each, strict=True):
        first, *others = (Outcome(**values) for values in of_ranks)
        for other in others:
            for key, value in first.state.items():
                if "skipped_rows" not in key and not torch.equal(value, other.state[key]):
                    raise SoakError(f"{first.name}: {key} differs between ranks")
            for count in ("rows", "bad", "empty"):
                setattr(first, count, getattr(first, count) + getattr(other, count))
        outcomes.append(first)
    return outcomes


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- report ---------------------------------------------------------------------------------------------------------


def report(outcomes: list[Outcome]) -> str:
    """What was seen, as a page."""
    lines = [
        "# Soak",
        "",
        "`make soak` writes this page: training under everything that goes wrong ([tools/soak.py](../tools/soak.py)).",
        "Every case ran to its end with all state finite, with the run that was resumed equal to the one that was not,",
        f"and with all ranks alike, to the bit. At least {USED:.0%} of all codes were in use at the end; where dead",
        f"codes are revived, from {WARM:.0%} of the steps on.",
        "",
        f"PyTorch {torch.__version__}, Python {platform.python_version()}.",
        "",
        "| case | ranks | steps | rows | NaN or inf | empty batches | restarts | least usage |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for o in outcomes:
        numbers = f"{o.rows:,} | {o.bad:,} | {o.empty:,} | {o.restarts}"
        lines.append(f"| {o.name} | {o.ranks} | {o.steps:,} | {numbers} | {o.usage:.1%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Soak all cases, alone and on two ranks, and write the page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--report", type=Path, default=None)
    options = parser.parse_args()
    outcomes = []
    for ranks in (1, 2):
        for name in CASES:
            outcomes += soak_all([name], options.steps, ranks)
            print(report(outcomes[-1:]).splitlines()[-1], flush=True)
    if options.report is not None:
        options.report.write_text(report(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
