"""A pickle that runs a program, put in the place of every file that vqkit reads."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fuzz.bombs import read_folder, torch_file
from vqkit.cli.config_file import read_toml
from vqkit.data import load_images
from vqkit.errors import VqkitError
from vqkit.interop import checkpoints
from vqkit.models import MLPVQVAE, load
from vqkit.training.checkpoint import read_state
from vqkit.training.config import RunConfig
from vqkit.training.metrics import read_metrics
from vqkit.training.run_folder import read_run


class Program:
    """Makes a folder called "escaped" when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("escaped",)


def numpy_file(array: np.ndarray, packed: bool) -> bytes:
    stream = io.BytesIO()
    (np.savez if packed else np.save)(stream, array)  # pyright: ignore
    return stream.getvalue()


PLAIN = pickle.dumps({"data": Program(), "state_dict": Program()}, protocol=2)
OBJECTS = np.array([Program()], dtype=object)


def legacy() -> bytes:
    stream = io.BytesIO()
    torch.save({"weights": Program()}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


READ = {
    "peer": ("vq.pt", torch_file(PLAIN), checkpoints.load),
    "peer_legacy": ("vq.ckpt", legacy(), checkpoints.load),
    "peer_plain": ("vq.bin", PLAIN, checkpoints.load),
    "peer_safetensors": ("vq.safetensors", PLAIN, checkpoints.load),
    "weights": ("model.safetensors", PLAIN, lambda path: load(path.parent)),
    "weights_of_a_kind": ("model.safetensors", PLAIN, lambda path: MLPVQVAE.from_pretrained(path.parent)),
    "config": ("config.json", PLAIN, lambda path: load(path.parent)),
    "state": ("training.pt", torch_file(PLAIN), read_state),
    "state_legacy": ("training.pt", legacy(), read_state),
    "state_plain": ("training.pt", PLAIN, read_state),
    "run": ("run.json", PLAIN, RunConfig.read),
    "run_folder": ("config.json", PLAIN, lambda path: read_run(path.parent)),
    "toml": ("run.toml", PLAIN, read_toml),
    "metrics": ("metrics.jsonl", PLAIN + b"\n", read_metrics),
    "npy": ("a.npy", numpy_file(OBJECTS, False), lambda path: load_images(path, "train")),
    "npz": ("a.npz", numpy_file(OBJECTS, True), lambda path: load_images(path, "train")),
    "npy_plain": ("a.npy", PLAIN, lambda path: load_images(path, "train")),
    "idx": ("train-images-idx3-ubyte", PLAIN, lambda path: load_images(path, "train")),
    "cifar": ("data_batch_1", PLAIN, lambda path: load_images(path.parent, "train")),
    "cifar_binary": ("data_batch_1.bin", PLAIN, lambda path: load_images(path.parent, "train")),
    "picture": ("a.png", PLAIN, read_folder),
}


@pytest.mark.parametrize("name", READ)
def test_no_file_runs_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.chdir(tmp_path)
    file, content, read = READ[name]
    folder = tmp_path / "it"
    folder.mkdir()
    if name.startswith("cifar"):
        for batch in ("data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
            (folder / f"{batch}{Path(file).suffix}").write_bytes(content)
    if name == "config":
        (folder / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    (folder / file).write_bytes(content)
    with pytest.raises(VqkitError, match=str(folder)):
        read(folder / file)
    assert not (tmp_path / "escaped").exists()


def test_the_program_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Program()))
    assert (tmp_path / "escaped").exists()
    assert zipfile.is_zipfile(io.BytesIO(torch_file(PLAIN)))
