from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from vqkit.data import load_images
from vqkit.errors import ArgumentError, DataError

RANDOM = np.random.RandomState(0)
GREY = RANDOM.randint(0, 256, (20, 5, 6)).astype(np.uint8)


def save(path, array):
    np.save(path, array)
    return path


def test_npy_is_divided(tmp_path):
    path = save(tmp_path / "grey.npy", GREY)
    assert [len(load_images(path, split)) for split in ("train", "valid", "test")] == [16, 2, 2]
    assert load_images(path, "train").spec.shape == (1, 5, 6)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz_like_keras(tmp_path, write):
    path = tmp_path / "mnist.npz"
    write(path, x_train=GREY, y_train=np.arange(20), x_test=GREY[:4], y_test=np.arange(4))
    assert [len(load_images(path, split)) for split in ("train", "valid", "test")] == [18, 2, 4]
    np.testing.assert_array_equal((load_images(path, "test")[3] * 255).round().numpy()[0], GREY[3])


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 8, 8, 3)])
def test_channel_axis_is_found(tmp_path, shape):
    path = save(tmp_path / "it.npy", RANDOM.randint(0, 256, shape).astype(np.uint8))
    assert load_images(path, "train").spec.shape == (3, 8, 8)


def test_unclear_channel_axis_must_be_said(tmp_path):
    array = RANDOM.randint(0, 256, (4, 3, 8, 3)).astype(np.uint8)
    path = save(tmp_path / "it.npy", array)
    with pytest.raises(DataError, match="does not show where the channels are"):
        load_images(path, "train")
    assert load_images(path, "train", layout="NCHW").spec.shape == (3, 8, 3)
    assert load_images(path, "train", layout="NHWC").spec.shape == (3, 3, 8)
    with pytest.raises(ArgumentError, match="layout"):
        load_images(path, "train", layout="HWC")


def test_fortran_order_and_other_byte_order(tmp_path):
    array = RANDOM.rand(20, 4, 5).astype(">f8")
    plain = load_images(save(tmp_path / "a.npy", array.astype("<f8")), "test").batch([0, 1])
    turned = load_images(save(tmp_path / "b.npy", np.asfortranarray(array)), "test").batch([0, 1])
    np.testing.assert_array_equal(plain.numpy(), turned.numpy())


def test_float_range_is_checked_and_can_be_said(tmp_path):
    path = save(tmp_path / "it.npy", RANDOM.rand(10, 4, 4) * 2 - 1)
    with pytest.raises(DataError, match=r"do not all lie in \[0, 1\].*source_range"):
        load_images(path, "train")
    image = load_images(path, "train", source_range=(-1, 1))[0]
    assert 0 <= image.min() <= image.max() <= 1


def test_numbers_without_a_range_are_refused(tmp_path):
    nan = RANDOM.rand(10, 4, 4)
    nan[3, 1, 1] = np.nan
    with pytest.raises(DataError, match="nan"):
        load_images(save(tmp_path / "nan.npy", nan), "train")
    with pytest.raises(DataError, match="int64 has no usual range"):
        load_images(save(tmp_path / "int.npy", GREY.astype(np.int64)), "train")


def test_keys_must_say_which_split(tmp_path):
    path = tmp_path / "it.npz"
    np.savez(path, faces=GREY, cats=GREY)
    with pytest.raises(DataError, match=r"expected one array per split .* got faces, cats"):
        load_images(path, "train")
    np.savez(path, train=GREY, x_train=GREY)
    with pytest.raises(DataError, match="expected one array per split"):
        load_images(path, "train")


@pytest.mark.parametrize("array", [np.array([[["a"]]]), np.array([[[{}]]], dtype=object), np.zeros((2, 2), "u1")])
def test_other_contents_are_refused(tmp_path, array):
    path = tmp_path / "it.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(DataError, match=r"it\.npy: (array of|expected images)"):
        load_images(path, "train")


def test_damaged_files_are_named(tmp_path):
    for name, content in [("a.npy", b""), ("b.npy", b"junk"), ("c.npz", b"junk")]:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=name):
            load_images(path, "train")
    path = save(tmp_path / "cut.npy", GREY)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"cut\.npy: (truncated|its header promises)"):
        load_images(path, "train")


def test_headers_that_promise_too_much_are_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 1 << 10, 4)}
    )
    path = tmp_path / "liar.npy"
    path.write_bytes(header.getvalue() + bytes(10))
    with pytest.raises(DataError, match="promises"):
        load_images(path, "train")
    with zipfile.ZipFile(tmp_path / "liar.npz", "w") as archive:
        archive.writestr("train.npy", path.read_bytes())
    with pytest.raises(DataError, match=r"liar\.npz\[train\]: its header promises"):
        load_images(tmp_path / "liar.npz", "train")


def test_no_images_at_all(tmp_path):
    with pytest.raises(DataError, match="the data set is empty"):
        load_images(save(tmp_path / "none.npy", GREY[:0]), "train")
