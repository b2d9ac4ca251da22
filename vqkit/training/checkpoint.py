"""Checkpoints: folders that are whole or not there.

``checkpoints/step-00000500/`` is a pretrained folder (the weights that evaluation uses) with ``training.pt`` beside
them: the rest of the run's state. ``latest`` and ``best`` are links to two of them. A folder is filled under another
name, flushed to disk, and renamed, so a process that dies on the way leaves the earlier ones as they were.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vqkit.errors import CheckpointError, VqkitError
from vqkit.models.files import sync
from vqkit.models.torch_files import load_torch

STATE_FILE = "training.pt"
PREFIX = "step-"


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they are; made when the first is saved.
        keep_last: how many of the newest stay; the best stays as well.

    Examples:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(Path(folder), keep_last=1)
        ...     for step in (1, 2, 3):
        ...         _ = checkpoints.save(step, lambda path: write_state({}, path / STATE_FILE), best=step == 1)
        ...     [path.name for path in checkpoints.all()], checkpoints.latest().name
        (['step-00000001', 'step-00000003'], 'step-00000003')
    """

    def __init__(self, folder: Path, keep_last: int):
        self.folder, self.keep_last = folder, keep_last

    def all(self) -> list[Path]:
        """Every complete checkpoint, oldest first."""
        return sorted(path for path in self.folder.glob(f"{PREFIX}*") if path.is_dir())

    def latest(self) -> Path | None:
        """The newest complete checkpoint, or None."""
        found = self.all()
        return found[-1] if found else None

    def path(self, step: int) -> Path:
        """The folder of the checkpoint after ``step`` steps."""
        return self.folder / f"{PREFIX}{step:08d}"

    def save(self, step: int, write: Callable[[Path], None], *, best: bool = False) -> Path:
        """Let ``write`` fill a new checkpoint, then let go of those that are no longer kept.

        Args:
            step: steps taken so far.
            write: gets the folder to fill.
            best: whether this is the best so far.

        Returns:
            The checkpoint's folder.

        Raises:
            CheckpointError: it could not be written (the disk is full, say); the earlier checkpoints are as they were.
        """
        target = self.path(step)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clear_leftovers()
            if not target.is_dir():
                self._fill(target, write)
            self._link("latest", target)
            if best:
                self._link("best", target)
        except OSError as error:
            whole = self.latest()
            raise CheckpointError(
                f"{target}: could not be written: {error.strerror or error}; "
                f"the last whole checkpoint is {whole.name if whole else 'none'}"
            ) from error
        self._prune()
        return target

    def _fill(self, target: Path, write: Callable[[Path], None]) -> None:
        temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=self.folder))
        try:
            write(temporary)
            # mkdtemp makes the folder private; the run's other folders are not
            temporary.chmod(self.folder.stat().st_mode)
            for path in [*temporary.rglob("*"), temporary]:
                sync(path)
            os.rename(temporary, target)
            sync(self.folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _link(self, name: str, target: Path) -> None:
        temporary = self.folder / f".{name}.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target.name, target_is_directory=True)
        os.replace(temporary, self.folder / name)

    def _prune(self) -> None:
        best = self.folder / "best"
        kept = {best.resolve()} if best.exists() else set()
        for path in self.all()[: -self.keep_last]:
            if path.resolve() not in kept:
                shutil.rmtree(path)

    def _clear_leftovers(self) -> None:
        for path in self.folder.glob(".*.tmp"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)


@contextmanager
def misfits_named(path: Path) -> Iterator[None]:
    """What goes wrong while a read state is taken over becomes a ``CheckpointError`` that names its file."""
    try:
        yield
    except VqkitError:
        raise
    # A state of another kind lacks keys, or has something else under them.
    except Exception as error:
        raise CheckpointError(f"{path}: not the state of this run: {type(error).__name__}: {error}") from error


def write_state(state: dict[str, Any], path: Path) -> None:
    """Save nested dicts, lists, numbers and tensors.

    Raises:
        OSError: the file cannot be written.
    """
    # into Python's own file: given a path, torch turns a full disk into a RuntimeError about positions
    with path.open("wb") as file:
        torch.save(state, file)


def read_state(path: Path) -> dict[str, Any]:
    """What :func:`write_state` saved; data only, no code runs.

    Raises:
        CheckpointError: the file is missing, damaged, or holds anything but data.
    """
    state = load_torch(path)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: expected the state of a run, got {type(state).__name__}")
    return state
