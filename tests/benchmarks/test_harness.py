"""How sides are compared: checked first, in turns, on changing inputs. What a case takes to run is not tested."""

from __future__ import annotations

import pytest

from benchmarks.harness import Case, Failure, NotHereError, Result, measure, timing


def test_sides_take_turns_and_each_goes_first_as_often(make_case):
    turns: list[str] = []
    result = measure(make_case(turns), repeats=4, seconds=60)
    assert isinstance(result, Result)
    assert result.repeats == 4
    assert turns == ["ours 1", "theirs 1", "theirs 2", "ours 2", "ours 3", "theirs 3", "theirs 4", "ours 4"]


def test_short_work_is_timed_over_several_turns_on_inputs_that_change(make_case):
    turns: list[str] = []
    measure(make_case(turns, calls=2), repeats=3, seconds=60)
    ours = [turn for turn in turns if turn.startswith("ours")]
    assert ours == [f"ours {turn}" for turn in range(1, 7)]


def test_product_is_measured_in_the_same_turns(make_case):
    turns: list[str] = []
    result = measure(make_case(turns, product=True), repeats=3, seconds=60)
    assert isinstance(result, Result)
    assert result.product is not None
    assert turns[:4] == ["product 0", "ours 1", "theirs 1", "product 1"]


def test_no_more_turns_when_the_time_is_up_but_three(make_case):
    turns: list[str] = []
    result = measure(make_case(turns), repeats=100, seconds=0)
    assert isinstance(result, Result)
    assert result.repeats == 3


def test_results_that_differ_are_not_timed(make_case):
    turns: list[str] = []

    def check() -> None:
        raise AssertionError("3 rows are farther")

    failure = measure(make_case(turns, check=check), repeats=3, seconds=60)
    assert isinstance(failure, Failure)
    assert failure.wrong
    assert failure.reason == "3 rows are farther"
    assert turns == []


def test_a_case_that_cannot_run_here_says_why():
    def make():
        raise NotHereError("the native library was not built")

    failure = measure(Case("fake", "group", "a peer", make), repeats=3, seconds=60)
    assert isinstance(failure, Failure)
    assert not failure.wrong
    assert "not built" in failure.reason


def test_an_error_of_another_kind_is_not_swallowed():
    def make():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        measure(Case("fake", "group", "a peer", make), repeats=3, seconds=60)


def test_timing_is_median_least_and_quartiles():
    found = timing([4.0, 1.0, 2.0, 3.0, 5.0])
    assert (found.median, found.least) == (3.0, 1.0)
    assert found.spread == pytest.approx(2 / 3)
