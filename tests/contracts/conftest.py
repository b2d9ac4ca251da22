from __future__ import annotations

import pytest
import torch

from tests.contracts.cases import CASES, Case


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed():
    torch.manual_seed(0)
