"""CIFAR-10 as its authors publish it: the binary batches, or the pickled Python ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vqkit.data.images import ArrayImages
from vqkit.data.plain_pickle import load_plain_pickle
from vqkit.data.splits import Parts
from vqkit.errors import DataError

SIDE = 32
PIXELS = 3 * SIDE * SIDE
RECORD = 1 + PIXELS
BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}


def read_binary_batch(path: Path) -> np.ndarray:
    """(N, 3072) uint8 from a ``.bin`` file of records of one label byte and 3072 pixel bytes.

    Raises:
        DataError: when the size is not a whole number of records, or a label is not 0 to 9.
    """
    size = path.stat().st_size
    if size == 0 or size % RECORD:
        raise DataError(f"{path}: expected whole records of {RECORD} bytes, got {size} bytes")
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise DataError(f"{path}: label {records[:, 0].max()} found, expected 0 to 9; this is not a CIFAR-10 batch")
    return records[:, 1:]


def read_pickled_batch(path: Path) -> np.ndarray:
    """(N, 3072) uint8 from a pickled batch; nothing but arrays and plain containers can come out of it.

    Raises:
        DataError: when the pickle holds anything else, or not a batch.
    """
    batch = load_plain_pickle(path)
    data = (batch.get(b"data", batch.get("data"))) if isinstance(batch, dict) else None
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != PIXELS or data.dtype != np.uint8:
        got = f"{data.shape} {data.dtype}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{path}: expected a dict with 'data' of shape (N, {PIXELS}) uint8, got {got}")
    return data


def cifar10_parts(folder: Path) -> Parts:
    """Train (five batches) and test (one) of the folder, binary or pickled."""
    binary = any(folder.glob("*_batch*.bin"))
    read, suffix = (read_binary_batch, ".bin") if binary else (read_pickled_batch, "")
    return {split: _reader(folder, names, read, suffix) for split, names in BATCHES.items()}


def _reader(
    folder: Path, names: tuple[str, ...], read: Callable[[Path], np.ndarray], suffix: str
) -> Callable[[], ArrayImages]:
    def read_all() -> ArrayImages:
        paths = [folder / f"{name}{suffix}" for name in names]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise DataError(f"{folder}: CIFAR-10 batches are missing: {', '.join(missing)}")
        planes = np.concatenate([read(path) for path in paths]).reshape(-1, 3, SIDE, SIDE)
        return ArrayImages(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), (0.0, 255.0))

    return read_all


def is_cifar10(folder: Path) -> bool:
    """Whether ``folder`` holds CIFAR-10 batches, binary or pickled."""
    names = {name for batch in BATCHES.values() for name in batch}
    return any(entry.removesuffix(".bin") in names for entry in os.listdir(folder))
