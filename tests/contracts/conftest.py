from __future__ import annotations

import pytest
import torch

from tests.contracts.cases import CASES, METHODS

# What these hold, they hold of rows, which one piece of code makes of every layout.
OF_ROWS = {
    f"tests.contracts.test_{name}"
    for name in ("04_masks", "05_dtypes", "06_state", "08_gradients", "09_bad_numbers", "10_invariance", "14_usage")
}


def pytest_generate_tests(metafunc: pytest.Metafunc):
    """A test that asks for a ``case`` runs in every option, and in every layout where that may matter."""
    own = any(mark.name == "parametrize" and "case" in mark.args[0] for mark in metafunc.definition.iter_markers())
    if "case" in metafunc.fixturenames and not own:
        cases = METHODS if metafunc.module.__name__ in OF_ROWS else CASES
        metafunc.parametrize("case", cases, ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed():
    torch.manual_seed(0)
