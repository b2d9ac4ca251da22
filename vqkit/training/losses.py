from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from vqkit.data import ImageDataset
from vqkit.errors import DataError
from vqkit.shapes import check_choice
from vqkit.training.train_config import RECONSTRUCTIONS

ReconstructionLoss = Callable[[Tensor, Tensor], Tensor]


def reconstruction_loss(name: str, dataset: ImageDataset) -> ReconstructionLoss:
    """The loss ``(reconstruction, images) -> 0-dim float32``.

    Args:
        name: "mse"; "mse/variance", the share of the data's variance left unexplained (as Sonnet's example trains);
            or "l1".
        dataset: the training images, whose variance is meant.

    Raises:
        ArgumentError: an unknown name.
        DataError: all images are alike, so there is no variance to divide by.

    Examples:
        >>> import torch
        >>> from vqkit.data import load_images
        >>> loss = reconstruction_loss("mse", load_images("digits", "train"))
        >>> loss(torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)).item()
        1.0
    """
    check_choice("train.reconstruction", name, RECONSTRUCTIONS)
    if name == "l1":
        return lambda reconstruction, x: F.l1_loss(reconstruction.float(), x.float())
    scale = 1.0
    if name == "mse/variance":
        # images all alike have a variance of rounding errors, not of exactly zero
        if dataset.variance() <= 1e-12 * dataset.spec.span**2:
            raise DataError(
                f"{dataset.name} {dataset.split}: all values are equal, so the mse has no variance to be divided by"
            )
        scale = 1 / dataset.variance()
    return lambda reconstruction, x: F.mse_loss(reconstruction.float(), x.float()) * scale
