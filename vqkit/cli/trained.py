"""What the commands share: the model a folder holds, the images it is shown, and plain tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqkit.errors import CheckpointError, DataError, bad_value

if TYPE_CHECKING:
    from vqkit.data import ImageDataset
    from vqkit.models import VQVAE

MODEL_HELP = "A run's folder, a model's folder, or the name of a model on the Hugging Face hub."
DATA_HELP = 'A name ("digits"), "hf:NAME", or a path; by default the images the run was trained on.'


def load_model(name: str, device: str) -> VQVAE:
    """The model in a run's folder, a pretrained folder, or on the hub, in eval mode on ``device``.

    Raises:
        ArgumentError: for an unknown device.
        CheckpointError: when there is no model.
    """
    import torch

    from vqkit import models

    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    # torch asserts that it was built for the device
    except (RuntimeError, AssertionError) as error:
        raise bad_value("--device", "a device torch can use, such as cpu", f"{device!r}: {error}") from error
    folder = Path(name)
    if not is_run(folder):
        return models.load(name, device=where)
    if not (folder / "model").is_dir():
        found = sorted(path.name for path in (folder / "checkpoints").glob("[!.]*"))
        there = f"its checkpoints are {', '.join(found)}: name one of them" if found else "it has no checkpoint"
        raise CheckpointError(f"{folder}: this run has not finished a model; {there}")
    return models.load(folder / "model", device=where)


def is_run(folder: Path) -> bool:
    """Whether ``folder`` is that of a training run."""
    return (folder / "config.json").is_file() and (folder / "metrics.jsonl").is_file()


def run_folder(name: str) -> Path | None:
    """The run that a run's folder, its model or one of its checkpoints belongs to."""
    folder = Path(name).absolute()
    return next((place for place in (folder, *list(folder.parents)[:2]) if is_run(place)), None)


def images_for(model: VQVAE, name: str, source: str | None, split: str) -> ImageDataset:
    """The images of ``source``, or of the run the model comes from, as the model takes them.

    Raises:
        DataError: when neither says where the images are, or they do not fit.
    """
    from vqkit.data import load_images_as
    from vqkit.data.fitting import check_spec
    from vqkit.training import read_run

    if source is not None:
        return load_images_as(source, split, model.spec)
    folder = run_folder(name)
    if folder is None:
        raise DataError(f"{name}: belongs to no run that says where its images are; give them with --data")
    return check_spec(read_run(folder).data.load(split), model.spec)


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values in two columns.

    >>> print(table([("MSE", "0.0042"), ("usage", "98 %")]))
    MSE    0.0042
    usage  98 %
    """
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
