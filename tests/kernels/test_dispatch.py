from __future__ import annotations

import shutil

import pytest
import torch

from vqkit.errors import ArgumentError
from vqkit.kernels import cpu, dispatch, ops


@pytest.fixture
def fast_backend(monkeypatch: pytest.MonkeyPatch):
    """A backend that only takes bfloat16."""
    backend = dispatch.Backend(
        "fast",
        {"nearest": lambda *a: "fast"},
        lambda t: None if t.dtype == torch.bfloat16 else f"it takes bfloat16, not {t.dtype}",
    )
    monkeypatch.setattr(dispatch, "BACKENDS", [backend, dispatch.REFERENCE])


@pytest.mark.usefixtures("fast_backend")
def test_the_fastest_that_can_runs_and_says_why():
    chosen = dispatch.choose("nearest", torch.zeros(1, dtype=torch.bfloat16))
    assert (chosen.backend, chosen.reason) == ("fast", "the fastest there is")
    fallen = dispatch.choose("nearest", torch.zeros(1))
    assert fallen.backend == "reference"
    assert fallen.reason == "fast refused: it takes bfloat16, not torch.float32"
    assert "it has no code_sums" in dispatch.choose("code_sums", torch.zeros(1)).reason


@pytest.mark.usefixtures("fast_backend")
def test_a_backend_asked_for_by_name_runs_or_says_why_not():
    assert dispatch.choose("nearest", torch.zeros(1), "reference").reason == "asked for"
    with pytest.raises(ArgumentError, match="fast refused: it takes bfloat16"):
        dispatch.choose("nearest", torch.zeros(1), "fast")
    with pytest.raises(ArgumentError, match="backend: expected one of fast, reference, got 'abacus'"):
        dispatch.choose("nearest", torch.zeros(1), "abacus")


def test_the_native_library_is_built_where_a_compiler_is():
    assert cpu.why_not() is None or shutil.which("g++") is None, cpu.why_not()


def test_ops_are_well_formed():
    x, codes = torch.randn(2, 9, 4), torch.randn(2, 5, 4)
    torch.library.opcheck(ops.nearest_op, (x, codes, "euclidean", 2, ""))
    torch.library.opcheck(ops.code_sums_op, (x, torch.randint(-1, 5, (2, 9)), 5, ""))
