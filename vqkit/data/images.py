"""Where a data set's images are kept: in memory, or in pictures decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vqkit.data.transforms import Transform, convert_channels, natural_channels, to_array, upright_size
from vqkit.errors import DataError, bad_value

if TYPE_CHECKING:
    from PIL.Image import Image

# Headers looked at before training starts; every picture is checked again when it is read.
SURVEYED = 1000


class Images(Protocol):
    """N images of one shape, as raw values in ``[low, high]``."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(H, W, C)`` of every image."""
        ...

    @property
    def raw_range(self) -> tuple[float, float]:
        """The raw values that mean black and white."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """The images at ``rows`` as an (n, H, W, C) array of raw values, uint8 or float32."""
        ...


class Source(Protocol):
    """N images as a file or a folder holds them, before any of them is picked or changed."""

    def __len__(self) -> int: ...

    def prepare(self, rows: np.ndarray, transform: Transform) -> Images:
        """The images at ``rows``, each put through ``transform``."""
        ...


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory: both a source and, once prepared, what a data set reads.

    Args:
        values: (N, H, W, C), uint8 or float32.
        raw_range: the raw values of black and white.

    >>> import numpy as np
    >>> images = ArrayImages(np.zeros((5, 4, 4, 1), dtype=np.uint8), (0.0, 255.0))
    >>> images.prepare(np.array([0, 3]), Transform(size=2)).read([1]).shape
    (1, 2, 2, 1)
    """

    values: np.ndarray
    raw_range: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(H, W, C)`` of every image."""
        _, height, width, channels = self.values.shape
        return height, width, channels

    def __len__(self) -> int:
        return len(self.values)

    def prepare(self, rows: np.ndarray, transform: Transform) -> ArrayImages:
        """The images at ``rows`` (a copy), transformed once and for all."""
        values = self.values[rows]
        if transform.channels is not None:
            values = convert_channels(values, transform.channels)
        if transform.size is not None and values.shape[1:3] != (transform.size, transform.size):
            if self.raw_range == (0.0, 255.0):
                values = np.stack([transform(image) for image in values])
            else:
                # Bicubic overshoots: Pillow clips 8-bit planes, other ranges are clipped here.
                values = np.stack([transform(image) for image in values.astype(np.float32)]).clip(*self.raw_range)
        return ArrayImages(values, self.raw_range)

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """The images at ``rows``, (n, H, W, C)."""
        return self.values[np.asarray(rows, dtype=np.int64)]


class Pictures(Protocol):
    """N encoded pictures: files, or rows of a table."""

    def __len__(self) -> int: ...

    def open(self, row: int) -> Image:
        """The picture at ``row``, its pixels perhaps not decoded yet."""
        ...

    def where(self, row: int) -> str:
        """The picture's name, for an error message."""
        ...


@dataclass(frozen=True)
class PictureSource:
    """A source of pictures that are decoded when they are read."""

    pictures: Pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def prepare(self, rows: np.ndarray, transform: Transform) -> PictureImages:
        """The pictures at ``rows``; a survey of their headers settles what ``transform`` leaves open.

        Raises:
            DataError: for an unreadable picture, or pictures of several sizes when no size is asked for.
        """
        seen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SURVEYED)).astype(np.int64))
        if transform.size is not None and transform.channels is not None:
            seen = seen[:1]
        channels, first = 1, None
        for row in rows[seen].tolist():
            where = self.pictures.where(row)
            with self.pictures.open(row) as picture:
                channels = max(channels, natural_channels(picture, where))
                size = upright_size(picture, where)
            first = first or (size, where)
            if transform.size is None and size != first[0]:
                raise mixed_sizes(where, size, *first)
        if first is None:
            raise bad_value("rows", "at least one image", 0)
        (height, width), _ = first
        if transform.size is not None:
            height = width = transform.size
        if transform.channels not in (None, 1, 3):
            raise bad_value("channels", "1 or 3 for pictures", transform.channels)
        return PictureImages(self.pictures, rows, transform, (height, width, transform.channels or channels))


@dataclass(frozen=True)
class PictureImages:
    """Pictures decoded and transformed each time they are read; memory holds one batch."""

    pictures: Pictures
    rows: np.ndarray
    transform: Transform
    shape: tuple[int, int, int]
    raw_range: tuple[float, float] = (0.0, 255.0)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """The images at ``rows``, (n, H, W, C) uint8.

        Raises:
            DataError: naming a picture that cannot be read or does not fit the others.
        """
        return np.stack([self._read_one(int(self.rows[row])) for row in rows])

    def _read_one(self, row: int) -> np.ndarray:
        where = self.pictures.where(row)
        with self.pictures.open(row) as picture:
            array = to_array(picture, where)
        height, width, channels = self.shape
        if array.shape[2] > channels and self.transform.channels is None:
            raise DataError(f"{where}: a colour picture among grey ones; say channels=1 or channels=3")
        if self.transform.size is None and array.shape[:2] != (height, width):
            raise mixed_sizes(where, array.shape[:2], (height, width), self.pictures.where(int(self.rows[0])))
        return self.transform(convert_channels(array, channels))


def mixed_sizes(where: str, size: Sequence[int], first_size: Sequence[int], first: str) -> DataError:
    """The error for pictures of several sizes, naming two of them."""
    return DataError(
        f"{where}: {size[1]}x{size[0]} pixels, but {first} has {first_size[1]}x{first_size[0]}; "
        "pass size=... to bring all images to one size"
    )
