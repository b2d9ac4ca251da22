from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from vqkit.data import ImageDataset, load_images
from vqkit.data.images import ArrayImages

VALUES = np.random.RandomState(0).randint(0, 256, (10, 4, 6, 3)).astype(np.uint8)


def dataset(value_range=(0.0, 1.0)) -> ImageDataset:
    return ImageDataset(ArrayImages(VALUES, (0.0, 255.0)), value_range, name="noise", split="train")


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-0.5, 0.5), (-1.0, 1.0), (0.0, 255.0)])
def test_values_are_mapped_to_the_range(value_range):
    low, high = value_range
    items = torch.stack([dataset(value_range)[i] for i in range(10)])
    expected = torch.from_numpy(VALUES.astype(np.float64) / 255 * (high - low) + low).permute(0, 3, 1, 2)
    assert items.shape == (10, 3, 4, 6)
    assert items.dtype == torch.float32
    torch.testing.assert_close(items.double(), expected, rtol=0, atol=1e-6 * (high - low))
    assert items.min() >= low
    assert items.max() <= high


def test_moments_equal_numpy():
    data = dataset((-0.5, 0.5))
    exact = VALUES.astype(np.float64) / 255 - 0.5
    assert data.variance() == pytest.approx(exact.var(), rel=1e-6)
    assert data.mean() == pytest.approx(exact.mean(), abs=1e-7)


def test_loader_batches_equal_single_items():
    data = dataset()
    batches = list(DataLoader(data, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert torch.equal(torch.cat(batches), torch.stack([data[i] for i in range(len(data))]))


def test_items_are_the_callers_to_change():
    data = dataset()
    data[0].zero_()
    assert data[0].max() > 0


def test_iteration_ends_and_negative_indices_count_from_the_end():
    data = dataset()
    assert len(list(data)) == 10  # pyright: ignore[reportArgumentType]
    assert torch.equal(data[-1], data[9])
    with pytest.raises(IndexError, match="image 10 of 10"):
        data[10]


def test_dataset_pickles_for_loader_workers():
    data = load_images("digits", "valid", size=16)
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again[3], data[3])


def test_repr_says_what_it_is():
    assert "noise" in repr(dataset())
    assert "10 images" in repr(dataset())
