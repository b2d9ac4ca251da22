from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vqkit.data.transforms import Transform, convert_channels, resize, to_array
from vqkit.errors import ArgumentError, ArgumentTypeError, DataError

RANDOM = np.random.RandomState(0)


def test_luma_equals_pillow():
    colour = RANDOM.randint(0, 256, (9, 7, 3)).astype(np.uint8)
    theirs = np.asarray(Image.fromarray(colour).convert("L"))
    difference = convert_channels(colour, 1)[..., 0].astype(int) - theirs
    assert np.abs(difference).max() <= 1


def test_grey_is_repeated():
    grey = RANDOM.rand(4, 5, 1).astype(np.float32)
    colour = convert_channels(grey, 3)
    assert colour.shape == (4, 5, 3)
    assert (colour == grey).all()


def test_other_channel_counts_are_refused():
    with pytest.raises(ArgumentError, match=r"channels: expected 2 as in the data"):
        convert_channels(np.zeros((2, 2, 2), dtype=np.uint8), 3)


@pytest.mark.parametrize("resample", ["bicubic", "area"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resize_keeps_constants_and_dtype(resample, dtype):
    small = resize(np.full((10, 14, 3), 7, dtype=dtype), 4, resample)
    assert small.shape == (4, 4, 3)
    assert small.dtype == dtype
    np.testing.assert_allclose(small, 7, rtol=1e-6)


def test_resize_crops_the_centre_of_the_longer_side():
    wide = np.zeros((4, 8, 1), dtype=np.uint8)
    wide[:, 2:6] = 200
    assert (resize(wide, 2, "area") == 200).all()


def test_area_is_the_mean_of_each_block():
    image = RANDOM.rand(8, 8, 1).astype(np.float32)
    blocks = image.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(image, 4, "area")[..., 0], blocks, atol=1e-6)


def test_bad_transforms_are_refused():
    with pytest.raises(ArgumentError, match="resample: expected one of 'bicubic', 'area', got 'nearest'"):
        Transform(resample="nearest")
    with pytest.raises(ArgumentError, match="size"):
        Transform(size=0)
    with pytest.raises(ArgumentTypeError, match="size"):
        Transform(size="8")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("CMYK", 3)])
def test_every_usual_mode_decodes(mode, channels):
    picture = Image.fromarray(RANDOM.randint(0, 256, (4, 6, 3)).astype(np.uint8)).convert(mode)
    array = to_array(picture, "it")
    assert array.shape == (4, 6, channels)
    assert array.dtype == np.uint8


def test_sixteen_bit_grey_is_scaled_not_clipped():
    picture = Image.fromarray(np.array([[0, 257, 65535]], dtype=np.uint16))
    assert to_array(picture, "it")[..., 0].tolist() == [[0, 1, 255]]


def test_floats_without_a_range_are_refused():
    with pytest.raises(DataError, match="it: pixel format 'F'"):
        to_array(Image.fromarray(np.zeros((2, 2), dtype=np.float32)), "it")
