"""Which rows are train, valid and test when a source does not say so itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from vqkit.data.images import Source
from vqkit.errors import DataError, bad_value
from vqkit.shapes import check_choice, check_int, check_number

SPLITS = ("train", "valid", "test")
#: The parts of a source: some of "train", "valid" and "test", or "all" when it is not divided.
Parts = Mapping[str, Callable[[], Source]]


def choose_split(parts: Parts, split: str, *, valid_fraction: float, seed: int, name: str) -> tuple[Source, np.ndarray]:
    """The source that holds ``split``, and its rows there (int64, rising).

    A part the source names is taken as it is. Where it has train and test only, ``valid`` is carved out of train: the
    share ``valid_fraction`` drawn with ``seed``. A source that is one piece is divided 80 / 10 / 10 with ``seed``.

    Raises:
        ArgumentError: for an unknown split, or a fraction outside (0, 1).
        DataError: when the source has no such part, or too few images to divide.
    """
    check_choice("split", split, SPLITS)
    check_number("seed", check_int("seed", seed, minimum=0), high=2**32 - 1)
    if check_number("valid_fraction", valid_fraction, 0, 1, open_low=True) == 1:
        raise bad_value("valid_fraction", "less than 1, or nothing is left to train on", valid_fraction)
    if "all" in parts:
        source = parts["all"]()
        check_not_empty(source, name)
        return source, divide(len(source), (0.8, 0.1, 0.1), seed, name)[SPLITS.index(split)]
    carved = "valid" not in parts and "train" in parts
    part = "train" if split == "valid" and carved else split
    if part not in parts:
        raise DataError(f"{name}: has no {split!r} split; it has {', '.join(parts)}")
    source = parts[part]()
    check_not_empty(source, name)
    if part == "train" and carved:
        train, valid = divide(len(source), (1 - valid_fraction, valid_fraction), seed, name)
        return source, train if split == "train" else valid
    return source, np.arange(len(source))


def check_not_empty(source: Source, name: str) -> None:
    """An error when there is nothing to learn from."""
    if len(source) == 0:
        raise DataError(f"{name}: the data set is empty")


def divide(count: int, shares: tuple[float, ...], seed: int, name: str) -> list[np.ndarray]:
    """``range(count)`` in disjoint random parts of the given ``shares``; the first takes what rounding leaves.

    Raises:
        DataError: when a part would be empty.

    >>> [len(part) for part in divide(100, (0.8, 0.1, 0.1), seed=0, name="digits")]
    [80, 10, 10]
    """
    sizes = [max(1, round(count * share)) for share in shares[1:]]
    sizes.insert(0, count - sum(sizes))
    if sizes[0] < 1:
        raise DataError(f"{name}: {count} images are too few to divide into {len(shares)} parts")
    # RandomState, for its stream is frozen: the same split on every NumPy version.
    order = np.random.RandomState(seed).permutation(count)
    return [np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1])]
