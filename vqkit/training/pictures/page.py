"""A page of pictures: a figure measured in pixels, with a title, sharp image tiles, and an atomic save."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vqkit.errors import MissingExtraError
from vqkit.models.files import commit, staged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Dense enough that text is sharp on any screen; sizes below are pixels of the file, text sizes are points.
DPI = 200
MARGIN, HEADER, FOOTER, NARROWEST = 56, 150, 48, 1240

INK, FAINT, RULE = "#1f2430", "#6b7280", "#d7dae0"
BLUE, ORANGE, GREEN, RED, PURPLE = "#2563a8", "#e07b1a", "#2a8c5a", "#c03a3a", "#7a4fb0"
FRAME = (215, 218, 224)


class Page:
    """A white page of ``width`` x ``height`` pixels under a title; positions count from the top left corner.

    Args:
        width, height: size in pixels, header and margins included; a page is never narrower than its title needs.
        title: what the page shows.
        note: one line under it, with the figures that matter.

    Raises:
        MissingExtraError: without matplotlib.
    """

    def __init__(self, width: int, height: int, title: str, note: str = ""):
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtraError("matplotlib", "train") from error
        self.width, self.height = max(width, NARROWEST), height
        self.figure = Figure(figsize=(self.width / DPI, height / DPI), dpi=DPI, facecolor="white")
        self.text(MARGIN, 40, title, size=15, weight="bold")
        self.text(MARGIN, 94, note, size=10, color=FAINT)

    def text(self, x: float, y: float, content: str, *, size: float = 10, color: str = INK, **style: Any) -> None:
        """Write at ``(x, y)``, by default to the right of ``x`` and below ``y``."""
        anchor: dict[str, Any] = {"ha": "left", "va": "top"} | style
        # A file name may hold a dollar sign; it is no formula.
        self.figure.text(
            x / self.width, 1 - y / self.height, content, size=size, color=color, parse_math=False, **anchor
        )

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Empty axes whose upper left corner is ``(x, y)``."""
        box = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def tile(self, image: np.ndarray, x: int, y: int, width: int, height: int) -> None:
        """Show an (H, W, 3) image of floats in [0, 1] with its upper left corner at ``(x, y)``, in a hairline frame."""
        framed = np.full((height + 2, width + 2, 3), FRAME, dtype=np.uint8)
        framed[1:-1, 1:-1] = scale(np.rint(image * 255).astype(np.uint8), height, width)
        self.figure.figimage(framed, xo=x - 1, yo=self.height - y - height - 1, origin="upper")

    def save(self, path: str | Path) -> Path:
        """Write the page as PNG: whole or not at all.

        Raises:
            OSError: when the folder cannot be written or the disk is full; an older picture is then left as it was.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged(path) as temporary:
            self.figure.savefig(temporary, format="png")
            commit(temporary, path)
        return path


def scale(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 to (height, width, 3): enlarged pixel by pixel, or shrunk smoothly."""
    if height < image.shape[0] or width < image.shape[1]:
        from PIL import Image

        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    return image[rows[:, None], columns]


def plain_axes(axes: Axes) -> Axes:
    """Axes for a chart: no box, quiet ticks, faint horizontal lines."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(colors=FAINT, labelsize=9, length=0, pad=6)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes
