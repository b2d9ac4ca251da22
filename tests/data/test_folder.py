from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vqkit.data import load_images
from vqkit.errors import ArgumentError, DataError

RANDOM = np.random.RandomState(0)


def save(path, size=(6, 6), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = RANDOM.randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(array).convert(mode).save(path, **options)
    return array


def fill(folder, count=10, **options):
    return [save(folder / f"{i:02d}.png", **options) for i in range(count)]


def test_flat_folder_is_divided(tmp_path):
    fill(tmp_path)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._00.png").write_text("a hidden file some systems leave behind")
    assert [len(load_images(tmp_path, split)) for split in ("train", "valid", "test")] == [8, 1, 1]


def test_class_folders_and_splits(tmp_path):
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        for label in ("cat", "dog"):
            fill(tmp_path / split / label, count)
    assert [len(load_images(tmp_path, split)) for split in ("train", "valid", "test")] == [12, 6, 4]


def test_valid_is_carved_when_the_folder_has_none(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", 2)
    assert [len(load_images(tmp_path, split, valid_fraction=0.3)) for split in ("train", "valid", "test")] == [7, 3, 2]


def test_pixels_come_through_in_order(tmp_path):
    arrays = fill(tmp_path / "test", 3)
    images = load_images(tmp_path, "test").batch(range(3))
    np.testing.assert_array_equal((images * 255).round().numpy(), np.stack(arrays).transpose(0, 3, 1, 2))


def test_grey_folders_are_grey_and_can_be_asked_in_colour(tmp_path):
    fill(tmp_path / "test", 2, mode="L")
    assert load_images(tmp_path, "test").spec.shape == (1, 6, 6)
    assert load_images(tmp_path, "test", channels=3)[0].shape == (3, 6, 6)


def test_grey_and_colour_together_are_colour(tmp_path):
    save(tmp_path / "test" / "a.png", mode="L")
    save(tmp_path / "test" / "b.png")
    data = load_images(tmp_path, "test")
    assert data.batch([0, 1]).shape == (2, 3, 6, 6)


def test_mixed_sizes_need_a_size(tmp_path):
    save(tmp_path / "test" / "a.png", size=(6, 8))
    save(tmp_path / "test" / "b.png", size=(8, 8))
    with pytest.raises(DataError, match=r"b\.png: 8x8 pixels, but .*a\.png has 6x8.*pass size="):
        load_images(tmp_path, "test")
    assert load_images(tmp_path, "test", size=4).batch([0, 1]).shape == (2, 3, 4, 4)


def test_a_picture_that_changed_since_is_named(tmp_path):
    fill(tmp_path / "test", 2)
    data = load_images(tmp_path, "test")
    save(tmp_path / "test" / "01.png", size=(9, 9))
    with pytest.raises(DataError, match=r"01\.png: 9x9 pixels"):
        data[1]
    (tmp_path / "test" / "01.png").unlink()
    with pytest.raises(DataError, match=r"01\.png: not a readable image"):
        data[1]


def test_sideways_photographs_are_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "test" / "a.jpg", size=(8, 4), exif=exif)
    data = load_images(tmp_path, "test")
    assert data.spec.shape == (3, 8, 4)
    assert data[0].shape == (3, 8, 4)


def test_unreadable_pictures_are_named(tmp_path):
    fill(tmp_path / "test", 2)
    (tmp_path / "test" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.png: not a readable image"):
        load_images(tmp_path, "test")


def test_truncated_pictures_are_named(tmp_path):
    path = tmp_path / "test" / "cut.png"
    save(path, size=(64, 64))
    path.write_bytes(path.read_bytes()[:2000])
    data = load_images(tmp_path, "test")
    with pytest.raises(DataError, match=r"cut\.png: not a readable image"):
        data[0]


def test_empty_folders_are_an_error(tmp_path):
    with pytest.raises(DataError, match="the data set is empty"):
        load_images(tmp_path, "train")
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="the data set is empty"):
        load_images(tmp_path, "test")


def test_two_folders_for_one_split_are_an_error(tmp_path):
    fill(tmp_path / "val")
    fill(tmp_path / "valid")
    with pytest.raises(DataError, match="both stand for 'valid'"):
        load_images(tmp_path, "valid")


def test_four_channels_cannot_be_asked_of_pictures(tmp_path):
    fill(tmp_path / "test", 2)
    with pytest.raises(ArgumentError, match="channels"):
        load_images(tmp_path, "test", channels=4)
