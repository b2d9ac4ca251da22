"""The 1,797 handwritten digits that come with scikit-learn: real, small, and there without a network."""

from __future__ import annotations

import numpy as np

from vqkit.data.images import ArrayImages
from vqkit.data.splits import Parts
from vqkit.errors import MissingExtraError


def read_digits() -> ArrayImages:
    """1,797 grey images of 8x8 pixels with 17 levels, 0 to 16 (E. Alpaydin and C. Kaynak, UCI, 1998).

    Raises:
        MissingExtraError: without scikit-learn.

    >>> read_digits().values.shape
    (1797, 8, 8, 1)
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "train") from error
    images: np.ndarray = load_digits().images  # pyright: ignore[reportAttributeAccessIssue]
    return ArrayImages(images.astype(np.uint8)[..., None], (0.0, 16.0))


def digits_parts() -> Parts:
    """One undivided source."""
    return {"all": read_digits}
