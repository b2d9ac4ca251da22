"""A folder of pictures: flat or in class subfolders, perhaps divided into train, valid and test subfolders."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqkit.data.idx import DEFLATE_MAX_RATIO
from vqkit.data.images import PictureSource
from vqkit.data.splits import Parts
from vqkit.data.transforms import pillow, readable
from vqkit.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
PNG_BITS = {"RGB": 24, "RGBA": 32, "LA": 16, "I;16": 16}  # of a pixel; grey and palettes may have one
SPLIT_FOLDERS = {"train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid"}
SPLIT_FOLDERS |= {"test": "test", "testing": "test"}


@dataclass(frozen=True)
class PictureFiles:
    """Picture files, opened one at a time."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, row: int) -> Image:
        """The picture in file ``row``.

        Raises:
            DataError: naming the file when it is missing or no picture.
        """
        return open_picture(self.paths[row])

    def where(self, row: int) -> str:
        """The file's path."""
        return str(self.paths[row])


def open_picture(path: Path) -> Image:
    """The picture in ``path``, its header read; the file is closed when the pixels are.

    Raises:
        DataError: naming the file when it is missing or no picture.
    """
    with readable(str(path)):
        # by their content, whatever they are called: Pillow has formats that start other programs
        picture = pillow().open(path, formats=FORMATS)
        size = path.stat().st_size
    bits = picture.width * picture.height * PNG_BITS.get(picture.mode, 1)
    if picture.format == "PNG" and bits > 8 * DEFLATE_MAX_RATIO * size:
        promised = f"{picture.width}x{picture.height} pixels"
        raise DataError(f"{path}: promises {promised}, more than its {size} bytes can hold")
    return picture


def find_pictures(folder: Path) -> tuple[Path, ...]:
    """Every picture file under ``folder``, sorted by path; hidden files and folders are passed over."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return tuple(sorted(found))


def read_pictures(folder: Path) -> PictureSource:
    """The pictures under ``folder`` as a source.

    Raises:
        DataError: when there are none.
    """
    paths = find_pictures(folder)
    if not paths:
        raise DataError(f"{folder}: the data set is empty: no file ends in {', '.join(SUFFIXES)}")
    return PictureSource(PictureFiles(paths))


def folder_parts(folder: Path) -> Parts:
    """The split subfolders when there are any, else the whole folder as one undivided source.

    Raises:
        DataError: when two subfolders stand for the same split.
    """
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        split = SPLIT_FOLDERS.get(entry.name.lower())
        if split is None or not entry.is_dir():
            continue
        if split in found:
            raise DataError(f"{folder}: {found[split].name} and {entry.name} both stand for {split!r}")
        found[split] = entry
    if not found:
        return {"all": lambda: read_pictures(folder)}
    return {split: lambda path=path: read_pictures(path) for split, path in found.items()}
