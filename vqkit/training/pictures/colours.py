"""One colour per code, the same in every picture."""

from __future__ import annotations

import colorsys

import numpy as np

GOLDEN = 0.6180339887498949
LIGHTNESS = (0.42, 0.60, 0.76)
NOTHING = (1.0, 1.0, 1.0)


def code_colours(count: int) -> np.ndarray:
    """(count, 3) floats in [0, 1]: hues a golden angle apart, in three lightnesses, so that neighbours differ.

    >>> code_colours(512).shape
    (512, 3)
    """
    hues = (np.arange(count) * GOLDEN + 0.58) % 1
    return np.array(
        [colorsys.hls_to_rgb(hue, LIGHTNESS[i % 3], 0.68 - 0.1 * (i // 3 % 3)) for i, hue in enumerate(hues.tolist())]
    )


def paint(indices: np.ndarray, count: int) -> np.ndarray:
    """Indices (...) in [-1, count) to colours (..., 3); -1, a dropped code, is white."""
    return np.concatenate([code_colours(count), [NOTHING]])[indices]


def readable_on(colour: np.ndarray) -> str:
    """Black or white, whichever can be read on ``colour``."""
    return "#10131a" if colour @ np.array([0.299, 0.587, 0.114]) > 0.5 else "white"
