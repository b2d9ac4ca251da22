from __future__ import annotations

import pickle

import numpy as np
import pytest

from vqkit.data import load_images
from vqkit.data.cifar10 import BATCHES
from vqkit.errors import DataError

RANDOM = np.random.RandomState(0)
PIXELS = {name: RANDOM.randint(0, 256, (4, 3072)).astype(np.uint8) for names in BATCHES.values() for name in names}


def python2_pickle(pixels: np.ndarray) -> bytes:
    """A batch as Python 2's cPickle wrote it: protocol 2, byte strings, NumPy's old module names."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    data = b"T" + len(pixels.tobytes()).to_bytes(4, "little") + pixels.tobytes()
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01K" + bytes([len(pixels)]) + b"M\x00\x0c\x86" + dtype + b"\x89" + data + b"tb"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + b"](K\x00K\x01K\x02K\x03eu."


def write_pickled(folder, protocol):
    for name, pixels in PIXELS.items():
        batch = {"data": pixels, "labels": [0, 1, 2, 3], "batch_label": b"one", "filenames": ["a", "b", "c", "d"]}
        content = python2_pickle(pixels) if protocol is None else pickle.dumps(batch, protocol=protocol)
        (folder / name).write_bytes(content)


def write_binary(folder):
    for name, pixels in PIXELS.items():
        labels = np.arange(4, dtype=np.uint8)[:, None]
        (folder / f"{name}.bin").write_bytes(np.concatenate([labels, pixels], axis=1).tobytes())


def check(folder):
    assert [len(load_images(folder, split)) for split in ("train", "valid", "test")] == [18, 2, 4]
    test = load_images(folder, "test")
    assert test.spec.shape == (3, 32, 32)
    expected = PIXELS["test_batch"].reshape(4, 3, 32, 32)
    np.testing.assert_array_equal((test.batch(range(4)) * 255).round().numpy(), expected)


def test_binary_layout(tmp_path):
    write_binary(tmp_path)
    check(tmp_path)


@pytest.mark.parametrize("protocol", [None, 0, 2, 4, 5])
def test_pickled_layout(tmp_path, protocol):
    write_pickled(tmp_path, protocol)
    check(tmp_path)


def test_missing_batches_are_named(tmp_path):
    write_binary(tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"missing: data_batch_3\.bin"):
        load_images(tmp_path, "train")
    assert len(load_images(tmp_path, "test")) == 4


@pytest.mark.parametrize(("content", "says"), [(b"", "got 0 bytes"), (bytes(3072), "got 3072 bytes")])
def test_truncated_binary_is_named(tmp_path, content, says):
    (tmp_path / "test_batch.bin").write_bytes(content)
    with pytest.raises(DataError, match=rf"test_batch\.bin: .*{says}"):
        load_images(tmp_path, "test")


def test_impossible_labels_are_named(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(b"\x0a" + bytes(3072))
    with pytest.raises(DataError, match="label 10 found"):
        load_images(tmp_path, "test")


@pytest.mark.parametrize(
    "batch", [[1, 2], {"labels": [1]}, {"data": np.zeros((2, 5), dtype=np.uint8)}, {"data": np.zeros((2, 3072))}]
)
def test_pickles_of_something_else_are_named(tmp_path, batch):
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch))
    with pytest.raises(DataError, match=r"test_batch: expected a dict with 'data'"):
        load_images(tmp_path, "test")
