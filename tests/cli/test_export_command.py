from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from vqkit import models
from vqkit.data import load_images
from vqkit.interop.export import load_onnx


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The folder of an export of a run, both formats."""
    from vqkit.cli.app import main

    folder = tmp_path_factory.mktemp("exported") / "tiny"
    with pytest.raises(SystemExit) as stop:
        main(["export", str(trained), "--out", str(folder), "--batch-size", "50"])
    assert stop.value.code in (0, None)
    return folder


def test_a_run_is_exported_and_verified_on_its_own_images(exported):
    manifest = json.loads((exported / "manifest.json").read_text())
    for part, about in manifest["parts"].items():
        assert set(about["files"]) == {"onnx", "pt2"}
        for found in about["verified"].values():
            assert found["items"] == 180
            assert found["indices"] == (0 if part == "decode" else 720)
            assert found["differing"] == found["near_ties"]
            assert found["largest_difference"] <= 1e-5


def test_the_files_do_what_the_model_does(exported, trained):
    model, images = models.load(trained / "model"), load_images("digits", "test").batch(range(7))
    with torch.no_grad():
        indices, redrawn = model.encode(images), model(images).reconstruction
    for run in (load_onnx(exported / "encode.onnx"), torch.export.load(exported / "encode.pt2").module()):
        assert torch.equal(run(images)[0], indices)
    for run in (load_onnx(exported / "decode.onnx"), torch.export.load(exported / "decode.pt2").module()):
        torch.testing.assert_close(run(indices)[0], redrawn)


def test_one_format_and_one_part(vqkit, trained, tmp_path):
    outcome = vqkit("export", trained, "--out", "it", "--format", "pt2", "--part", "encode", "--n", 10)
    assert outcome.code == 0
    assert "encode.pt2  10 images, 0 of 40 codes differ\n" in outcome.out
    assert {path.name for path in (tmp_path / "it").iterdir()} == {"encode.pt2", "manifest.json"}


def test_an_existing_folder_is_kept_unless_told(vqkit, trained, tmp_path):
    words = ("export", trained, "--out", "it", "--format", "pt2", "--part", "decode", "--n", 10)
    assert vqkit(*words).code == 0
    outcome = vqkit(*words)
    assert outcome.code == 2
    assert "folder: expected a new or empty folder (or overwrite), got it, which exists" in outcome.err
    assert vqkit(*words, "--overwrite").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_a_file_that_disagrees_is_an_error_and_leaves_nothing(vqkit, trained, tmp_path, monkeypatch):
    def tampered(program, file) -> None:
        vectors = "module.quantizer.book.vectors"
        program.state_dict[vectors] = program.state_dict[vectors].roll(1, 1)
        save(program, file)

    save = torch.export.save
    monkeypatch.setattr(torch.export, "save", tampered)
    outcome = vqkit("export", trained, "--out", "it", "--format", "pt2", "--part", "encode")
    assert outcome.code == 2
    assert "encode.pt2: expected the module's indices, got others that no rounding explains" in outcome.err
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_other_images_can_verify(vqkit, trained, tmp_path):
    np.save(tmp_path / "other.npy", np.random.RandomState(0).randint(0, 256, (30, 8, 8, 1)).astype(np.uint8))
    words = ("--data", "other.npy", "--split", "train", "--format", "pt2", "--part", "encode")
    outcome = vqkit("export", trained / "model", "--out", "it", *words)
    assert outcome.code == 0
    assert "24 images, 0 of 96 codes differ" in outcome.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--format", "pb"), "--format: expected one of 'onnx', 'pt2', 'both', got 'pb'"),
        (("--part", "loss"), "--part: expected one of 'encode', 'decode', 'forward', got 'loss'"),
        (("--n", "0"), "--n: expected an int >= 1, got 0"),
        (("--batch-size", "0"), "--batch-size: expected an int >= 1, got 0"),
        (("--data", "nowhere"), "'nowhere'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(vqkit, trained, tmp_path, words, says):
    outcome = vqkit("export", trained, "--out", "it", *words)
    assert outcome.code == 2
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
