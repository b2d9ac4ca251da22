"""``make bench``: measure every case; write JSON, a table and plots to ``benchmarks/results/``.

An interrupted run leaves what it has. Ends with status 1 if results differ from a peer's.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import vqkit
from benchmarks import plots, report
from benchmarks.goals import judge
from benchmarks.harness import LEAST_REPEATS, Case, Failure, Result, measure
from benchmarks.peak import measured
from benchmarks.scaling import Point, sweep
from vqkit.kernels import cpu

RESULTS = Path(__file__).parent / "results"
PARTIAL = "partial"  # of a run of some cases, which must not take the place of a whole one
SECONDS, QUICK_SECONDS = 8.0, 2.0


@dataclass
class Run:
    """What has been measured so far, and where it is kept."""

    folder: Path
    facts: dict[str, Any]
    groups: dict[str, int]
    outcomes: list[Result | Failure] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    def add(self, outcome: Result | Failure) -> None:
        self.outcomes.append(outcome)
        print(report.line(outcome), flush=True)
        self.write_numbers()

    def write_numbers(self) -> None:
        verdicts = judge(self.outcomes, self.groups)
        report.write(self.folder / "cpu.json", report.as_json(self.facts, self.outcomes, verdicts, self.points))

    def finish(self) -> None:
        verdicts, pictures = judge(self.outcomes, self.groups), []
        if any(isinstance(outcome, Result) for outcome in self.outcomes):
            plots.ratios(self.outcomes, verdicts, self.folder / "cpu-ratios.png")
            pictures.append("cpu-ratios.png")
        if self.points:
            plots.scaling(self.points, self.folder / "cpu-scaling.png")
            pictures.append("cpu-scaling.png")
        self.write_numbers()
        report.write(self.folder / "cpu.md", report.as_markdown(self.facts, self.outcomes, verdicts, pictures))


def processor() -> str:
    """The processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine(threads: int) -> dict[str, Any]:
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "native": "no" if cpu.why_not() else " ".join(cpu.instruction_sets()),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "vqkit": vqkit.__version__,
        "load before": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d"),
    }


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="cases whose name or group holds a WORD")
    parser.add_argument("--repeats", type=int, help="turns of each side, 15 by default, fewer where a case is long")
    parser.add_argument("--quick", action="store_true", help="three turns each, no memory, a coarse scaling plot")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both sides")
    parser.add_argument("--out", type=Path, help="a folder; results/, or results/partial/ for --only and --quick")
    options = parser.parse_args(given)
    if options.repeats is None:
        options.repeats = LEAST_REPEATS if options.quick else 15
    if options.out is None:
        options.out = RESULTS / PARTIAL if options.only or options.quick else RESULTS
    return options


def chosen(cases: list[Case], words: list[str]) -> list[Case]:
    found = [case for case in cases if not words or any(w in case.name or w in case.group for w in words)]
    if not found:
        raise SystemExit(f"no case holds any of {words}; there are: {', '.join(case.name for case in cases)}")
    return found


def one(case: Case, options: argparse.Namespace) -> Result | Failure:
    outcome = measure(case, options.repeats, QUICK_SECONDS if options.quick else SECONDS)
    if isinstance(outcome, Failure) or options.quick:
        return outcome
    try:
        return outcome.with_memory(*measured(case.name, options.threads))
    except (RuntimeError, subprocess.TimeoutExpired) as reason:  # a peer may need more than there is
        print(reason, file=sys.stderr)
        return outcome


def main() -> None:
    from benchmarks.cases import all_cases, use_threads

    options = arguments()
    use_threads(options.threads)
    cases = list(all_cases())
    run = Run(options.out, machine(options.threads), dict(Counter(case.group for case in cases)))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an ended run is an interrupted one
    try:
        for case in chosen(cases, options.only):
            run.add(one(case, options))
        if not options.only:
            run.points.extend(sweep(2 if options.quick else 5, 2 if options.quick else 1))
    except KeyboardInterrupt:
        print("interrupted: what was measured is kept", file=sys.stderr)
    finally:
        run.finish()
    wrong = [o.name for o in run.outcomes if isinstance(o, Failure) and o.wrong]
    if wrong:
        raise SystemExit(f"results differ from the peer's: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
