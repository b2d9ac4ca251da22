"""Contract 12: four ranks hold the same bits, and equal one process on all their rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.contracts.cases import Case
from tests.contracts.ranks import RANKS, cases, draws_alone, trained
from tests.torchrun import torchrun


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun(RANKS, "-m", "tests.contracts.ranks", str(folder))
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_ranks_agree(ranks: list[dict[str, dict[str, Tensor]]], case: Case):
    first, *others = (rank[case.name] for rank in ranks)
    for other in others:
        assert first.keys() == other.keys()
        for name, value in first.items():
            assert torch.equal(value, other[name]), name
    if not draws_alone(case):
        for name, value in trained(case, None).items():
            torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
