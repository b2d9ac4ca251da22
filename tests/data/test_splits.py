from __future__ import annotations

import numpy as np
import pytest

from vqkit.data.images import ArrayImages
from vqkit.data.splits import choose_split
from vqkit.errors import ArgumentError, ArgumentTypeError, DataError


def source(count):
    return lambda: ArrayImages(np.zeros((count, 2, 2, 1), dtype=np.uint8), (0.0, 255.0))


def rows(parts, split, valid_fraction=0.1, seed=0):
    return choose_split(parts, split, valid_fraction=valid_fraction, seed=seed, name="it")[1].tolist()


def test_an_undivided_source_is_divided_once_and_for_all():
    parts = {"all": source(100)}
    train, valid, test = (rows(parts, split) for split in ("train", "valid", "test"))
    assert [len(train), len(valid), len(test)] == [80, 10, 10]
    assert sorted(train + valid + test) == list(range(100))
    assert rows(parts, "valid") == valid
    assert rows(parts, "valid", seed=1) != valid


def test_valid_is_carved_out_of_train_and_test_is_untouched():
    parts = {"train": source(50), "test": source(7)}
    train, valid = rows(parts, "train", 0.2), rows(parts, "valid", 0.2)
    assert [len(train), len(valid)] == [40, 10]
    assert sorted(train + valid) == list(range(50))
    assert rows(parts, "test", 0.2) == list(range(7))


def test_named_parts_are_taken_as_they_are():
    parts = {"train": source(5), "valid": source(3), "test": source(2)}
    assert [len(rows(parts, split)) for split in ("train", "valid", "test")] == [5, 3, 2]


def test_a_part_is_read_only_when_it_is_asked_for():
    def explode():
        raise DataError("read for nothing")

    assert len(rows({"train": explode, "test": source(3)}, "test")) == 3


def test_what_cannot_be_split_is_an_error():
    with pytest.raises(ArgumentError, match="split: expected one of 'train', 'valid', 'test', got 'dev'"):
        rows({"all": source(9)}, "dev")
    with pytest.raises(DataError, match="it: has no 'test' split; it has train, valid"):
        rows({"train": source(9), "valid": source(9)}, "test")
    with pytest.raises(DataError, match="it: the data set is empty"):
        rows({"all": source(0)}, "train")
    with pytest.raises(DataError, match="2 images are too few to divide into 3"):
        rows({"all": source(2)}, "train")


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_bad_fractions_are_refused(fraction):
    with pytest.raises(ArgumentError, match="valid_fraction"):
        rows({"all": source(9)}, "train", fraction)


def test_bad_seeds_are_refused():
    with pytest.raises(ArgumentTypeError, match="seed"):
        rows({"all": source(9)}, "train", seed=0.5)
    with pytest.raises(ArgumentError, match="seed"):
        rows({"all": source(9)}, "train", seed=-1)
