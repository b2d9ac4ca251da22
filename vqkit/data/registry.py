"""``load_images``: from a name or a path to a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqkit.data.arrays import array_parts
from vqkit.data.cifar10 import cifar10_parts, is_cifar10
from vqkit.data.dataset import ImageDataset
from vqkit.data.digits import digits_parts
from vqkit.data.folder import folder_parts
from vqkit.data.hub import PREFIX, hub_parts
from vqkit.data.idx import find_idx, idx_parts
from vqkit.data.spec import check_range
from vqkit.data.splits import SPLITS, Parts, choose_split
from vqkit.data.transforms import Transform
from vqkit.errors import DataError, bad_type, bad_value
from vqkit.shapes import check_choice

NAMED = {"digits": digits_parts}


def load_images(
    source: str | os.PathLike[str],
    split: str,
    *,
    size: int | None = None,
    channels: int | None = None,
    value_range: Sequence[float] = (0.0, 1.0),
    resample: str = "bicubic",
    valid_fraction: float = 0.1,
    seed: int = 0,
    **source_options: Any,
) -> ImageDataset:
    """The images of ``split`` of ``source``, as float32 tensors (C, H, W) in ``value_range``.

    Args:
        source: a known name ("digits"), a Hugging Face data set ("hf:ylecun/mnist"), or a path: a folder of MNIST's idx
            files, of CIFAR-10's batches or of pictures, or an idx, ``.npy`` or ``.npz`` file.
        split: "train", "valid" or "test". A source with train and test only has ``valid`` carved out of train; one
            that is undivided is divided 80 / 10 / 10.
        size: images become ``size`` x ``size`` pixels (shorter side scaled, centre kept); ``None`` keeps their size.
        channels: 1 for grey, 3 for colour (red, green, blue); ``None`` keeps what the source has.
        value_range: the values of black and white.
        resample: "bicubic" or "area", used when ``size`` changes anything.
        valid_fraction, seed: how ``valid`` is carved out, see :func:`vqkit.data.splits.choose_split`.
        **source_options: ``layout`` and ``source_range`` for NumPy files, ``column`` for ``hf:`` data sets.

    Raises:
        ArgumentError, ArgumentTypeError: for an unknown name or split, or a bad value.
        DataError: naming the file, when it cannot be read, is empty, or mixes sizes while ``size`` is not given.
        MissingExtraError: when the package a source needs is not installed.

    >>> digits = load_images("digits", "train", size=16, value_range=(-0.5, 0.5))
    >>> len(digits), digits.spec
    (1437, ImageSpec(channels=1, height=16, width=16, low=-0.5, high=0.5))
    """
    if not isinstance(source, str | os.PathLike):
        raise bad_type("source", "a name or a path", source)
    name = os.fspath(source)
    check_choice("split", split, SPLITS)
    transform = Transform(size=size, channels=channels, resample=resample)
    low_high = check_range("value_range", value_range)
    parts = open_parts(name, dict(source_options))
    images, rows = choose_split(parts, split, valid_fraction=valid_fraction, seed=seed, name=name)
    return ImageDataset(images.prepare(rows, transform), low_high, name=name, split=split)


def open_parts(source: str, options: dict[str, Any]) -> Parts:
    """The parts of ``source``, found by its name or by what lies at its path.

    Raises:
        ArgumentError: for a source that is neither, or an option it does not take.
        DataError: for a file or folder of no known kind.
    """
    if source.startswith(PREFIX):
        _check_options(source, options, ("column",))
        return hub_parts(source, **options)
    if source in NAMED:
        _check_options(source, options, ())
        return NAMED[source]()
    path = Path(source).expanduser()
    if not path.exists():
        raise bad_value("source", f"{', '.join(NAMED)}, {PREFIX}NAME, or a path that exists", repr(source))
    if path.suffix in (".npy", ".npz"):
        _check_options(source, options, ("layout", "source_range"))
        if options.get("source_range") is not None:
            options["source_range"] = check_range("source_range", options["source_range"])
        return array_parts(path, **options)
    _check_options(source, options, ())
    return _folder_or_idx(path)


def _folder_or_idx(path: Path) -> Parts:
    if path.is_file():
        if "idx" not in path.name:
            raise DataError(f"{path}: not a data set; expected a folder, or an idx, .npy or .npz file")
        return idx_parts(path)
    if find_idx(path):
        return idx_parts(path)
    return cifar10_parts(path) if is_cifar10(path) else folder_parts(path)


def _check_options(source: str, options: dict[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = ", ".join(known) or "none"
        raise bad_value("source options", f"those {source} takes ({takes})", ", ".join(unknown))
