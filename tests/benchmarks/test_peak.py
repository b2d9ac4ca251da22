"""That the peak of a turn is found, and not the peak of what came before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.peak import CLEAR, SETTINGS

SCRIPT = """
import torch
from benchmarks.peak import extra_bytes
def work(turn, MIB=2**20):
    # The first turn takes more than the second: only the second counts.
    torch.ones((256 if turn == 0 else 64) * MIB, dtype=torch.uint8)
print(extra_bytes(work))
"""


@pytest.mark.skipif(not CLEAR.exists(), reason="the kernel keeps no high-water mark that can be set back")
def test_extra_bytes_are_those_of_one_turn():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=os.environ | SETTINGS, capture_output=True, text=True, check=True
    )
    mib = int(done.stdout) / 2**20
    assert 60 < mib < 80
