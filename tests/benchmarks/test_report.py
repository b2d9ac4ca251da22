"""What is written of a run, and that it is whole or not there."""

from __future__ import annotations

import json

import pytest

from benchmarks import report
from benchmarks.goals import Goal, judge
from benchmarks.harness import Failure, Timing
from benchmarks.scaling import Point, slope

MACHINE = {"processor": "a processor", "threads": 2}
GOALS = {"group": Goal("a group", mean=3), "other": Goal("another group")}


def outcomes(make_result):
    search = make_result(2.0, flops=4e9, product=Timing(2.0, 2.0, 0.0), ours_bytes=3 * 2**20)
    return [search, Failure("fake", "group", "a peer", "2 rows are farther", wrong=True)]


def test_json_holds_every_figure(make_result):
    found = outcomes(make_result)
    facts = json.loads(report.as_json(MACHINE, found, judge(found, {"group": 2}, GOALS), [Point("N", "us", 8, 2, 0.1)]))
    assert facts["machine"] == MACHINE
    assert facts["results"][0]["ours"] == {"median": 1, "least": 0.9, "spread": 0.1}
    assert facts["failures"][0]["reason"] == "2 rows are farther"
    assert facts["groups"][0]["reached"] is False
    assert facts["scaling"][0]["seconds"] == 0.1


def test_table_says_losses_and_differences_as_it_says_gains(make_result):
    found = [*outcomes(make_result), make_result(0.25)]
    text = report.as_markdown(MACHINE, found, judge(found, {"group": 3, "other": 1}, GOALS), ["a.png"])
    assert "| **2.00** | 3.0 | – | 4 | 2 | 2 | 2.00 |" in text
    assert "**0.25**" in text
    assert "**results differ**: 2 rows are farther" in text
    assert "| a group | 2/3 | 0.71 | 0.25 | geometric mean ≥ 3 | no |" in text
    assert "![a.png](a.png)" in text
    assert "## Another group" not in text  # nothing of it was measured


def test_rows_are_as_wide_as_their_heads(make_result):
    found = outcomes(make_result)
    text = report.as_markdown(MACHINE, found, judge(found, {"group": 2}, GOALS), [])
    widths = {row.count("|") for row in text.split("## A group")[1].splitlines() if row.startswith("|")}
    assert len(widths) == 1


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "cpu.json"
    report.write(path, "first")

    def no(*_):
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", no)
        with pytest.raises(OSError, match="full"):
            report.write(path, "second")
    assert path.read_text() == "first"
    report.write(path, "third")
    assert [p.name for p in path.parent.iterdir() if p.suffix != ".part"] == ["cpu.json"]
    assert path.read_text() == "third"


@pytest.mark.parametrize(("value", "text"), [(123.4, "123"), (9.876, "9.88"), (0.5, "0.50"), (0.00291, "0.0029")])
def test_no_ratio_is_rounded_to_nothing(value, text):
    assert report.ratio(value) == text


def test_slope_of_a_straight_line_is_its_power():
    points = [Point("K", "us", 1, k, 3e-9 * k**1.0) for k in (4, 16, 64, 256)]
    assert slope(points) == pytest.approx(1)
