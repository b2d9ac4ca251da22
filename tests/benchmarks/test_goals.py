"""When a goal counts as reached."""

from __future__ import annotations

import pytest

from benchmarks.goals import GOALS, Goal, judge
from benchmarks.harness import Failure

MEAN_AND_LEAST = {"group": Goal("a group", mean=3, least=1)}


@pytest.mark.parametrize(
    ("ratios", "reached"),
    [((9.0, 1.0), True), ((2.0, 4.0), False), ((100.0, 0.9), False)],
    ids=["mean and least", "mean too low", "one too low"],
)
def test_mean_is_geometric_and_none_may_be_below_the_least(make_result, ratios, reached):
    (verdict,) = judge([make_result(ratio) for ratio in ratios], {"group": 2}, MEAN_AND_LEAST)
    assert verdict.mean == pytest.approx((ratios[0] * ratios[1]) ** 0.5)
    assert verdict.least == min(ratios)
    assert verdict.reached is reached


def test_nothing_is_reached_before_all_cases_are_measured(make_result):
    (verdict,) = judge([make_result(9.0)], {"group": 2}, MEAN_AND_LEAST)
    assert verdict.reached is None
    assert verdict.text() == "not all measured"


def test_results_that_differ_reach_nothing(make_result):
    wrong = Failure("fake", "group", "a peer", "farther", wrong=True)
    (verdict,) = judge([make_result(9.0), wrong], {"group": 2}, MEAN_AND_LEAST)
    assert verdict.reached is False


def test_a_case_that_cannot_run_leaves_the_verdict_open(make_result):
    absent = Failure("fake", "group", "a peer", "not built", wrong=False)
    (verdict,) = judge([make_result(9.0), absent], {"group": 2}, MEAN_AND_LEAST)
    assert verdict.reached is None


@pytest.mark.parametrize(("used", "reached"), [(2**20, True), (2**30, False), (None, None)])
def test_memory_can_be_part_of_a_goal(make_result, used, reached):
    goals = {"group": Goal("a group", least=1, mib=64)}
    (verdict,) = judge([make_result(2.0, ours_bytes=used)], {"group": 1}, goals)
    assert verdict.reached is reached


def test_a_group_without_a_goal_has_no_verdict(make_result):
    (verdict,) = judge([make_result(0.5)], {"group": 1}, {"group": Goal("a group")})
    assert verdict.reached is None
    assert verdict.text() == "–"


def test_goals_say_what_they_ask():
    assert GOALS["nearest"].text() == "geometric mean ≥ 3, none below 1"
    assert GOALS["lfq"].text() == "≥ 300, under 64 MiB extra"
