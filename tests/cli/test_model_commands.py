from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit import models
from vqkit.cli.evaluate import finite
from vqkit.data import load_images
from vqkit.functional import perplexity
from vqkit.functional.usage import count_codes


def is_picture(path) -> bool:
    with Image.open(path) as picture:
        return picture.format == "PNG" and picture.width > 500


@pytest.mark.parametrize("inside", ["", "model", "checkpoints/best", "checkpoints/latest"])
def test_evaluate_finds_model_and_images_of_a_run(vqkit, trained, tmp_path, inside):
    outcome = vqkit("evaluate", trained / inside)
    assert outcome.code == 0
    assert "digits, test split" in outcome.out
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert figures["images"] == 180
    assert figures["codebook_size"] == 16


def test_evaluate_gives_the_exact_figures(vqkit, trained, tmp_path):
    outcome = vqkit("evaluate", trained, "--split", "valid", "--batch-size", 50, "--out", "deep/figures.json")
    figures = json.loads((tmp_path / "deep" / "figures.json").read_text())
    model = models.load(trained / "model")
    images = load_images("digits", "valid").batch(range(180))
    with torch.no_grad():
        result = model(images)
    error = (result.reconstruction.double() - images).square().mean().item()
    counts = count_codes(result.indices.flatten(), 16)
    assert figures["mse"] == pytest.approx(error, rel=1e-6)
    assert figures["psnr_db"] == pytest.approx(-10 * math.log10(error), rel=1e-6)
    assert figures["dataset_perplexity"] == pytest.approx(perplexity(counts).item())
    assert figures["batch_perplexity"] != figures["dataset_perplexity"]
    assert figures["ssim_window"] == 7
    assert f"{figures['ssim']:.4f}" in outcome.out
    assert "perplexity, mean of batches of 50" in outcome.out


def test_evaluate_on_other_images(vqkit, trained, tmp_path):
    np.save(tmp_path / "other.npy", np.random.RandomState(0).randint(0, 256, (30, 20, 20, 3)).astype(np.uint8))
    assert vqkit("evaluate", trained, "--data", "other.npy").code == 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["images"] == 3


def test_json_holds_no_infinity():
    assert finite(math.inf) is None
    assert finite(math.nan) is None
    assert finite(1.5) == 1.5
    assert finite("inf") == "inf"


def test_reconstruct_a_split(vqkit, trained, tmp_path):
    outcome = vqkit("reconstruct", trained, "--n", 5)
    assert outcome.code == 0
    assert "images                  5\n" in outcome.out
    assert is_picture(tmp_path / "reconstructions.png")


def test_reconstruct_files(vqkit, trained, tmp_path):
    for name, size in (("a.png", (30, 20)), ("b.jpg", (8, 8))):
        Image.new("RGB", size, "white").save(tmp_path / name)
    outcome = vqkit("reconstruct", trained / "model", "a.png", "b.jpg", "--out", "pair.png")
    assert outcome.code == 0
    assert "images                  2\n" in outcome.out
    assert is_picture(tmp_path / "pair.png")


def test_sample_is_seeded(vqkit, trained, tmp_path):
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        assert vqkit("sample", trained, "--n", 8, "--seed", seed, "--out", name).code == 0
    a, b, c = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png", "c.png"))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_info_of_a_model(vqkit, trained):
    outcome = vqkit("info", trained)
    assert outcome.code == 0
    for line in ("MLPVQVAE", "8x8 pixels, grey, values in [0, 1]", "16 codes", "16 (4 codes of 4 bits)", "spec.height"):
        assert line in outcome.out


def test_info_of_the_machine(vqkit):
    outcome = vqkit("info")
    assert outcome.code == 0
    for line in ("vqkit", torch.__version__, "cpu", "nearest", "native library"):
        assert line in outcome.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evaluate", "{run}", "--split", "dev"), "split: expected one of 'train', 'valid', 'test', got 'dev'"),
        (("evaluate", "{run}", "--batch-size", "0"), "--batch-size"),
        (("evaluate", "{run}", "--data", "nowhere"), "'nowhere'"),
        (("evaluate", "./nothing"), "no such folder"),
        (("reconstruct", "{run}", "nope.png"), "nope.png: not a readable image: No such file or directory"),
        (("reconstruct", "{run}", "x.png", "--data", "digits"), "PICTURE, --data: expected one of them"),
        (("reconstruct", "{run}", "--n", "0"), "--n"),
        (("sample", "{run}", "--n", "0"), "--n"),
        (("sample", "{run}", "--seed", "-1"), "--seed"),
        (("sample", "{run}", "--device", "toaster"), "--device"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(vqkit, trained, tmp_path, words, says):
    outcome = vqkit(*(word.replace("{run}", str(trained)) for word in words))
    assert outcome.code == 2
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_finished_names_its_checkpoints(vqkit, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints" / "best").mkdir(parents=True)
    for name in ("config.json", "metrics.jsonl"):
        (run / name).write_text("{}")
    outcome = vqkit("sample", run)
    assert outcome.code == 2
    assert "has not finished a model; its checkpoints are best: name one of them" in outcome.err


def test_a_model_without_a_run_needs_data(vqkit, trained, tmp_path):
    models.load(trained / "model").save_pretrained(tmp_path / "alone")
    outcome = vqkit("evaluate", "alone")
    assert outcome.code == 2
    assert "give them with --data" in outcome.err
    assert vqkit("evaluate", "alone", "--data", "digits").code == 0
