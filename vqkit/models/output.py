from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class VQVAEOutput(NamedTuple):
    """What an autoencoder's forward returns.

    Attributes:
        reconstruction: (B, C, H, W), the images out of the decoder, in the range of the model's spec.
        indices: (B, *latent_shape) int64, the codes chosen.
        loss: 0-dim, the quantizer's own loss; the reconstruction loss is the training's to choose.
    """

    reconstruction: Tensor
    indices: Tensor
    loss: Tensor
