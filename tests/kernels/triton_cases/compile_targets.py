"""Every kernel, as the plans cut it, compiled for real GPUs: this needs none, but no interpreter either."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vqkit.kernels.triton import chain, cuts, search, sums

H100 = (torch.device("cuda"), 132)  # and its multiprocessors
SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes that a program may have, by compute capability
REGISTERS = 65536  # of a multiprocessor
Compiled = tuple[ASTSource, Mapping[str, int]]


def searched(
    N: int, K: int, D: int, metric: str, dtype: torch.dtype, topk: int = 1, screen: str | None = None
) -> list[Compiled]:
    own = {"x": dtype, "codebook": torch.float32, "indices": torch.int64, "distances": torch.float64}
    problem = cuts.Problem(1, N, K, D, metric, topk, screen or cuts.screen_for(D), None, dtype, *H100, (True, True))
    plan = search.plan_for(problem)
    return plan.workspace.sources(plan.steps, own)


def chained(N: int, Q: int, K: int, D: int) -> list[Compiled]:
    plan = chain.Plan(N, D, Q, K, *H100, (True, True))
    return plan.workspace.sources(plan.steps, {"x": torch.float32, "codebooks": torch.float32, "indices": torch.int64})


def summed(N: int, K: int, D: int, dtype: torch.dtype) -> list[Compiled]:
    plan = sums.Plan(1, N, K, D, dtype, H100[0], (True, True))
    own = {"x": dtype, "indices": torch.int64, "counts": torch.int64, "high": torch.int64, "sums": torch.float64}
    return plan.workspace.sources(plan.steps, own)


PLANS = {
    "nearest of 64": lambda: searched(65536, 8192, 64, "euclidean", torch.float32),
    "nearest of 8, cosine": lambda: searched(65536, 8192, 8, "cosine", torch.bfloat16),
    "nearest of 128": lambda: searched(16384, 8192, 128, "dot", torch.float16),
    "nearest of 512": lambda: searched(16384, 1024, 512, "euclidean", torch.float32),
    "8 nearest of 64": lambda: searched(65536, 8192, 64, "euclidean", torch.float32, 8),
    "64 nearest of 300": lambda: searched(4096, 8192, 300, "cosine", torch.float32, 64),
    "residual_chain of 128": lambda: chained(65536, 8, 1024, 128),
    "code_sums": lambda: summed(65536, 8192, 64, torch.float32),
}
# Not every pair: each takes seconds to assemble.
CASES = [(name, 90) for name in PLANS if name != "nearest of 128"]
CASES += [(name, 80) for name in ("nearest of 128", "residual_chain of 128", "code_sums")]


def resources(binary: bytes, folder: Path) -> dict[str, int]:
    """Registers and spilled bytes of a thread, as the assembler counts them."""
    (folder / "kernel.cubin").write_bytes(binary)
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    said = subprocess.run([tool, "-res-usage", folder / "kernel.cubin"], capture_output=True, text=True, check=True)
    return {key: int(value) for key, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", said.stdout)}


@pytest.mark.parametrize(("name", "capability"), CASES)
def test_kernels_compile_and_fit(name: str, capability: int, tmp_path: Path):
    for source, options in PLANS[name]():
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(options))
        used = resources(made.asm["cubin"], tmp_path)
        told = f"sm_{capability}, {name}, {made.name}: {used}, {made.metadata.shared} bytes of shared memory"
        print(told)
        assert made.metadata.shared <= SHARED[capability], told
        assert used["REG"] * 32 * made.metadata.num_warps <= REGISTERS, told
