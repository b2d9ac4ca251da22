from __future__ import annotations

import pytest

from benchmarks.harness import Case, Result, Timing, Work


@pytest.fixture
def make_case():
    """A case that counts its turns in ``turns`` instead of doing any work."""

    def make(turns: list[str], *, check=lambda: None, product=False, calls: int = 1, name: str = "fake") -> Case:
        def work() -> Work:
            third = (lambda turn: turns.append(f"product {turn}")) if product else None
            ours, theirs = (lambda turn, who=who: turns.append(f"{who} {turn}") for who in ("ours", "theirs"))
            return Work(check, ours, theirs, third, calls)

        return Case(name, "group", "a peer", work)

    return make


@pytest.fixture
def make_result():
    """A result of the given ratio."""

    def make(ratio: float, group: str = "group", **more) -> Result:
        return Result(
            f"{group} {ratio}", group, "a peer", 5, ratio, Timing(1, 0.9, 0.1), Timing(ratio, ratio, 0.1), **more
        )

    return make
