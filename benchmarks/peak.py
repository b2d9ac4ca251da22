"""How many bytes one turn of a case needs beyond what stood before it.

The case is built anew in a process of its own. Each side does one turn to load what it loads and keep what it keeps;
then the kernel's high-water mark of resident memory is set back (``/proc/self/clear_refs``), the side does another
turn, and the rise of the mark above the resident size before is what is reported: outputs, gradients, saved tensors and
scratch, not inputs, modules or codebooks. glibc is told to return freed blocks over 128 KiB at once, else those of the
first turn would hide the need of the second.

``python -m benchmarks.peak "CASE"`` prints it as JSON. Linux only; elsewhere nothing is measured.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SETTINGS = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"


def _status(field: str) -> int:
    """``VmRSS`` or ``VmHWM`` in bytes."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in {STATUS}")


def extra_bytes(work: Callable[[int], object]) -> int:
    """The peak of resident memory during the second turn of ``work``, above what was resident before it."""
    work(0)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text(RESET_PEAK, encoding="ascii")
    before = _status("VmRSS")
    work(1)
    return max(0, _status("VmHWM") - before)


def measured(case: str, threads: int, seconds: float = 300) -> tuple[int | None, int | None]:
    """Extra bytes of ours and theirs, from a process of their own; None each where this system does not tell."""
    if not CLEAR.exists():
        return None, None
    command = [sys.executable, "-m", "benchmarks.peak", case, "--threads", str(threads)]
    done = subprocess.run(
        command, env=os.environ | SETTINGS, capture_output=True, text=True, timeout=seconds, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the memory of {case!r} was not measured: {done.stderr.strip().splitlines()[-1:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["ours"], answer["theirs"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", help="the name of a case")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    from benchmarks.cases import all_cases, use_threads

    use_threads(options.threads)
    work = next(case for case in all_cases() if case.name == options.case).make()
    print(json.dumps({"ours": extra_bytes(work.ours), "theirs": extra_bytes(work.theirs)}))


if __name__ == "__main__":
    main()
