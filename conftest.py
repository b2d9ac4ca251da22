"""What pytest leaves out: modules that import triton where there is none (it comes for Linux alone)."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = (
    [] if importlib.util.find_spec("triton") else ["vqkit/kernels/triton/[!_]*.py", "tests/kernels/triton_cases/*.py"]
)
