from __future__ import annotations

import sys

import pytest
import torch

from vqkit.data import load_images
from vqkit.errors import MissingExtraError


def test_digits_are_real_and_divided():
    splits = [load_images("digits", split) for split in ("train", "valid", "test")]
    assert [len(split) for split in splits] == [1437, 180, 180]
    assert splits[0].spec.shape == (1, 8, 8)
    levels = torch.unique(splits[0].batch(range(1437)))
    assert torch.equal(levels, torch.arange(17) / 16)


def test_upscaled_digits_stay_in_range_and_fill_it():
    images = load_images("digits", "test", size=32, channels=3, value_range=(-1, 1)).batch(range(180))
    assert images.shape == (180, 3, 32, 32)
    assert images.min() == -1
    assert images.max() == 1


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"scikit-learn is not installed.*vqkit\[train\]"):
        load_images("digits", "train")
