"""A whole run as data: which images, which model, how it is trained. Frozen, checked, JSON both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vqkit.data import ImageDataset, load_images
from vqkit.data.plain_json import read_json
from vqkit.errors import ArgumentError, ArgumentTypeError, bad_type, bad_value
from vqkit.models import VQVAEConfig, config_from_dict
from vqkit.models.config import build_dataclass
from vqkit.training.train_config import TrainConfig


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are brought to one shape; the arguments of :func:`vqkit.data.load_images`.

    Args:
        source: a known name ("digits"), a path, or a Hugging Face data set ("hf:ylecun/mnist"); None must be filled in.
        size: images become ``size`` x ``size`` pixels; None keeps their size.
        channels: 1 or 3; None keeps them.
        value_range: the values of black and white.
        resample: "bicubic" or "area".
        valid_fraction, seed: how a validation split is carved out of a source that has none.

    Examples:
        >>> DataConfig("digits", size=16).load("valid").spec.shape
        (1, 16, 16)
    """

    source: str | None = None
    size: int | None = None
    channels: int | None = None
    value_range: tuple[float, float] = (0.0, 1.0)
    resample: str = "bicubic"
    valid_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.value_range, list):  # as JSON has it
            object.__setattr__(self, "value_range", tuple(self.value_range))

    def load(self, split: str) -> ImageDataset:
        """The images of a split, "train", "valid" or "test".

        Raises:
            ArgumentError: no source is given, or an argument is wrong.
            DataError: the source cannot be read.
        """
        if self.source is None:
            raise bad_value("data.source", "where the images are; give it as data.source=FOLDER", "none")
        options = asdict(self)
        return load_images(options.pop("source"), split, **options)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a training run.

    Args:
        data: the images.
        model: the config of a model of ``vqkit.models``; its ``spec`` may be None, the data have it.
        train: optimisation, budget and bookkeeping.

    Examples:
        >>> from vqkit.models import MLPVQVAEConfig
        >>> run = RunConfig(DataConfig("digits"), MLPVQVAEConfig(codes=4), TrainConfig(steps=10))
        >>> RunConfig.from_dict(run.to_dict()) == run
        True
    """

    data: DataConfig
    model: VQVAEConfig
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        for name, kind in (("data", DataConfig), ("model", VQVAEConfig), ("train", TrainConfig)):
            if not isinstance(getattr(self, name), kind):
                raise bad_type(name, f"a {kind.__name__}", getattr(self, name))

    def to_dict(self) -> dict[str, Any]:
        """Nested JSON-able dicts under ``data``, ``model`` and ``train``."""
        return {"data": asdict(self.data), "model": self.model.to_dict(), "train": asdict(self.train)}

    @classmethod
    def from_dict(cls, values: object) -> RunConfig:
        """The run :meth:`to_dict` wrote; what is left out of ``data`` and ``train`` takes its default.

        Raises:
            ArgumentError, ArgumentTypeError: an unknown key, a missing model, or a wrong value.
        """
        if not isinstance(values, Mapping):
            raise bad_type("run", "a mapping with the keys data, model, train", values)
        model = values.get("model")
        if not isinstance(model, Mapping):
            raise bad_type("model", "a mapping such as {'type': 'ConvVQVAE', ...}", model)
        parts = {
            **values,
            "data": build_dataclass(DataConfig, values.get("data", {}), "data"),
            "model": config_from_dict(dict(model)),
            "train": build_dataclass(TrainConfig, values.get("train", {}), "train"),
        }
        return build_dataclass(cls, parts, "run")

    def to_json(self) -> str:
        """The run as indented JSON."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def read(cls, path: str | Path) -> RunConfig:
        """The run a JSON file holds.

        Raises:
            DataError: the file cannot be read, or is no JSON.
            ArgumentError, ArgumentTypeError: its content is no run.
        """
        values = read_json(path)
        try:
            return cls.from_dict(values)
        except (ArgumentError, ArgumentTypeError) as error:
            raise type(error)(f"{path}: {error}") from error

    def override(self, assignments: list[str]) -> RunConfig:
        """A run with some values changed.

        Args:
            assignments: ``"key.key=value"``; the value is read as JSON, else taken as a string. ``train.steps`` takes
                the place of ``train.epochs``, and the other way round.

        Raises:
            ArgumentError, ArgumentTypeError: no ``=``, an unknown key, or a value the key cannot take.

        Examples:
            >>> from vqkit.training import presets
            >>> run = presets.get("digits").override(["train.steps=100", "model.quantizer.codebook_size=64"])
            >>> run.train.steps, run.model.quantizer["codebook_size"]
            (100, 64)
        """
        values = self.to_dict()
        for assignment in assignments:
            assign(values, assignment)
        given = {assignment.partition("=")[0].strip() for assignment in assignments}
        for budget, other in (("steps", "epochs"), ("epochs", "steps")):
            if f"train.{budget}" in given and values["train"][budget] is not None and f"train.{other}" not in given:
                values["train"][other] = None
        return RunConfig.from_dict(values)


def assign(values: dict[str, Any], assignment: str) -> None:
    """Set one ``"key.key=value"`` in nested dicts; only a quantizer may take keys that were not there."""
    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise bad_value("override", "key=value, such as train.steps=100", repr(assignment))
    *parents, last = path.strip().split(".")
    inside: Any = values
    for depth, key in enumerate(parents):
        inside = inside.get(key)
        if not isinstance(inside, dict):
            raise bad_value(path, f"a key of the run; {'.'.join(parents[: depth + 1])} holds no keys", "an unknown one")
    # the quantizer's own builder knows its keys, and names those it does not know
    if last not in inside and parents != ["model", "quantizer"]:
        raise bad_value(path, f"a key among {', '.join(inside)}", f"unknown {last!r}")
    try:
        inside[last] = json.loads(text)
    except ValueError:
        inside[last] = text
