"""Time two ways of doing the same thing, alternately in one process, after checking that they agree.

Nothing here knows what is measured, or against whom; ``benchmarks.cases`` does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

LEAST_REPEATS = 3


class NotHereError(RuntimeError):
    """A case cannot run on this machine or in this build; the message says why."""


@dataclass(frozen=True)
class Work:
    """``check`` runs both sides and raises ``AssertionError`` unless they give equally good results.

    ours, theirs: do the work once on the inputs of this turn: a few sets take turns, so no answer can be kept.
    product: a plain float32 matrix product of the same shape, where there is one. calls: turns that are timed as one,
    for work too short to be timed alone.
    """

    check: Callable[[], None]
    ours: Callable[[int], object]
    theirs: Callable[[int], object]
    product: Callable[[int], object] | None = None
    calls: int = 1


@dataclass(frozen=True)
class Case:
    """``make`` builds inputs and modules, so a case that is not asked for costs nothing; ``flops`` of one search."""

    name: str
    group: str
    peer: str
    make: Callable[[], Work]
    flops: float | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds of one turn: the median of the repeats, the least, and their interquartile range over the median."""

    median: float
    least: float
    spread: float


@dataclass(frozen=True)
class Result:
    """``ratio``: median of theirs over median of ours. Extra bytes: see ``benchmarks.peak``; None: not measured."""

    name: str
    group: str
    peer: str
    repeats: int
    ratio: float
    ours: Timing
    theirs: Timing
    product: Timing | None = None
    flops: float | None = None
    ours_bytes: int | None = None
    theirs_bytes: int | None = None

    def with_memory(self, ours: int | None, theirs: int | None) -> Result:
        return replace(self, ours_bytes=ours, theirs_bytes=theirs)


@dataclass(frozen=True)
class Failure:
    """A case without a result. ``wrong``: the results differ; otherwise it cannot run here."""

    name: str
    group: str
    peer: str
    reason: str
    wrong: bool


def timing(seconds: list[float]) -> Timing:
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(middle, min(seconds), (high - low) / middle)


def _seconds(work: Callable[[int], object], first: int, calls: int) -> float:
    start = time.perf_counter()
    for turn in range(first, first + calls):
        work(turn)
    return (time.perf_counter() - start) / calls


def measure(case: Case, repeats: int, seconds: float) -> Result | Failure:
    """Check, which warms both up, then let the sides take turns, so that a busy machine slows all alike.

    Each goes first as often as the other. Stops after ``seconds`` with fewer repeats, never fewer than three.
    """
    failed = partial(Failure, case.name, case.group, case.peer)
    try:
        work = case.make()
        work.check()
    except NotHereError as reason:
        return failed(str(reason), wrong=False)
    except AssertionError as reason:
        return failed(str(reason), wrong=True)
    sides = [work.ours, work.theirs] + ([work.product] if work.product else [])
    times: list[list[float]] = [[] for _ in sides]
    if work.product:
        work.product(0)
    start, done = time.perf_counter(), 0
    while done < max(repeats, LEAST_REPEATS):
        order = range(len(sides)) if done % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            times[side].append(_seconds(sides[side], 1 + done * work.calls, work.calls))
        done += 1
        if done >= LEAST_REPEATS and time.perf_counter() - start > seconds:
            break
    ours, theirs, *product = map(timing, times)
    ratio = theirs.median / ours.median
    plain = product[0] if product else None
    return Result(case.name, case.group, case.peer, done, ratio, ours, theirs, plain, case.flops)
