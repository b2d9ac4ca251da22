from __future__ import annotations

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from vqkit.data import load_images
from vqkit.data.idx import read_idx
from vqkit.errors import DataError

IMAGES = np.random.RandomState(0).randint(0, 256, (20, 5, 4)).astype(np.uint8)
CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">4B{array.ndim}I", 0, 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("dtype", list(CODES))
def test_every_type_is_read_in_native_order(tmp_path, dtype, pack):
    array = np.arange(-3 if dtype != "uint8" else 0, 9).astype(dtype).reshape(-1, 3)
    path = tmp_path / "numbers-idx"
    path.write_bytes(pack(idx_bytes(array)))
    read = read_idx(path)
    assert read.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_folder_like_mnist_has_its_splits(tmp_path, pack):
    suffix = "" if pack is bytes else ".gz"
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(IMAGES)))
    (tmp_path / f"t10k-images-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(IMAGES[:6])))
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(b"never read")
    assert [len(load_images(tmp_path, split)) for split in ("train", "valid", "test")] == [18, 2, 6]
    test = load_images(tmp_path, "test")
    assert test.spec.shape == (1, 5, 4)
    np.testing.assert_array_equal((test[5] * 255).round().numpy()[0], IMAGES[5])


def test_a_single_file_is_divided(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx_bytes(IMAGES))
    assert [len(load_images(path, split)) for split in ("train", "valid", "test")] == [16, 2, 2]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "truncated: expected a header"),
        (b"\x00\x00\x08", "truncated: expected a header"),
        (b"\x89PNG....", "magic number 0x89504e47"),
        (b"\x00\x00\x07\x01" + b"\x00\x00\x00\x01x", "magic number 0x00000701"),
        (b"\x00\x00\x08\x00", "magic number"),
        (b"\x00\x00\x08\xff", "magic number"),
        (b"\x00\x00\x08\x03\x00\x00\x00\x01", "inside its header of rank 3"),
        (idx_bytes(IMAGES)[:-1], "promises 416 bytes|truncated: expected 400 bytes of values, got 399"),
        (idx_bytes(IMAGES) + b"!", "promises 416 bytes|expected 400 bytes of values, got more"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "promises"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, says, pack):
    path = tmp_path / "broken-idx3-ubyte"
    path.write_bytes(pack(content))
    if pack is bytes and content == b"":
        says = "truncated"
    with pytest.raises(DataError, match=rf"broken-idx3-ubyte: .*({says})"):
        read_idx(path)


@pytest.mark.parametrize("cut", [1, 8, 30])
def test_truncated_gzip_is_named(tmp_path, cut):
    path = tmp_path / "cut-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES))[:-cut])
    with pytest.raises(DataError, match=r"cut-idx3-ubyte.gz: (damaged or truncated gzip|truncated)"):
        read_idx(path)


def test_damaged_gzip_is_named(tmp_path):
    content = bytearray(gzip.compress(idx_bytes(IMAGES)))
    content[-6] ^= 0xFF  # the checksum
    path = tmp_path / "bad-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged or truncated gzip file"):
        read_idx(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_absurd_headers_allocate_nothing(tmp_path, pack):
    path = tmp_path / "liar-idx3-ubyte"
    path.write_bytes(pack(struct.pack(">4B3I", 0, 0, 8, 3, 1 << 20, 1 << 10, 4) + bytes(100)))
    tracemalloc.start()
    with pytest.raises(DataError, match="promises"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_two_candidates_are_not_guessed_between(tmp_path):
    for name in ("a-train-images-idx3-ubyte", "b-train-images-idx3-ubyte"):
        (tmp_path / name).write_bytes(idx_bytes(IMAGES))
    with pytest.raises(DataError, match="several idx files for 'train'"):
        load_images(tmp_path, "train")


def test_labels_are_not_images(tmp_path):
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(idx_bytes(np.arange(5, dtype=np.uint8)))
    with pytest.raises(DataError, match=r"expected images \(N, H, W\)"):
        load_images(path, "train")


def test_no_images_at_all(tmp_path):
    path = tmp_path / "none-idx3-ubyte"
    path.write_bytes(idx_bytes(np.zeros((0, 4, 4), dtype=np.uint8)))
    with pytest.raises(DataError, match="empty"):
        load_images(path, "train")
