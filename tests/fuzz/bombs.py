"""Small files that ask for much: each is read in turn, and what became of it printed, with the peak memory so far.

A process of its own, since a peak never falls, and a stack that overflows takes the process with it.
"""

from __future__ import annotations

import gzip
import io
import json
import resource
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from tests.fuzz.mutations import refusal
from vqkit.data import load_images
from vqkit.data.folder import read_pictures
from vqkit.data.plain_pickle import load_plain_pickle
from vqkit.data.spec import ImageSpec
from vqkit.data.transforms import Transform
from vqkit.interop import checkpoints
from vqkit.models import ConvVQVAE, ConvVQVAEConfig, load
from vqkit.training.checkpoint import read_state
from vqkit.training.config import RunConfig

DEEP = b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s."  # {((((…),),),): 1}
DOUBLED = b"\x80\x02})q\x01" + b"h\x01h\x01\x86q\x01" * 64 + b"K\x01s."
PICKLES = {"memo": b"\x80\x02]r\xff\xff\xff\x7f.", "deep": DEEP, "doubled": DOUBLED}


def npy(shape: str, values: bytes = b"") -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + values


def npz(content: bytes, kind: int = zipfile.ZIP_DEFLATED, mebibytes: int = 0) -> bytes:
    """An archive of one array file, ``content`` and so many zeros."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive, archive.open("images.npy", "w") as file:
        file.write(content)
        for _ in range(mebibytes):
            file.write(bytes(2**20))
    return stream.getvalue()


def png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def torch_file(content: bytes) -> bytes:
    """An archive of torch's whose pickle is ``content``."""
    plain, stream = io.BytesIO(), io.BytesIO()
    torch.save({}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(stream, "w") as target:
        for name in source.namelist():
            target.writestr(name, content if name.endswith("data.pkl") else source.read(name))
    return stream.getvalue()


def expanded() -> bytes:
    stream = io.BytesIO()
    torch.save({"embedding.weight": torch.zeros(1, 1).expand(10**6, 10**4)}, stream)
    return stream.getvalue()


def configs() -> Iterator[tuple[str, dict[str, Any]]]:
    quantizer = {"type": "VectorQuantize", "dim": 4, "codebook_size": 8}
    base = MODEL.config.to_dict()
    for name, change in {
        "codes": {"codebook_size": 10**12},
        "dim": {"dim": 10**12},
        "heads": {"heads": 10**9, "codebook_dim": 1},
        "window": {"usage_window": 10**12},
        "stages": {"type": "ResidualVQ", "num_quantizers": 10**9},
        "groups": {"type": "GroupedResidualVQ", "num_quantizers": 2, "groups": 10**9},
        "digits": {"codebook_size": 10**400},
    }.items():
        yield name, {**base, "quantizer": {**quantizer, **change}}
    yield "hidden", {**base, "hidden": 10**10}
    yield "blocks", {**base, "residual_blocks": 10**9}
    yield "downsamplings", {**base, "downsamplings": 10**9}
    yield "picture", {**base, "spec": {**base["spec"], "height": 2**24, "width": 2**24}}


MODEL = ConvVQVAE(
    ConvVQVAEConfig(
        quantizer={"type": "VectorQuantize", "dim": 4, "codebook_size": 8},
        spec=ImageSpec(1, 8, 8),
        hidden=4,
        residual_hidden=2,
    )
)


def read_folder(path: Path) -> None:
    """Every picture in the folder of ``path``."""
    source = read_pictures(path.parent)
    source.prepare(np.arange(len(source)), Transform(size=8, channels=3)).read(range(len(source)))


def images(path: Path) -> Any:
    return load_images(path, "train")


def files() -> Iterator[tuple[str, str, bytes, Callable[[Path], Any]]]:
    rows = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 1000, 1000)
    yield "idx", "train-images-idx3-ubyte", rows, images
    yield "idx_gzip", "train-images-idx3-ubyte.gz", gzip.compress(rows), images
    yield "npy", "a.npy", npy("(1099511627776, 4, 4)"), images
    yield "npy_negative", "a.npy", npy("(-1, 4, 4)", bytes(32)), images
    yield "npz", "a.npz", npz(npy("(1099511627776, 4, 4)")), images
    yield "npz_negative", "a.npz", npz(npy("(-1, 4, 4)"), mebibytes=256), images
    yield "npz_bzip2", "a.npz", npz(npy("(16777216, 4, 4)"), zipfile.ZIP_BZIP2, 256), images
    yield "header", "vq.safetensors", struct.pack("<Q", 2**60) + b"{}", checkpoints.load
    large = json.dumps({"a": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}).encode()
    yield "safetensors", "vq.safetensors", struct.pack("<Q", len(large)) + large, checkpoints.load
    yield "expanded", "vq.pt", expanded(), checkpoints.load
    yield "json", "run.json", b"[" * 10**6, RunConfig.read
    for name, content in PICKLES.items():
        yield f"pickle_{name}", "data_batch_1", content, load_plain_pickle
        yield f"torch_{name}", "training.pt", torch_file(content), read_state
    for side in (8_000, 40_000):
        yield f"png_{side}", "pictures/a.png", png(side), read_folder
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(escaped) (w) file closefile\nshowpage\n"
    yield "program", "pictures/a.png", program, read_folder
    for name, config in configs():
        yield f"config_{name}", "model/config.json", json.dumps(config).encode(), lambda path: load(path.parent)


def main(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(save(MODEL.state_dict()))
    (folder / "pictures").mkdir()
    # The first use of a library loads it, for which no file is to blame.
    (folder / "model" / "config.json").write_text(json.dumps(MODEL.config.to_dict()))
    load(folder / "model")
    for name, file, content, read in files():
        path = folder / file
        path.write_bytes(content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        said = refusal(lambda path=path, read=read: read(path))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps({"name": name, "said": said, "mebibytes": grown / 1024, "length": len(content)}), flush=True)
        path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
