"""The GPU's kernels: on a GPU where there is one, else in Triton's interpreter.

Triton reads TRITON_INTERPRET when it is imported, so the cases run in a process of their own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vqkit.errors import ArgumentError
from vqkit.functional import nearest
from vqkit.kernels import triton
from vqkit.kernels.dispatch import choose

CASES = sorted((Path(__file__).parent / "triton_cases").glob("*_cases.py"))
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@needs_triton
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_against_the_reference(path: Path):
    run_cases(path, os.environ | ({} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}))


@needs_triton
def test_kernels_compile_without_a_gpu():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run_cases(CASES[0].parent / "compile_targets.py", environment)


def run_cases(path: Path, environment: dict[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        "-W",
        "ignore::RuntimeWarning",
        str(path),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:]


def test_importing_vqkit_does_not_import_triton():
    program = (
        "import sys, torch; before = 'triton' in sys.modules; import vqkit; print(before or 'triton' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(triton.importlib.util, "find_spec", lambda name: None)
    assert triton.refuses(torch.zeros(1)) == "triton is not installed"
    with pytest.raises(ArgumentError, match="triton refused: triton is not installed"):
        nearest(torch.zeros(1, 1), torch.zeros(1, 1), backend="triton")


@needs_triton
def test_what_it_takes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert triton.refuses(torch.zeros(1)) == "it takes tensors on a CUDA GPU, not on cpu"
    assert "not torch.float64" in str(triton.refuses(torch.zeros(1, dtype=torch.float64)))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert triton.refuses(torch.zeros(1)) is None
    assert choose("nearest", torch.zeros(1), "triton").backend == "triton"
    assert choose("nearest", torch.zeros(1)).backend != "triton"
