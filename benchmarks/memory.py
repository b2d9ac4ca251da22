"""What a training step adds to memory over its inputs and the quantizer: a table of ours and the peer's.

``python -m benchmarks.memory`` runs every case at full size, each in a process of its own, and writes
``results/memory.md``. A process that would need more than ``--limit`` GiB is refused the memory and says so.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch

WIDTH = 64
RESULTS = Path(__file__).parent / "results" / "memory.md"
Maker = Callable[[int], torch.nn.Module]
"""Number of codes (of bits, for codes without a table) to a quantizer."""


def _table(module: str, name: str, **options: object) -> Maker:
    return lambda size: getattr(import_module(module), name)(WIDTH, size, **options)


def _bits(module: str, name: str, **options: object) -> Maker:
    return lambda bits: getattr(import_module(module), name)(dim=bits, **options)


def _peer(**options: object) -> Maker:
    return lambda size: import_module("vector_quantize_pytorch").VectorQuantize(
        dim=WIDTH, codebook_size=size, **options
    )


def _policy(module: str, name: str, *arguments: object) -> object:
    return getattr(import_module(module), name)(*arguments)


def _cases() -> dict[str, tuple[Maker, Maker | None]]:
    """Ours and the peer's, by what they show."""
    gumbel = _policy("vqkit.quantizers.estimators", "GumbelStraightThrough")
    anchors = {a: _policy("vqkit.codebook", "OnlineClustering", a) for a in ("closest", "probability")}
    by_gradient = {"learnable_codebook": True, "ema_update": False}
    drawn = {"stochastic_sample_codes": True, "sample_codebook_temp": 0.5}
    shared = {
        "plain": {},
        "rotation": {"rotation_trick": True},
        "cosine": {"use_cosine_sim": True},
        "diversity loss": {"codebook_diversity_loss_weight": 0.1},
        "cross-entropy commitment": {"commitment_use_cross_entropy_loss": True},
        "orthogonal loss": {"orthogonal_reg_weight": 1.0, **by_gradient},
        "stochastic codes": drawn,
    }
    cases = {name: (_table("vqkit", "VectorQuantize", **o), _peer(**o)) for name, o in shared.items()}
    cases["Gumbel straight-through"] = (_table("vqkit", "VectorQuantize", estimator=gumbel), None)
    for anchor, revive in anchors.items():
        cases[f"online clustering, {anchor}"] = (_table("vqkit", "VectorQuantize", revive=revive), None)
    cases["IBQ"] = (_table("vqkit", "IBQ", entropy_weight=0.1), None)
    cases["GumbelQuantize"] = (_table("vqkit", "GumbelQuantize", diversity_weight=0.1), None)
    cases["SQVAE"] = (_table("vqkit", "SQVAE"), None)
    return cases


def _binary() -> dict[str, tuple[Maker, Maker | None]]:
    return {
        "LFQ": (_bits("vqkit", "LFQ"), _bits("vector_quantize_pytorch", "LFQ")),
        "BSQ": (_bits("vqkit", "BSQ"), _bits("vector_quantize_pytorch", "LFQ", spherical=True)),
    }


ALL = {**_cases(), **_binary()}
BINARY = tuple(_binary())


def _mebibytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{field}:"))) / 1024


def _step(quantizer: torch.nn.Module, rows: int, width: int) -> float:
    """A forward and a backward; by how many MiB the resident size rose above that of input and quantizer."""
    x = torch.randn(1, rows, width).requires_grad_()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the high-water mark begins here
    before = _mebibytes("VmRSS")
    quantized, *others = quantizer(x)
    (quantized.square().sum() + others[1]).backward()
    return _mebibytes("VmHWM") - before


def _measure(case: str, side: int, rows: int, size: int, limit: float) -> float:
    """In this process; a small step first, so that what a library loads once is not counted."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    make = ALL[case][side]
    if make is None:
        raise ValueError(f"case: the peer has no {case}")
    small, width = (4, size) if case in BINARY else (16, WIDTH)
    _step(make(small), 64, small if case in BINARY else width)
    quantizer = make(size)
    if limit:
        allowed = int(limit * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    return _step(quantizer, rows, width)


def added(case: str, rows: int, size: int, *, side: int = 0, limit: float = 0) -> float | None:
    """MiB that a training step adds, in a process of its own; None where it needs more than ``limit`` GiB.

    ``size``: number of codes, or of bits for LFQ and BSQ. ``side``: 0 for ours, 1 for the peer.
    """
    one = [case, str(side), str(rows), str(size), str(limit)]
    command = [sys.executable, "-m", "benchmarks.memory", "--one", *one]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    if done.returncode and ("allocate memory" in done.stderr or "MemoryError" in done.stderr):
        return None
    if done.returncode:
        raise RuntimeError(f"{case}: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def _shown(mebibytes: float | None, limit: float) -> str:
    return f"over {limit:g} GiB" if mebibytes is None else f"{mebibytes:.0f} MiB"


def _table_rows(rows: int, codes: int, limit: float) -> list[str]:
    sizes = [(case, rows, codes) for case in ALL if case not in BINARY]
    sizes += [(case, 4096, bits) for case in BINARY for bits in (16, 18)]
    lines = ["| training step | N | K | N×K float32 | ours adds | the peer adds |", "|---|---|---|---|---|---|"]
    for case, n, size in sizes:
        number = 2**size if case in BINARY else size
        ours = _shown(added(case, n, size, limit=limit), limit)
        theirs = "–" if ALL[case][1] is None else _shown(added(case, n, size, side=1, limit=limit), limit)
        lines.append(f"| {case} | {n} | {number} | {n * number / 2**28:g} GiB | {ours} | {theirs} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=65_536)
    parser.add_argument("--codes", type=int, default=16_384)
    parser.add_argument("--limit", type=float, default=8.0, help="address space in GiB that a step may have")
    options = parser.parse_args()
    if options.one:
        case, side, rows, size, limit = options.one
        print(_measure(case, int(side), int(rows), int(size), float(limit)))
        return
    about = f"D = {WIDTH}, one thread, an address space of {options.limit:g} GiB."
    head = ["# What a training step adds to memory", "", f"`python -m benchmarks.memory`: {about}", ""]
    lines = _table_rows(options.rows, options.codes, options.limit)
    RESULTS.write_text("\n".join([*head, *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
