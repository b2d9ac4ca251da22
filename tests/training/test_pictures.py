from __future__ import annotations

import errno
import json
import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from vqkit.data import ImageDataset, ImageSpec
from vqkit.data.images import ArrayImages
from vqkit.errors import ArgumentError, ArgumentTypeError, CodeIndexError, DataError, MissingExtraError
from vqkit.models import MLPVQVAEConfig
from vqkit.models.registry import build_model
from vqkit.training import DataConfig, RunConfig, TrainConfig
from vqkit.training.pictures import (
    draw_atlas,
    draw_codebook,
    draw_curves,
    draw_index_maps,
    draw_reconstructions,
    draw_run,
    draw_samples,
    draw_usage,
    mean_patches,
    random_codes,
)
from vqkit.training.pictures.codebook import has_patches
from vqkit.training.pictures.colours import code_colours, paint
from vqkit.training.pictures.index_maps import fold_indices
from vqkit.training.pictures.page import HEADER, MARGIN, Page, scale
from vqkit.training.pictures.reconstructions import difference_tiles
from vqkit.training.pictures.samples import shuffled_codes
from vqkit.training.pictures.tiles import fill_grid, tile_size, to_tiles

GREY, COLOUR = ImageSpec(1, 8, 8), ImageSpec(3, 8, 12, -0.5, 0.5)


def images(spec: ImageSpec, count: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, *spec.shape, generator=generator) * spec.span + spec.low


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pictures" / "it.png"


def alone(path) -> bool:
    """Whether the picture is all that was left in its folder."""
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_tiles_show_the_exact_pixels(path):
    image = np.random.RandomState(0).randint(0, 256, (4, 4, 3)) / 255
    page = Page(1300, 400, "Title", "note")
    page.tile(image, 100, 200, 40, 40)
    shown = pixels(page.save(path))
    assert shown.shape == (400, 1300, 3)
    expected = np.repeat(np.repeat(np.rint(image * 255), 10, 0), 10, 1)
    np.testing.assert_array_equal(shown[200:240, 100:140], expected)
    assert alone(path)


def test_a_failed_save_leaves_the_old_picture(path, monkeypatch):
    draw_samples(images(GREY), GREY, path)
    before = path.read_bytes()

    def full(self, file, **options):
        file.write_bytes(b"half a pict")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="No space left"):
        draw_samples(images(GREY, 9), GREY, path)
    assert path.read_bytes() == before
    assert alone(path)


@pytest.mark.parametrize("spec", [GREY, COLOUR])
def test_reconstructions_show_input_and_reconstruction(path, spec):
    x = images(spec, 11)
    draw_reconstructions(x, x.flip(0), spec, path)
    shown = pixels(path)
    height, width = tile_size(spec.height, spec.width, 192)
    left = MARGIN + 230
    tile = np.rint(to_tiles(x, spec) * 255)
    for top, expected in ((HEADER, tile[0]), (HEADER + height + 8, tile[-1])):
        block = shown[top : top + height, left : left + width]
        np.testing.assert_array_equal(block, scale(expected.astype(np.uint8), height, width))


def test_the_difference_is_five_times_and_signed_for_grey():
    x = torch.full((1, 1, 8, 8), 0.5)
    brighter, darker, same = (difference_tiles(x, x + d, GREY)[0, 0, 0] for d in (0.1, -0.1, 0.0))
    assert brighter[0] > brighter[2]
    assert darker[2] > darker[0]
    assert same.tolist() == [1, 1, 1]
    full = difference_tiles(x, x + 0.2, GREY)[0, 0, 0]
    np.testing.assert_allclose(1 - brighter, (1 - full) / 2, atol=1e-6)
    colour = torch.zeros(1, *COLOUR.shape)
    shifted = colour.clone()
    shifted[:, 1] -= 0.1
    np.testing.assert_allclose(difference_tiles(colour, shifted, COLOUR)[0, 0, 0], [0, 0.5, 0], atol=1e-6)


def test_samples_and_what_lies_outside_the_range(path):
    x = images(COLOUR, 7) * 3
    draw_samples(x, COLOUR, path, title="Samples of $5", note="100 % random")
    assert pixels(path).shape[1] >= 1240
    assert 0 <= to_tiles(x, COLOUR).min() <= to_tiles(x, COLOUR).max() <= 1


@pytest.mark.parametrize("shape", [(2, 16), (2, 1), (2, 37), (2, 4, 6), (2, 4, 4, 6)])
def test_index_maps_of_every_rank(path, shape):
    indices = torch.randint(-1, 300, shape, generator=torch.Generator().manual_seed(0))
    draw_index_maps(images(GREY, 2), indices, 300, GREY, path)
    assert alone(path)
    assert len(np.unique(pixels(path).reshape(-1, 3), axis=0)) > 5


def test_sequences_are_folded_in_reading_order():
    assert fold_indices(torch.arange(12)[None], 12)[0, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert fold_indices(torch.arange(37)[None], 37).shape == (1, 1, 6, 7)
    assert fold_indices(torch.arange(24).view(1, 2, 4, 3), 24)[0, 1].tolist() == [[1, 4, 7, 10], [13, 16, 19, 22]]


def test_colours_are_one_per_code():
    colours = code_colours(1024)
    assert len(np.unique(colours.round(4), axis=0)) == 1024
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() > 0.1
    np.testing.assert_array_equal(paint(np.array([[3, -1]]), 8), [[code_colours(8)[3], (1, 1, 1)]])


@pytest.mark.parametrize("counts", [torch.tensor([5, 0, 3, 1]), torch.tensor([[1, 2], [3, 0]]), torch.ones(4096)])
def test_usage_of_one_or_several_codebooks(path, counts):
    assert draw_usage(counts, path, note="test") == path
    assert alone(path)


def test_usage_says_its_figures(path, monkeypatch):
    titles = []
    monkeypatch.setattr(Page, "text", lambda self, x, y, content, **style: titles.append(content))
    draw_usage(torch.tensor([4, 4, 0, 0]), path)
    assert titles[0] == "Code usage: 50.0 % · perplexity 2.0 of 4"


class Codes(nn.Module):
    """Decodes a code to an image as bright as its number."""

    def __init__(self, latent_shape=(2, 2), codes=6):
        super().__init__()
        self.spec, self.latent_shape = GREY, latent_shape
        self.quantizer = nn.Embedding(codes, 1)
        self.quantizer.codebook_size = codes  # pyright: ignore

    def decode(self, indices):
        assert tuple(indices.shape[1:]) == self.latent_shape
        return (indices.flatten(1).float().mean(1) / 10).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


@pytest.mark.parametrize("latent_shape", [(2, 2), (5,), (2, 2, 3)])
def test_the_atlas_shows_every_code_by_its_use(path, latent_shape):
    draw_atlas(Codes(latent_shape), path, counts=torch.tensor([1, 0, 9, 0, 5, 7]))
    shown = pixels(path)[HEADER + 20, MARGIN + 20 :: 150, 0][:6]
    faded = [round(0.8 * 255 + 0.2 * 25.5 * code) for code in (1, 3)]
    np.testing.assert_allclose(shown, [51, 128, 102, 0, *faded], atol=1)


def test_the_atlas_keeps_the_order_of_codes_without_counts(path):
    draw_atlas(Codes(), path)
    shown = pixels(path)[HEADER + 20, MARGIN + 20 :: 150, 0][:6]
    np.testing.assert_allclose(shown, [round(25.5 * code) for code in range(6)], atol=1)


def dataset(values: np.ndarray, value_range=(0.0, 1.0)) -> ImageDataset:
    return ImageDataset(ArrayImages(values.astype(np.uint8), (0.0, 255.0)), value_range, name="it", split="valid")


def test_mean_patches_are_the_mean_of_what_lies_around():
    values = np.random.RandomState(0).randint(0, 256, (3, 8, 8, 1))
    indices = torch.randint(-1, 3, (3, 4, 4), generator=torch.Generator().manual_seed(0))
    patches = mean_patches(dataset(values), indices, 4)
    assert patches.shape == (4, 1, 6, 6)
    padded = np.full((3, 12, 12), np.nan)
    padded[:, 2:-2, 2:-2] = values[..., 0] / 255
    for code in range(3):
        around = [padded[b, 2 * y : 2 * y + 6, 2 * x : 2 * x + 6] for b, y, x in (indices == code).nonzero().tolist()]
        np.testing.assert_allclose(patches[code, 0], np.nanmean(around, axis=0), atol=1e-6)
    assert patches[3].isnan().all()


def test_the_codebook_shows_used_codes_only(path):
    patches = torch.rand(4, 3, 6, 6) - 0.5
    patches[2] = torch.nan
    draw_codebook(patches, torch.tensor([3, 9, 0, 1]), COLOUR, path)
    shown = pixels(path)[HEADER + 5, MARGIN + 5 :: 150][:4]
    expected = np.rint((patches[[1, 0, 3], :, 0, 0] + 0.5).numpy() * 255)
    np.testing.assert_array_equal(shown[:3], expected)
    assert shown[3].tolist() == [255, 255, 255]
    with pytest.raises(ArgumentError, match="at least one code in use"):
        draw_codebook(patches, torch.zeros(4), COLOUR, path)


def test_only_maps_of_equal_squares_have_patches():
    assert has_patches((4, 4), GREY)
    assert not has_patches((16,), GREY)
    assert not has_patches((3, 3), GREY)
    assert not has_patches((4, 4, 2), GREY)
    with pytest.raises(ArgumentError, match="maps that divide 8x8"):
        mean_patches(dataset(np.zeros((2, 8, 8, 1))), torch.zeros(2, 3, 3, dtype=torch.long), 4)


def test_random_codes_are_seeded_and_leave_torch_alone():
    model = Codes((2, 3))
    before = torch.get_rng_state()
    codes = random_codes(model, 50, seed=1)
    assert codes.shape == (50, 2, 3)
    assert torch.equal(codes, random_codes(model, 50, seed=1))
    assert not torch.equal(codes, random_codes(model, 50, seed=2))
    assert codes.unique().tolist() == list(range(6))
    assert torch.equal(before, torch.get_rng_state())


def test_shuffled_codes_keep_each_place():
    indices = torch.arange(24).view(4, 2, 3)
    codes = shuffled_codes(indices, 100, seed=0)
    for place in range(6):
        assert set(codes.flatten(1)[:, place].tolist()) == set(indices.flatten(1)[:, place].tolist())


LINES = [
    {"step": 10, "split": "train", "loss": 1.0, "reconstruction": 0.9, "window_usage": 0.5, "batch_perplexity": 3.0},
    {"step": 20, "split": "train", "loss": 0.01, "reconstruction": 0.009, "window_usage": 1.0, "batch_perplexity": 5.0},
    {"step": 20, "split": "valid", "mse": 0.02, "reconstruction": 0.02, "dataset_usage": 0.9},
]


@pytest.mark.parametrize("count", [1, 3])
def test_curves_of_short_runs(path, tmp_path, count):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in LINES[:count]))
    draw_curves(metrics, path)
    assert alone(path)


def test_curves_need_lines(path, tmp_path):
    with pytest.raises(ArgumentError, match="at least one line"):
        draw_curves(tmp_path / "none.jsonl", path)
    (tmp_path / "bad.jsonl").write_text("{]\n")
    with pytest.raises(DataError, match=r"bad\.jsonl"):
        draw_curves(tmp_path / "bad.jsonl", path)


def test_draw_run_draws_everything_and_changes_nothing(tmp_path):
    config = MLPVQVAEConfig(quantizer={"type": "VectorQuantize", "dim": 4, "codebook_size": 8}, codes=3, spec=GREY)
    torch.manual_seed(0)
    model = build_model(config).train()
    (tmp_path / "metrics.jsonl").write_text(json.dumps(LINES[0]) + "\n")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    run = RunConfig(DataConfig("digits"), config, TrainConfig(steps=1))
    drawn = draw_run(model, run, tmp_path)
    names = ["atlas", "curves", "index_maps", "reconstructions", "samples", "samples_by_place", "usage"]
    assert sorted(path.stem for path in drawn) == names
    assert sorted(path.stem for path in (tmp_path / "pictures").iterdir()) == names
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())


def test_grids_are_nearly_full_and_tiles_whole_multiples():
    for count in range(1, 70):
        grid = fill_grid(count, 28, 28, target=200, across=1900)
        assert grid.columns * grid.rows >= count
        assert grid.columns * (grid.rows - 1) < count
        assert grid.width % 28 == 0
        assert grid.across <= 1900


def test_bad_arguments_are_named(path):
    x = images(GREY)
    with pytest.raises(ArgumentError, match="images: expected shape"):
        draw_samples(x[:, :, :4], GREY, path)
    with pytest.raises(ArgumentTypeError, match="images"):
        draw_samples(x.byte(), GREY, path)
    with pytest.raises(ArgumentError, match="1 or 3 channels"):
        draw_samples(torch.rand(2, 2, 8, 8), ImageSpec(2, 8, 8), path)
    with pytest.raises(ArgumentError, match="reconstructions: expected shape"):
        draw_reconstructions(x, x[:2], GREY, path)
    with pytest.raises(CodeIndexError, match="indices: expected -1 to 3, got 7"):
        draw_index_maps(x, torch.full((5, 2, 2), 7), 4, GREY, path)
    with pytest.raises(ArgumentError, match="one map per image, 5, got 4"):
        draw_index_maps(x, torch.zeros(4, 2, 2, dtype=torch.long), 4, GREY, path)
    with pytest.raises(ArgumentError, match="indices: expected shape"):
        draw_index_maps(x, torch.zeros(5, dtype=torch.long), 4, GREY, path)
    with pytest.raises(ArgumentError, match="at least one hit"):
        draw_usage(torch.zeros(4), path)
    with pytest.raises(ArgumentError, match="counts"):
        draw_atlas(Codes(), path, counts=torch.zeros(5))
    assert not path.exists()


def test_without_matplotlib(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"matplotlib is not installed.*vqkit\[train\]"):
        draw_samples(images(GREY), GREY, path)
