"""What is to be reached, as data; whether it is, is for the results to say."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.harness import Failure, Result

MIB = 2**20


@dataclass(frozen=True)
class Goal:
    """Of the ratios peer / ours of a group: their geometric mean, and the least; extra MiB of ours at most."""

    title: str
    mean: float | None = None
    least: float | None = None
    mib: float | None = None

    def text(self) -> str:
        parts = []
        if self.mean is not None:
            parts.append(f"geometric mean ≥ {self.mean:g}")
        if self.least is not None:
            parts.append(f"none below {self.least:g}" if self.mean is not None else f"≥ {self.least:g}")
        if self.mib is not None:
            parts.append(f"under {self.mib:g} MiB extra")
        return ", ".join(parts) or "none set"

    @property
    def line(self) -> float | None:
        """The ratio that a plot marks."""
        return self.mean if self.mean is not None else self.least


GOALS: dict[str, Goal] = {
    "nearest": Goal("nearest, exact, against faiss", mean=3, least=1),
    "nearest-fp32": Goal("nearest, float32 arithmetic only, against faiss", mean=2),
    "vector-train": Goal("VectorQuantize, training step", mean=10, least=4),
    "vector-eval": Goal("VectorQuantize, eval", mean=5),
    "residual": Goal("ResidualVQ, training step and eval", least=6),
    "lfq": Goal("LFQ 16 bits, training step", least=300, mib=64),
    "fsq": Goal("FSQ, training step", least=1.5),
    "kmeans-peer": Goal("k-means, against vector-quantize-pytorch", least=20),
    "kmeans-faiss": Goal("k-means, against faiss.Kmeans", least=2),
    "kmeans-copied": Goal("k-means of as many codes as rows, which faiss.Kmeans copies"),
    "single-row": Goal("a single row at a time, eval", least=1),
    "product": Goal("product quantizers fitted, against faiss"),
}


@dataclass(frozen=True)
class Verdict:
    """``reached`` is None where no goal is set, or not everything that decides it was measured."""

    group: str
    goal: Goal
    measured: int
    cases: int
    mean: float | None
    least: float | None
    reached: bool | None

    def text(self) -> str:
        if self.reached is not None:
            return "yes" if self.reached else "no"
        return "–" if self.measured == self.cases and self.goal.line is None else "not all measured"


def judge(
    outcomes: Iterable[Result | Failure], cases: Mapping[str, int], goals: Mapping[str, Goal] | None = None
) -> list[Verdict]:
    """A verdict for every group of ``cases`` (group to number of cases): results that differ reach nothing."""
    outcomes = list(outcomes)
    return [_verdict(g, (goals or GOALS)[g], cases[g], [o for o in outcomes if o.group == g]) for g in cases]


def _verdict(group: str, goal: Goal, cases: int, outcomes: list[Result | Failure]) -> Verdict:
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    wrong = any(isinstance(outcome, Failure) and outcome.wrong for outcome in outcomes)
    if not results:
        return Verdict(group, goal, 0, cases, None, None, False if wrong else None)
    ratios = [result.ratio for result in results]
    mean, least = statistics.geometric_mean(ratios), min(ratios)
    tests: list[bool | None] = []
    if goal.mean is not None:
        tests.append(mean >= goal.mean)
    if goal.least is not None:
        tests.append(least >= goal.least)
    if goal.mib is not None:
        used = [None if r.ours_bytes is None else r.ours_bytes <= goal.mib * MIB for r in results]
        tests.append(None if None in used else all(used))
    reached = None if not tests or None in tests or len(results) < cases else all(tests)
    if wrong or (False in tests and len(results) == cases):
        reached = False
    return Verdict(group, goal, len(results), cases, mean, least, reached)
