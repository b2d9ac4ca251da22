"""The folder a run lives in: what it holds, and the rules for coming back to it.

``config.json``, ``metrics.jsonl``, ``tensorboard/``, ``checkpoints/``, and at the end ``model/`` and ``pictures/``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from vqkit.errors import CheckpointError, DataError, VqkitError, bad_value
from vqkit.models.config import differences, differences_text
from vqkit.models.files import write_text
from vqkit.training.config import RunConfig
from vqkit.training.train_config import BOOKKEEPING

CONFIG = "config.json"
PARTS = (CONFIG, "metrics.jsonl", "tensorboard", "checkpoints", "model", "pictures")


class RunFolder:
    """Where a run writes, and the rules for coming back to it.

    Args:
        path: the folder; need not be there.

    Attributes:
        metrics, checkpoints, model, pictures: the paths of its parts.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / CONFIG
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.pictures = self.path / "pictures"

    def check(self, run: RunConfig, *, resume: bool, overwrite: bool) -> None:
        """Refuse before anything is touched what :meth:`open` could not do.

        Raises:
            ArgumentError: the folder holds something and neither ``resume`` nor ``overwrite`` is given, or both are, or
                ``overwrite`` meets a folder that is no run's.
            CheckpointError: ``resume`` meets no run, or a run of another config; the message names what differs.
        """
        if resume and overwrite:
            raise bad_value("resume, overwrite", "one of them", "both")
        if resume:
            self._check_same(run)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            if not overwrite:
                raise bad_value(
                    "out_dir", "a new or empty folder (or resume, or overwrite)", f"{self.path}, which exists"
                )
            if not self._is_run():
                raise bad_value("out_dir", "a run's folder to overwrite", f"{self.path}, which holds something else")

    def open(self, run: RunConfig, *, overwrite: bool) -> None:
        """Make the folder, drop an earlier run's parts if it is to be overwritten, and write the config."""
        self.path.mkdir(parents=True, exist_ok=True)
        if overwrite:
            # the config goes last: while it is there, the folder can still be recognised and overwritten again
            for name in reversed(PARTS):
                remove(self.path / name)
        write_text(self.config, run.to_json())

    def _is_run(self) -> bool:
        try:
            RunConfig.read(self.config)
        except VqkitError:
            return False
        return True

    def _check_same(self, run: RunConfig) -> None:
        try:
            before = RunConfig.read(self.config).to_dict()
        except DataError as error:
            raise CheckpointError(f"{self.path}: there is no run to resume: {error}") from error
        found = {key: pair for key, pair in differences(before, run.to_dict()).items() if key not in changeable(run)}
        if found:
            text = differences_text(found, str(self.config), "this run")
            raise CheckpointError(f"{self.path}: holds another run: {text}")


def changeable(run: RunConfig) -> set[str]:
    """The dotted keys that may differ between a run and its continuation without changing a single step."""
    names = set(BOOKKEEPING)
    if run.train.schedule != "constant":
        # the learning rate of every step hangs on where the run ends
        names -= {"steps", "epochs", "seconds"}
    return {f"train.{name}" for name in names}


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_run(path: str | Path) -> RunConfig:
    """The config of the run in a folder.

    Raises:
        DataError: there is none.
    """
    return RunConfig.read(Path(path) / CONFIG)
