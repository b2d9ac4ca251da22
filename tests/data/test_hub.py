from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from PIL import Image

from vqkit.data import load_images
from vqkit.errors import ArgumentError, DataError, MissingExtraError

RANDOM = np.random.RandomState(0)


def rows(count, **more):
    pictures = [Image.fromarray(RANDOM.randint(0, 256, (6, 6)).astype(np.uint8)) for _ in range(count)]
    return [{"image": picture, "label": 1, **more} for picture in pictures]


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the ``datasets`` package: what the tests put in ``hub`` is what it finds by name."""
    found = {}

    def load_dataset(name, configuration):
        if (name, configuration) not in found:
            raise FileNotFoundError(f"no data set {name}")
        return found[(name, configuration)]

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return found


def test_splits_of_a_hub_data_set(hub):
    hub[("ylecun/mnist", None)] = {"train": rows(20), "test": rows(5)}
    assert [len(load_images("hf:ylecun/mnist", split)) for split in ("train", "valid", "test")] == [18, 2, 5]
    item = load_images("hf:ylecun/mnist", "test", size=4, value_range=(-1, 1))[2]
    assert item.shape == (1, 4, 4)


def test_configuration_and_validation_split(hub):
    hub[("some/faces", "small")] = {"train": rows(4), "validation": rows(3), "test": rows(2), "extra": rows(1)}
    assert [len(load_images("hf:some/faces:small", split)) for split in ("train", "valid", "test")] == [4, 3, 2]


def test_train_alone_is_divided(hub):
    hub[("one", None)] = {"train": rows(20)}
    assert [len(load_images("hf:one", split)) for split in ("train", "valid", "test")] == [16, 2, 2]


def test_several_image_columns_need_a_name(hub):
    hub[("pairs", None)] = {"test": rows(3, mask=Image.new("RGB", (4, 4)))}
    with pytest.raises(DataError, match="got image, mask; pass column="):
        load_images("hf:pairs", "test")
    assert load_images("hf:pairs", "test", column="mask").spec.shape == (3, 4, 4)
    with pytest.raises(DataError, match="column 'label' holds no images"):
        load_images("hf:pairs", "test", column="label")


def test_what_cannot_be_used_is_an_error(hub):
    hub[("texts", None)] = {"test": [{"text": "a"}]}
    hub[("none", None)] = {"test": []}
    hub[("odd", None)] = {"dev": rows(2)}
    with pytest.raises(DataError, match="expected one image column among text, got none"):
        load_images("hf:texts", "test")
    with pytest.raises(DataError, match="empty"):
        load_images("hf:none", "test")
    with pytest.raises(DataError, match=r"expected splits called .* got dev"):
        load_images("hf:odd", "test")
    with pytest.raises(DataError, match="hf:nothing: cannot be loaded: no data set nothing"):
        load_images("hf:nothing", "test")
    with pytest.raises(ArgumentError, match="layout"):
        load_images("hf:none", "test", layout="NHWC")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"vqkit\[hub\]"):
        load_images("hf:ylecun/mnist", "train")
