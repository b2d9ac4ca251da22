from __future__ import annotations

import pytest
import torch

from tests.contracts.cases import CASES, METHODS

# What these hold, they hold of rows, which one piece of code makes of every layout.
OF_ROWS = {"test_06_state", "test_08_gradients", "test_09_bad_numbers", "test_10_invariance"}


def pytest_generate_tests(metafunc: pytest.Metafunc):
    """A test that asks for a ``case`` runs in every option, and in every layout where that may matter."""
    own = any(mark.name == "parametrize" and "case" in mark.args[0] for mark in metafunc.definition.iter_markers())
    if "case" in metafunc.fixturenames and not own:
        cases = METHODS if metafunc.module.__name__.rpartition(".")[2] in OF_ROWS else CASES
        metafunc.parametrize("case", cases, ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed():
    torch.manual_seed(0)
