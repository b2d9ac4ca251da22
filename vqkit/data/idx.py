"""MNIST's idx files: a small header, then big-endian values in C order; plain or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vqkit.data.images import ArrayImages
from vqkit.data.splits import Parts
from vqkit.errors import DataError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_RANK = 8
GZIP_MAGIC = b"\x1f\x8b"
# Deflate cannot do better than 1032 to 1: a header that claims more than that of its file lies.
DEFLATE_MAX_RATIO = 1032
CHUNK = 1 << 20

PATTERNS = {"train": ("*train-images*idx3*",), "test": ("*t10k-images*idx3*", "*test-images*idx3*")}


def read_idx(path: str | Path) -> np.ndarray:
    """The array in an idx file, in native byte order; never allocates more than the file's own size justifies.

    Raises:
        DataError: naming the file, for a bad magic number, a header that does not fit the size, or a damaged file.
        OSError: when it cannot be opened.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "three-idx1-ubyte")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    ...     read_idx(file)
    array([7, 8, 9], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as file:
        stored = path.stat().st_size
        zipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not zipped:
            return _read(file, path, stored, exact=True)
        try:
            with gzip.GzipFile(fileobj=file) as content:
                return _read(content, path, stored * DEFLATE_MAX_RATIO, exact=False)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: damaged or truncated gzip file: {error}") from error


def _read(content: BinaryIO | gzip.GzipFile, path: Path, available: int, *, exact: bool) -> np.ndarray:
    dtype, shape = read_header(content, path)
    wanted = math.prod(shape) * dtype.itemsize
    promised = 4 + 4 * len(shape) + wanted
    if promised > available or (exact and promised != available):
        raise DataError(
            f"{path}: its header promises {promised} bytes: {shape} values of {dtype.itemsize} byte(s); "
            f"the file holds {'' if exact else 'at most '}{available}"
        )
    data = bytearray()
    while len(data) < wanted:
        piece = content.read(min(CHUNK, wanted - len(data)))
        if not piece:
            raise DataError(f"{path}: truncated: expected {wanted} bytes of values, got {len(data)}")
        data += piece
    if content.read(1):
        raise DataError(f"{path}: expected {wanted} bytes of values, got more")
    array = np.frombuffer(data, dtype=dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_header(content: BinaryIO | gzip.GzipFile, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    """The element type and the shape an idx header promises; reads nothing beyond it."""
    magic = content.read(4)
    if len(magic) < 4:
        raise DataError(f"{path}: truncated: expected a header of at least 4 bytes, got {len(magic)}")
    if magic[:2] != b"\x00\x00" or magic[2] not in DTYPES or not 1 <= magic[3] <= MAX_RANK:
        raise DataError(f"{path}: not an idx file: magic number 0x{magic.hex()}, expected 0x0000 then type and rank")
    sizes = content.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: truncated inside its header of rank {magic[3]}")
    return np.dtype(DTYPES[magic[2]]), struct.unpack(f">{magic[3]}I", sizes)


def read_idx_images(path: Path) -> ArrayImages:
    """The grey 8-bit images (N, H, W) of an idx file.

    Raises:
        DataError: when it holds something else.
    """
    array = read_idx(path)
    if array.ndim != 3 or array.dtype != np.uint8 or 0 in array.shape[1:]:
        raise DataError(f"{path}: expected images (N, H, W) of unsigned bytes, got {array.shape} {array.dtype}")
    return ArrayImages(array[..., None], (0.0, 255.0))


def find_idx(folder: Path) -> dict[str, Path]:
    """The image files of ``folder`` by split; an unpacked file goes before its gzipped twin.

    Raises:
        DataError: when a split has several.
    """
    found: dict[str, Path] = {}
    for split, patterns in PATTERNS.items():
        files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
        files = [path for path in files if not (path.suffix == ".gz" and path.with_suffix("") in files)]
        if len(files) > 1:
            raise DataError(f"{folder}: several idx files for {split!r}: {', '.join(path.name for path in files)}")
        if files:
            found[split] = files[0]
    return found


def idx_parts(path: Path) -> Parts:
    """MNIST's folder (train, test), or a single idx file (one undivided source)."""
    if path.is_file():
        return {"all": lambda: read_idx_images(path)}
    return {split: lambda file=file: read_idx_images(file) for split, file in find_idx(path).items()}
