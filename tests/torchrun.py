"""Starting processes as users do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def torchrun(ranks: int, *command: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run a module (``-m name``) or a script with arguments under torchrun, on one thread each."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*launcher, *command], env=environment, cwd=ROOT, timeout=timeout, capture_output=True, text=True, check=False
    )
