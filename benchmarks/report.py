"""What was measured, as JSON and as a Markdown table. A file is whole or not there: written aside, then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.goals import Verdict
from benchmarks.harness import Failure, Result, Timing
from benchmarks.scaling import Point

MS, MIB, GIGA = 1e3, 2**20, 1e9


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    aside.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(aside, path)


def as_json(
    machine: Mapping[str, Any], outcomes: Iterable[Result | Failure], verdicts: Iterable[Verdict], points: list[Point]
) -> str:
    outcomes = list(outcomes)
    facts = {
        "machine": dict(machine),
        "groups": [asdict(v) for v in verdicts],
        "results": [asdict(o) for o in outcomes if isinstance(o, Result)],
        "failures": [asdict(o) for o in outcomes if isinstance(o, Failure)],
        "scaling": [asdict(p) for p in points],
    }
    return json.dumps(facts, indent=1) + "\n"


def as_markdown(
    machine: Mapping[str, Any], outcomes: Iterable[Result | Failure], verdicts: Iterable[Verdict], pictures: list[str]
) -> str:
    outcomes, verdicts = list(outcomes), list(verdicts)
    parts = [
        "# Against the peers, on a CPU",
        _facts(machine),
        *(f"![{name}]({name})" for name in pictures),
        _goals(verdicts),
    ]
    for verdict in verdicts:
        of_group = [o for o in outcomes if o.group == verdict.group]
        if of_group:
            parts += [f"## {_capital(verdict.goal.title)}", _table(of_group)]
    return "\n\n".join(parts) + "\n"


def ratio(value: float) -> str:
    """Two places, or two digits where that says nothing or too much."""
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def line(outcome: Result | Failure) -> str:
    """One row of a table."""
    return _row(outcome, searches=isinstance(outcome, Result) and outcome.flops is not None)


def _facts(machine: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in machine.items())
    return (
        f"{facts}.\n\nMedians of turns taken in alternation in one process, ± the interquartile range; the ratio is "
        "peer / ours, above 1 vqkit is faster. MiB: the peak beyond inputs, modules and codebooks. What it all means: "
        "[../README.md](../README.md)."
    )


def _capital(title: str) -> str:
    return title[0].upper() + title[1:]


def _goals(verdicts: list[Verdict]) -> str:
    rows = ["| group | cases | geometric mean | least | goal | reached |", "|---|---|---|---|---|---|"]
    for v in verdicts:
        mean, least = ("–" if x is None else ratio(x) for x in (v.mean, v.least))
        rows.append(f"| {v.goal.title} | {v.measured}/{v.cases} | {mean} | {least} | {v.goal.text()} | {v.text()} |")
    return "\n".join(rows)


def _table(outcomes: list[Result | Failure]) -> str:
    searches = any(isinstance(o, Result) and o.flops is not None for o in outcomes)
    heads = ["case", "peer", "repeats", "ours, ms", "peer, ms", "peer / ours", "ours, MiB", "peer, MiB"]
    if searches:
        heads += ["ours, GFLOP/s", "peer, GFLOP/s", "product, GFLOP/s", "ours / product"]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*rows, *(_row(o, searches) for o in outcomes)])


def _row(outcome: Result | Failure, searches: bool) -> str:
    if isinstance(outcome, Failure):
        said = f"**results differ**: {outcome.reason}" if outcome.wrong else f"not run: {outcome.reason}"
        cells = [outcome.name, outcome.peer, "–", said] + ["–"] * (8 if searches else 4)
        return f"| {' | '.join(cells)} |"
    cells = [outcome.name, outcome.peer, str(outcome.repeats), _time(outcome.ours), _time(outcome.theirs)]
    cells += [f"**{ratio(outcome.ratio)}**", _mib(outcome.ours_bytes), _mib(outcome.theirs_bytes)]
    if searches:
        rates = [outcome.flops / t.median / GIGA if t and outcome.flops else None for t in _sides(outcome)]
        cells += ["–" if rate is None else f"{rate:.0f}" for rate in rates]
        cells.append(f"{outcome.product.median / outcome.ours.median:.2f}" if outcome.product else "–")
    return f"| {' | '.join(cells)} |"


def _sides(result: Result) -> tuple[Timing | None, ...]:
    return result.ours, result.theirs, result.product


def _time(time: Timing) -> str:
    ms = time.median * MS
    return f"{ms:.3g} ± {time.spread:.0%}" if ms < 100 else f"{ms:.0f} ± {time.spread:.0%}"


def _mib(count: int | None) -> str:
    return "–" if count is None else f"{count / MIB:.1f}"
