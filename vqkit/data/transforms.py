"""From a decoded picture to an array of the wanted size and channels. Arrays here are (H, W, C), channels last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vqkit.errors import DataError, MissingExtraError, VqkitError, bad_value
from vqkit.shapes import check_choice, check_int

if TYPE_CHECKING:
    from PIL.Image import Image

RESAMPLINGS = ("bicubic", "area")
GREY_MODES = ("1", "L", "LA", "I;16", "I;16L", "I;16B")
ORIENTATION = 0x0112  # the EXIF tag
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
# ITU-R BT.601 luma, the weights of every "convert to grey" a reader is likely to compare with.
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Transform:
    """What is done to every image before its values are scaled: channels first, then size.

    Args:
        size: the images become ``size`` x ``size``: scaled so that the shorter side fits, then cropped at the centre.
            ``None`` keeps them as they are.
        channels: ``1`` (luma of a colour image) or ``3`` (a grey image three times); ``None`` keeps them.
        resample: ``"bicubic"`` (Pillow's, antialiased) or ``"area"`` (mean over each target pixel).

    >>> import numpy as np
    >>> Transform(size=4, channels=3)(np.zeros((8, 6, 1), dtype=np.uint8)).shape
    (4, 4, 3)
    """

    size: int | None = None
    channels: int | None = None
    resample: str = "bicubic"

    def __post_init__(self) -> None:
        if self.size is not None:
            check_int("size", self.size)
        if self.channels is not None:
            check_int("channels", self.channels)
        check_choice("resample", self.resample, RESAMPLINGS)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, C) uint8 or float32 to (H', W', C') of the same dtype."""
        if self.channels is not None:
            image = convert_channels(image, self.channels)
        return image if self.size is None else resize(image, self.size, self.resample)


def convert_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """(..., C) to (..., ``channels``): grey is repeated, colour becomes its luma; the dtype stays.

    Raises:
        ArgumentError: for anything but 1 to 3 and 3 to 1.

    >>> import numpy as np
    >>> convert_channels(np.full((1, 1, 3), 200, dtype=np.uint8), 1).item()
    200
    """
    have = image.shape[-1]
    if have == channels:
        return image
    if (have, channels) == (1, 3):
        return np.repeat(image, 3, axis=-1)
    if (have, channels) != (3, 1):
        raise bad_value("channels", f"{have} as in the data, or 1 from 3, or 3 from 1", channels)
    grey = (image.astype(np.float64) @ LUMA)[..., None]
    return (np.rint(grey) if np.issubdtype(image.dtype, np.integer) else grey).astype(image.dtype)


def resize(image: np.ndarray, size: int, resample: str = "bicubic") -> np.ndarray:
    """(H, W, C) uint8 or float32 to (``size``, ``size``, C): shorter side scaled to ``size``, centre kept.

    >>> import numpy as np
    >>> resize(np.arange(4, dtype=np.float32).reshape(2, 2, 1), 1, "area").item()
    1.5
    """
    height, width = image.shape[:2]
    if height == width == size:
        return image
    pil = pillow()
    method = {"bicubic": pil.Resampling.BICUBIC, "area": pil.Resampling.BOX}[resample]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    planes = [
        np.asarray(
            pil.fromarray(np.ascontiguousarray(image[:, :, c])).resize(
                (size, size), method, box=(left, top, left + side, top + side)
            )
        )
        for c in range(image.shape[2])
    ]
    return np.stack(planes, axis=-1)


def natural_channels(picture: Image, where: str) -> int:
    """1 for a grey picture, 3 for a colour one (transparency is not a channel of it).

    Raises:
        DataError: for pixel formats whose range no file states (32-bit integers and floats).
    """
    if picture.mode in GREY_MODES:
        return 1
    if picture.mode in COLOUR_MODES:
        return 3
    raise DataError(f"{where}: pixel format {picture.mode!r} is not supported; expected grey, palette or colour")


def upright_size(picture: Image, where: str) -> tuple[int, int]:
    """``(height, width)`` in pixels once the picture is turned as its EXIF orientation says; decodes nothing.

    Raises:
        DataError: naming ``where`` when its EXIF data cannot be read.
    """
    # Asking a PNG without EXIF data for it would decode the pixels.
    if "exif" not in picture.info:
        return picture.height, picture.width
    with readable(where):
        sideways = picture.getexif().get(ORIENTATION) in (5, 6, 7, 8)
    return picture.size if sideways else (picture.height, picture.width)


def to_array(picture: Image, where: str) -> np.ndarray:
    """Decode ``picture`` to (H, W, 1 or 3) uint8, upright as its EXIF orientation says; transparency is dropped.

    Raises:
        DataError: naming ``where`` when the picture cannot be decoded.
    """
    from PIL import ImageOps

    channels = natural_channels(picture, where)
    with readable(where):
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I;16"):
            return np.rint(np.asarray(picture)[..., None] / 257).astype(np.uint8)
        array = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return array.reshape(*array.shape[:2], channels)


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Whatever Pillow raises for a picture it cannot read becomes a ``DataError`` that names ``where``."""
    try:
        yield
    except VqkitError:
        raise
    # A damaged picture fails in its decoder's own ways; whatever it is, the file is to blame.
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{where}: not a readable image: {reason}") from error


def pillow() -> Any:
    """The module ``PIL.Image``, or an error that says which extra brings it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "train") from error
    return Image
