from __future__ import annotations

import gzip
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.bombs import read_folder
from tests.fuzz.mutations import fuzzed, mutated, read_or_refuse
from vqkit.data.arrays import array_parts, read_array
from vqkit.data.cifar10 import read_binary_batch, read_pickled_batch
from vqkit.data.idx import read_idx
from vqkit.data.plain_pickle import load_plain_pickle
from vqkit.training.config import RunConfig
from vqkit.training.metrics import read_metrics
from vqkit.training.presets import get

PIXELS = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(compressed: bool) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, train=PIXELS, test=PIXELS)
    return stream.getvalue()


def picture(kind: str, mode: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.tile(PIXELS[0], (4, 4))).convert(mode).save(stream, kind)
    return stream.getvalue()


def read_npz(path: Path) -> None:
    for part in array_parts(path).values():
        part()


IDX = bytes([0, 0, 8, 3]) + struct.pack(">3I", *PIXELS.shape) + PIXELS.tobytes()
BATCH = {b"data": np.zeros((2, 3072), dtype=np.uint8), b"labels": [1, 2], b"batch_label": b"one"}
NESTED = {"a": [PIXELS.astype(">i2"), (1.5, None, True, "text", b"x")], "b": {"c": 2**40}}
PICTURES = [("PNG", "L"), ("PNG", "P"), ("JPEG", "RGB"), ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "L"), ("WEBP", "RGB")]
FILES = {
    "idx": ("a-idx3-ubyte", IDX, read_idx),
    "idx_gzip": ("a-idx3-ubyte.gz", gzip.compress(IDX, mtime=0), read_idx),
    "npy": ("a.npy", npy(PIXELS), lambda path: read_array(path, None)),
    "npy_float": ("a.npy", npy(PIXELS.astype(">f4")[None].T), lambda path: read_array(path, None)),
    "npz": ("a.npz", npz(False), read_npz),
    "npz_deflated": ("a.npz", npz(True), read_npz),
    "cifar_binary": ("data_batch_1.bin", bytes(3073 * 2), read_binary_batch),
    **{
        f"cifar_pickle_{protocol}": ("data_batch_1", pickle.dumps(BATCH, protocol=protocol), read_pickled_batch)
        for protocol in (0, 2, 5)
    },
    **{
        f"pickle_{protocol}": ("it", pickle.dumps(NESTED, protocol=protocol), load_plain_pickle)
        for protocol in (0, 2, 4, 5)
    },
    **{f"{kind}_{mode}": (f"a.{kind.lower()}", picture(kind, mode), read_folder) for kind, mode in PICTURES},
    "run_json": ("run.json", get("digits").to_json().encode(), RunConfig.read),
    "metrics": ("metrics.jsonl", b'{"step": 1, "mse": 0.5}\n{"step": 2, "mse": NaN}\n', read_metrics),
}


@pytest.mark.filterwarnings("ignore")  # Pillow's own, of what it repairs
@pytest.mark.parametrize("name", FILES)
@fuzzed
@given(st.data())
def test_a_damaged_file_is_read_or_named(tmp_path: Path, name: str, data: st.DataObject):
    file, content, read = FILES[name]
    read_or_refuse(read, tmp_path / file, data.draw(mutated(content)))


@pytest.mark.parametrize("name", FILES)
def test_the_file_itself_is_read(tmp_path: Path, name: str):
    file, content, read = FILES[name]
    assert read_or_refuse(read, tmp_path / file, content)
