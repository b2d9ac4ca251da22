"""What a run is asked for and what it leaves, with cases that do nothing."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("matplotlib", reason="a run draws plots: matplotlib is in the train extra")

from benchmarks import goals
from benchmarks.run import PARTIAL, RESULTS, Run, arguments, chosen
from benchmarks.scaling import Point


@pytest.fixture(autouse=True)
def one_group(monkeypatch):
    monkeypatch.setattr(goals, "GOALS", {"group": goals.Goal("a group", mean=2)})


def test_only_a_whole_run_replaces_the_results():
    assert arguments([]).out == RESULTS
    assert arguments(["--quick"]).out == RESULTS / PARTIAL
    assert arguments(["--only", "FSQ", "LFQ"]).out == RESULTS / PARTIAL


def test_quick_means_few_turns_unless_told():
    assert arguments(["--quick"]).repeats < arguments([]).repeats
    assert arguments(["--quick", "--repeats", "9"]).repeats == 9


def test_cases_are_chosen_by_name_or_group(make_case):
    cases = [make_case([], name="one"), make_case([], name="two")]
    assert [case.name for case in chosen(cases, ["tw"])] == ["two"]
    assert len(chosen(cases, ["group"])) == len(chosen(cases, [])) == 2
    with pytest.raises(SystemExit, match="there are: one, two"):
        chosen(cases, ["three"])


def test_what_is_measured_is_on_disk_before_the_run_ends(tmp_path, make_result):
    run = Run(tmp_path, {"threads": 1}, {"group": 2})
    run.add(make_result(4.0))
    facts = json.loads((tmp_path / "cpu.json").read_text())
    assert [result["ratio"] for result in facts["results"]] == [4.0]
    assert facts["groups"][0]["reached"] is None


def test_an_ended_run_leaves_table_and_plot(tmp_path, make_result):
    run = Run(tmp_path, {"threads": 1}, {"group": 2})
    run.add(make_result(4.0))
    run.add(make_result(0.5))
    run.finish()
    assert "| a group | 2/2 | 1.41 | 0.50 | geometric mean ≥ 2 | no |" in (tmp_path / "cpu.md").read_text()
    assert (tmp_path / "cpu-ratios.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "cpu-scaling.png").exists()  # it was ended before any search was scaled
    assert not list(tmp_path.glob("*.part"))


def test_pictures_are_small_enough_to_keep(tmp_path, make_result):
    points = [Point(axis, "vqkit", n, n, n * 1e-6) for axis in "NK" for n in (64, 256, 1024, 4096)]
    run = Run(tmp_path, {"threads": 1}, {"group": 40}, [make_result(0.5 + n) for n in range(40)], points)
    run.finish()
    text = (tmp_path / "cpu.md").read_text()
    for name in ("cpu-ratios.png", "cpu-scaling.png"):
        assert f"({name})" in text
        assert (tmp_path / name).stat().st_size < 100_000


def test_a_run_ended_before_its_first_case_leaves_a_table(tmp_path):
    Run(tmp_path, {"threads": 1}, {"group": 2}).finish()
    assert "0/2" in (tmp_path / "cpu.md").read_text()
