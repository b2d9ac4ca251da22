from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vqkit.data import ImageSpec, load_images, load_images_as, read_pictures_as
from vqkit.data.fitting import check_spec
from vqkit.errors import ArgumentError, DataError


def save(path, width, height):
    Image.fromarray(np.full((height, width, 3), 255, dtype=np.uint8)).save(path)
    return path


def test_pictures_of_any_size_become_what_the_model_takes(tmp_path):
    files = [save(tmp_path / "a.png", 40, 30), save(tmp_path / "b.jpg", 9, 20)]
    dataset = read_pictures_as(files, ImageSpec(1, 16, 16, -0.5, 0.5))
    assert dataset.batch([0, 1]).shape == (2, 1, 16, 16)
    assert dataset.batch([0, 1]).min() > 0.49
    assert dataset.name == "2 files"


def test_a_spec_that_is_not_square_takes_its_own_size_only(tmp_path):
    spec = ImageSpec(3, 10, 20)
    assert read_pictures_as([save(tmp_path / "a.png", 20, 10)], spec)[0].shape == (3, 10, 20)
    with pytest.raises(DataError, match=r"b\.png: its images are .* but the model takes"):
        read_pictures_as([save(tmp_path / "b.png", 20, 20)], spec)


def test_data_sets_as_a_spec():
    spec = ImageSpec(3, 12, 12, -1, 1)
    assert load_images_as("digits", "test", spec).spec == spec
    with pytest.raises(DataError, match="digits: its images are"):
        check_spec(load_images("digits", "test"), spec)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: not a readable image: .*No such file"):
        read_pictures_as([tmp_path / "none.png"], ImageSpec(1, 8, 8))
    with pytest.raises(ArgumentError, match="at least one picture file"):
        read_pictures_as([], ImageSpec(1, 8, 8))
