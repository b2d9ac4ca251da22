"""Time two ways of doing the same thing, alternately in one process, after checking that they agree."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Case:
    """``check`` raises unless both give equal results; ``ours`` and ``theirs`` each do the work once."""

    name: str
    peer: str
    check: Callable[[], None]
    ours: Callable[[], object]
    theirs: Callable[[], object]


@dataclass(frozen=True)
class Result:
    """Seconds, medians over the repeats; spread is the interquartile range as a share of the median."""

    name: str
    peer: str
    ours_s: float
    theirs_s: float
    ours_spread: float
    theirs_spread: float
    ratio: float

    def to_dict(self) -> dict:
        return asdict(self)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _spread(times: list[float]) -> float:
    low, _, high = statistics.quantiles(times, n=4)
    return (high - low) / statistics.median(times)


def measure(case: Case, repeats: int) -> Result:
    """Check, warm up, then alternate, so that a busy machine slows both alike."""
    case.check()
    for work in (case.ours, case.theirs):
        work()
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(_seconds(case.ours))
        theirs.append(_seconds(case.theirs))
    ours_s, theirs_s = statistics.median(ours), statistics.median(theirs)
    return Result(case.name, case.peer, ours_s, theirs_s, _spread(ours), _spread(theirs), theirs_s / ours_s)
