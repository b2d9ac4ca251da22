"""Images of a Hugging Face data set, by name: ``hf:ylecun/mnist``, or ``hf:NAME:CONFIGURATION``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqkit.data.images import PictureSource
from vqkit.data.splits import Parts
from vqkit.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

PREFIX = "hf:"
SPLIT_NAMES = {"train": "train", "valid": "valid", "validation": "valid", "val": "valid", "test": "test"}


@dataclass(frozen=True)
class HubPictures:
    """The pictures in one column of one split; any object with rows of dicts will do."""

    rows: Any
    column: str
    name: str

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, row: int) -> Image:
        """The picture in ``row``."""
        return self.rows[row][self.column]

    def where(self, row: int) -> str:
        """The row's place in the data set."""
        return f"{self.name}, row {row}, column {self.column!r}"


def hub_parts(source: str, *, column: str | None = None) -> Parts:
    """The splits of the data set behind ``hf:NAME``, downloaded by the ``datasets`` library and kept in its cache.

    Args:
        source: ``hf:NAME`` or ``hf:NAME:CONFIGURATION``.
        column: the column that holds the images; ``None`` takes the only one that does.

    Raises:
        MissingExtraError: without the ``datasets`` package.
        DataError: when it cannot be had, or holds no images.
    """
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("datasets", "hub") from error
    name, _, configuration = source.removeprefix(PREFIX).partition(":")
    try:
        splits = datasets.load_dataset(name, configuration or None)
    except (OSError, ValueError) as error:
        raise DataError(f"{source}: cannot be loaded: {error}") from error
    named = {SPLIT_NAMES[key]: rows for key, rows in splits.items() if key in SPLIT_NAMES}
    if not named:
        raise DataError(f"{source}: expected splits called {', '.join(SPLIT_NAMES)}, got {', '.join(splits)}")
    # With nothing but train there is nothing to test on: it is divided like any undivided source.
    if set(named) == {"train"}:
        named = {"all": named["train"]}
    return {part: lambda rows=rows: read_hub(rows, source, column) for part, rows in named.items()}


def read_hub(rows: Any, source: str, column: str | None) -> PictureSource:
    """One split as a source of pictures.

    Raises:
        DataError: when ``column`` is not there, or no column (or several) holds images.
    """
    from PIL.Image import Image

    first = rows[0] if len(rows) else {}
    found = [key for key, value in first.items() if isinstance(value, Image)]
    if column is None and len(found) != 1 and first:
        got = ", ".join(found) or "none"
        raise DataError(f"{source}: expected one image column among {', '.join(first)}, got {got}; pass column=...")
    if column is not None and first and column not in found:
        raise DataError(f"{source}: column {column!r} holds no images; those that do: {', '.join(found) or 'none'}")
    return PictureSource(HubPictures(rows, column or (found[0] if found else ""), source))
