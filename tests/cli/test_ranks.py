"""``vqkit train`` under torchrun: the run of one process, one bar, one writer."""

from __future__ import annotations

import json

import pytest

from tests.torchrun import torchrun


def test_two_ranks_train_as_one_process_and_speak_once(trained, tmp_path):
    config = tmp_path / "tiny.json"
    config.write_text((trained.parent / "tiny.json").read_text())
    done = torchrun(2, "-m", "vqkit", "train", str(config), "--out", str(tmp_path / "ranks"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("valid MSE") == 1
    assert done.stderr.count("validation mse") == 1
    lines, expected = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "ranks", trained)
    )
    assert [line["step"] for line in lines] == [line["step"] for line in expected]
    for line, other in zip(lines, expected, strict=True):
        line.pop("seconds", None), other.pop("seconds", None)
        assert line.pop("split") == other.pop("split")
        assert line == pytest.approx(other, rel=1e-4)
    assert {path.name for path in (tmp_path / "ranks").iterdir()} == {path.name for path in trained.iterdir()}
