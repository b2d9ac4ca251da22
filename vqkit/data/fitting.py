"""Images brought to the spec a model was trained on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqkit.data.dataset import ImageDataset
from vqkit.data.folder import PictureFiles
from vqkit.data.images import PictureSource
from vqkit.data.registry import load_images
from vqkit.data.spec import ImageSpec
from vqkit.data.transforms import Transform
from vqkit.errors import DataError, bad_value


def read_pictures_as(paths: Sequence[str | os.PathLike[str]], spec: ImageSpec) -> ImageDataset:
    """Picture files as a data set of ``spec``: resized, cropped at the centre and converted as it needs.

    Args:
        paths: at least one picture file.
        spec: what a model takes.

    Raises:
        ArgumentError: for no paths.
        DataError: naming a file that cannot be read, or whose size does not fit a spec that is not square.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "red.png")
    ...     Image.new("RGB", (40, 30), "red").save(file)
    ...     read_pictures_as([file], ImageSpec(1, 8, 8))[0].shape
    torch.Size([1, 8, 8])
    """
    files = tuple(Path(path) for path in paths)
    if not files:
        raise bad_value("paths", "at least one picture file", "none")
    transform = Transform(size=_side(spec), channels=spec.channels)
    images = PictureSource(PictureFiles(files)).prepare(np.arange(len(files)), transform)
    name = files[0].name if len(files) == 1 else f"{len(files)} files"
    return check_spec(ImageDataset(images, (spec.low, spec.high), name=name, split="test"), spec)


def load_images_as(source: str | os.PathLike[str], split: str, spec: ImageSpec, **options: Any) -> ImageDataset:
    """The images of a split as a data set of ``spec``; otherwise like :func:`vqkit.data.load_images`.

    Raises:
        DataError: when the images do not fit a spec that is not square.

    >>> load_images_as("digits", "test", ImageSpec(3, 16, 16, -1, 1)).spec
    ImageSpec(channels=3, height=16, width=16, low=-1.0, high=1.0)
    """
    low_high = (spec.low, spec.high)
    loaded = load_images(source, split, size=_side(spec), channels=spec.channels, value_range=low_high, **options)
    return check_spec(loaded, spec)


def check_spec(dataset: ImageDataset, spec: ImageSpec) -> ImageDataset:
    """``dataset`` when its images are those of ``spec``.

    Raises:
        DataError: saying what differs.
    """
    if dataset.spec != spec:
        raise DataError(f"{dataset.name}: its images are {dataset.spec}, but the model takes {spec}")
    return dataset


def _side(spec: ImageSpec) -> int | None:
    # Only squares are resized to; images for any other spec must have its size already.
    return spec.height if spec.height == spec.width else None
