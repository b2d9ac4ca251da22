"""``make bench``: measure every case and write JSON and a table to ``benchmarks/results/``."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

import faiss
import torch

import vqkit
from benchmarks.cases import all_cases
from benchmarks.harness import Result, measure

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, object]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "vqkit": vqkit.__version__,
    }


def table(results: list[Result]) -> str:
    rows = ["| case | peer | ours, ms | peer, ms | peer / ours |", "|---|---|---|---|---|"]
    for r in results:
        ours, theirs = f"{r.ours_s * 1e3:.1f} ± {r.ours_spread:.0%}", f"{r.theirs_s * 1e3:.1f} ± {r.theirs_spread:.0%}"
        rows.append(f"| {r.name} | {r.peer} | {ours} | {theirs} | **{r.ratio:.2f}** |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", default="", help="run the cases whose name holds this")
    options = parser.parse_args()
    faiss.omp_set_num_threads(torch.get_num_threads())
    results = []
    for case in all_cases():
        if options.only in case.name:
            results.append(measure(case, options.repeats))
            print(table(results[-1:]).splitlines()[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    facts = {"machine": machine(), "repeats": options.repeats, "results": [r.to_dict() for r in results]}
    (RESULTS / "cpu.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    notes = ", ".join(f"{key} {value}" for key, value in machine().items())
    text = f"# Against the peers, on a CPU\n\n{notes}. Medians of {options.repeats} runs taken in turn, ± the "
    text += f"interquartile range; above 1 vqkit is faster.\n\n{table(results)}\n"
    (RESULTS / "cpu.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
