"""Images in NumPy files: one array in ``.npy``, one per split in ``.npz``."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from vqkit.data.idx import DEFLATE_MAX_RATIO
from vqkit.data.images import ArrayImages
from vqkit.data.splits import Parts
from vqkit.errors import DataError
from vqkit.shapes import check_choice

LAYOUTS = ("NHWC", "NCHW")
# Names other libraries give to the images of a split; "images" and "arr_0" (NumPy's own) are one undivided source.
KEYS = {"train": ("train", "x_train", "train_images"), "valid": ("valid", "x_valid", "valid_images", "val_images")}
KEYS |= {"test": ("test", "x_test", "test_images"), "all": ("images", "x", "arr_0")}


def array_parts(path: Path, *, layout: str | None = None, source_range: tuple[float, float] | None = None) -> Parts:
    """The parts of a ``.npy`` or ``.npz`` file; each is read when it is asked for.

    Args:
        path: the file.
        layout: where a 4-D array keeps its channels, "NHWC" or "NCHW"; ``None`` finds the axis that is 1 or 3 long.
        source_range: the values of black and white; ``None`` takes 0 to 255 for uint8, 0 to 65535 for uint16, and 0 to
            1 for booleans and floats.

    Raises:
        DataError: naming the file (and its key) when it is no such file, or holds no images.
    """
    if layout is not None:
        check_choice("layout", layout, LAYOUTS)

    def reader(key: str | None) -> Callable[[], ArrayImages]:
        name = f"{path}[{key}]" if key else str(path)
        return lambda: to_images(read_array(path, key), name, layout, source_range)

    if path.suffix == ".npy":
        return {"all": reader(None)}
    keys = npz_keys(path)
    found = {split: [key for key in names if key in keys] for split, names in KEYS.items()}
    chosen = {split: names[0] for split, names in found.items() if len(names) == 1}
    if not chosen or any(len(names) > 1 for names in found.values()) or ("all" in chosen and len(chosen) > 1):
        expected = "; or ".join(f"{split}: {', '.join(names)}" for split, names in KEYS.items())
        raise DataError(f"{path}: expected one array per split ({expected}), got {', '.join(keys) or 'none'}")
    return {split: reader(key) for split, key in chosen.items()}


def npz_keys(path: Path) -> list[str]:
    """The names of the arrays in an ``.npz`` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    # A damaged archive fails in its reader's own ways; whatever it is, the file is to blame.
    except Exception as error:
        raise DataError(f"{path}: not an .npz file: {error}") from error


def read_array(path: Path, key: str | None) -> np.ndarray:
    """The array in a ``.npy`` file, or the one called ``key`` in an ``.npz``; never one of Python objects.

    Raises:
        DataError: naming the file when it is damaged, or its header promises more than it holds.
    """
    try:
        if key is None:
            with path.open("rb") as file:
                return _read_npy(file, path.stat().st_size, str(path))
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
            entry = archive.getinfo(f"{key}.npy")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # which zipfile unpacks as a whole, however much that is
                raise DataError(f"{path}[{key}]: compressed in a way that NumPy does not write")
            # what the archive says of its parts may lie as well
            size = min(entry.file_size, min(entry.compress_size, path.stat().st_size) * DEFLATE_MAX_RATIO)
            return _read_npy(file, size, f"{path}[{key}]")
    except DataError:
        raise
    # So does a damaged header, which is Python's own notation.
    except Exception as error:
        raise DataError(f"{path}: not a NumPy file of numbers: {error}") from error


def _read_npy(file: IO[bytes], size: int, name: str) -> np.ndarray:
    version = npy.read_magic(file)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = header(file)
    if any(size < 0 for size in shape):
        raise DataError(f"{name}: its header says a shape of {shape}")
    wanted = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or dtype.kind not in "biuf":
        raise DataError(f"{name}: array of {dtype}; expected numbers")
    if wanted > size:
        raise DataError(f"{name}: its header promises {wanted} bytes of values, the file holds {size}")
    data = file.read(wanted)
    if len(data) < wanted:
        raise DataError(f"{name}: truncated: expected {wanted} bytes of values, got {len(data)}")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def to_images(
    array: np.ndarray, name: str, layout: str | None = None, source_range: tuple[float, float] | None = None
) -> ArrayImages:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) numbers as images.

    Raises:
        DataError: for another rank, an unclear channel axis, or values outside the range.

    >>> import numpy as np
    >>> to_images(np.zeros((2, 3, 8, 8), dtype=np.uint8), "two").shape
    (8, 8, 3)
    """
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4:
        if _layout(array.shape, name, layout) == "NCHW":
            array = array.transpose(0, 2, 3, 1)
    else:
        raise DataError(f"{name}: expected images (N, H, W), (N, H, W, C) or (N, C, H, W), got {array.shape}")
    if 0 in array.shape[1:]:
        raise DataError(f"{name}: images without pixels: {array.shape}")
    known = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0), "bool": (0.0, 1.0)}
    low, high = source_range or known.get(array.dtype.name) or _float_range(array, name)
    values = np.ascontiguousarray(array if array.dtype == np.uint8 else array.astype(np.float32))
    if values.size and not (values.min() >= low and values.max() <= high):
        raise DataError(
            f"{name}: values from {values.min()} to {values.max()} do not all lie in [{low:g}, {high:g}]; "
            "say what black and white are: source_range=(low, high)"
        )
    return ArrayImages(values, (low, high))


def _float_range(array: np.ndarray, name: str) -> tuple[float, float]:
    if array.dtype.kind != "f":
        raise DataError(f"{name}: {array.dtype} has no usual range; pass source_range=(low, high)")
    return 0.0, 1.0


def _layout(shape: tuple[int, ...], name: str, layout: str | None) -> str:
    if layout is not None:
        return layout
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:
        raise DataError(f"{name}: {shape} does not show where the channels are; pass layout='NHWC' or 'NCHW'")
    return "NCHW" if first else "NHWC"
