"""Files that ``torch.save`` wrote, from anywhere: no code runs, and nothing grows beyond what the file holds."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from vqkit.data.pickle_scan import scan_pickle
from vqkit.errors import CheckpointError

LEGACY_PICKLES = 5  # magic number, version, system, content, and the keys of the storages
# An expanded tensor is stored as one number and strides of zero: how many numbers there may be to a byte of file.
EXPANDED = 16
SPARE = 2**20


def load_torch(path: Path) -> Any:
    """What a file of ``torch.save`` holds, on the CPU: containers, numbers, strings and dense tensors.

    Raises:
        CheckpointError: naming the file, when it is missing, damaged, or holds anything but data, or more numbers than
            its size accounts for.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "weights.pt")
        ...     torch.save({"codes": torch.ones(2)}, file)
        ...     load_torch(file)
        {'codes': tensor([1., 1.])}
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            _scan(file, size)
        content = torch.load(path, map_location="cpu", weights_only=True)
        _check_tensors(content, size)
    # A damaged file fails in its reader's own ways; whatever it is, the file is to blame.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: not a file of plain tensors: {reason}") from error
    return content


def _scan(file: BinaryIO, size: int) -> None:
    """Look through the pickles of a file: one in an archive, five in a row in what torch wrote before 1.6."""
    if file.read(2) != b"PK":
        file.seek(0)
        for _ in range(LEGACY_PICKLES):
            scan_pickle(file, size)
        return
    with zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")]
        if len(entries) != 1 or any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise pickle.UnpicklingError("an archive that torch would not write")
        content = archive.read(entries[0])
    scan_pickle(io.BytesIO(content), len(content))


def _check_tensors(content: Any, size: int) -> None:
    numbers = 0
    for tensor in _tensors(content):
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
            raise ValueError(f"a tensor that is {tensor.layout}, {tensor.device.type}, {tensor.dtype}; expected dense")
        numbers += tensor.numel()
    if numbers > EXPANDED * size + SPARE:
        raise ValueError(f"{numbers} numbers in {size} bytes")


def _tensors(content: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers."""
    waiting, seen = [content], set[int]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict | list | tuple | set | frozenset) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)
