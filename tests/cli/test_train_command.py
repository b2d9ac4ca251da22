from __future__ import annotations

import json
import sys

import pytest

from tests.cli.conftest import RUN


def test_a_run_from_a_file_leaves_model_and_pictures(trained):
    assert json.loads((trained / "config.json").read_text())["train"]["steps"] == 3
    assert (trained / "model" / "model.safetensors").is_file()
    assert (trained / "pictures" / "reconstructions.png").is_file()


def test_the_summary_says_what_came_of_it(vqkit, tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps(RUN))
    outcome = vqkit("train", "tiny.json", "model.quantizer.codebook_size=8", "--steps", 2, "--quiet")
    assert outcome.code == 0
    assert "valid MSE" in outcome.out
    assert "runs/tiny/model" in outcome.out
    config = json.loads((tmp_path / "runs" / "tiny" / "config.json").read_text())
    assert config["train"]["steps"] == 2
    assert config["model"]["quantizer"]["codebook_size"] == 8


def test_resume_goes_on_and_overwrite_starts_anew(vqkit, tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps(RUN))
    assert vqkit("train", "tiny.json", "--quiet").code == 0
    again = vqkit("train", "tiny.json", "--quiet")
    assert again.code == 2
    assert "runs/tiny, which exists" in again.err
    assert "steps             5\n" in vqkit("train", "runs/tiny", "--resume", "--steps", 5, "--quiet").out
    assert "steps             3\n" in vqkit("train", "tiny.json", "--overwrite", "--quiet").out


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 reads no TOML")
def test_a_run_from_toml(vqkit, tmp_path):
    (tmp_path / "tiny.toml").write_text(
        '[data]\nsource = "digits"\n[model]\ntype = "MLPVQVAE"\ncodes = 2\n'
        '[model.quantizer]\ntype = "VectorQuantize"\ndim = 4\ncodebook_size = 8\n'
        '[train]\nsteps = 1\ndevice = "cpu"\n'
    )
    assert vqkit("train", "tiny.toml", "--quiet").code == 0
    (tmp_path / "bad.toml").write_text("=")
    assert "bad.toml: not valid TOML" in vqkit("train", "bad.toml").err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nothing.json",), "nothing.json: cannot be read"),
        (("nothing.toml",), "nothing.toml: "),
        (("digits", "train.stepz=1"), "unknown 'stepz'"),
        (("digits", "steps"), "key=value"),
        (("digits", "--steps", "0"), "train.steps"),
        (("digits", "--seconds", "-1"), "train.seconds"),
        (("digits", "--data", "nowhere"), "'nowhere'"),
        (("mnist",), "data.source"),
        (("digits", "--resume"), "no run to resume"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(vqkit, tmp_path, words, says):
    outcome = vqkit("train", *words)
    assert outcome.code == 2
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
