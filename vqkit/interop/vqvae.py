"""The names of hoanhle/vqvae over ``vqkit.VectorQuantize`` and the convolutions of ``vqkit.models``.

``from vqkit.interop.vqvae import VectorQuantizer`` in place of ``from models.vqvae import VectorQuantizer``.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vqkit.codebook import EMA, Gradient, OnlineClustering
from vqkit.models import ConvVQVAEConfig
from vqkit.models.conv import decoder, encoder
from vqkit.models.residual import init_fan_in
from vqkit.quantizers import Commitment, VectorQuantize
from vqkit.shapes import check_choice, check_int, check_number

ANCHORS = {"random": "random", "closest": "closest", "probrandom": "probability"}


class VectorQuantizer(nn.Module):
    """Replace every vector along axis 1 by its nearest code; the forward returns the quantized tensor alone.

    What else a forward gives is in its attributes:

    - ``last_encoding_indices``: (B, positions) int64, −1 for vectors with NaN or inf;
    - ``last_commitment_loss``: () float32, mean|x − sg e|², without its weight β, which is the caller's;
    - ``last_dictionary_loss``: () float32, mean|sg x − e|², or None with ``use_ema``.

    Args:
        embedding_dim: channels of the input. num_embeddings: codes.
        use_ema: codes are moving averages of the vectors they draw; else parameters that the dictionary loss moves.
        decay, epsilon: of the averages, which are debiased as Sonnet's are.
        online_update: every step each code moves towards an anchor, the further the less it is used (CVQ-VAE).
        anchor: a ``"random"`` vector of the batch, the ``"closest"``, or one drawn by its distance (``"probrandom"``).

    Raises:
        ArgumentError, ArgumentTypeError: arguments that do not fit.

    Example:
        >>> import torch
        >>> vq = VectorQuantizer(embedding_dim=32, num_embeddings=512, use_ema=True, decay=0.99, epsilon=1e-5)
        >>> vq(torch.randn(2, 32, 8, 8)).shape, vq.last_encoding_indices.shape
        (torch.Size([2, 32, 8, 8]), torch.Size([2, 64]))
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        use_ema: bool,
        decay: float,
        epsilon: float,
        online_update: bool = False,
        anchor: str = "random",
    ):
        super().__init__()
        self.embedding_dim, self.num_embeddings = embedding_dim, check_int("num_embeddings", num_embeddings)
        self.use_ema = use_ema
        check_int("embedding_dim", embedding_dim)
        check_number("epsilon", epsilon, 0)
        check_choice("anchor", anchor, tuple(ANCHORS))
        self.vq = VectorQuantize(
            embedding_dim,
            num_embeddings,
            update=EMA(decay, epsilon, debias=True) if use_ema else Gradient(),
            revive=OnlineClustering(ANCHORS[anchor], decay) if online_update else None,
            objectives=(Commitment(),),
            channel_dim=1,
        )
        self.last_dictionary_loss: Tensor | None = None
        self.last_commitment_loss: Tensor | None = None
        self.last_encoding_indices: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Quantize ``x`` (B, embedding_dim, ...); the same shape and dtype, the gradient straight through."""
        quantized, indices, _, terms = self.vq(x, return_loss_breakdown=True)
        self.last_dictionary_loss = None if self.use_ema else terms.codebook
        self.last_commitment_loss = terms.commitment
        self.last_encoding_indices = indices.reshape(len(x), indices.shape[1:].numel())
        return quantized

    def encode(self, x: Tensor) -> Tensor:
        """Indices (B, ...) of ``x`` in its own grid; changes nothing."""
        return self.vq.encode(x)

    def decode(self, indices: Tensor) -> Tensor:
        """The quantized tensor (B, embedding_dim, ...) of indices (B, ...)."""
        return self.vq.decode(indices)

    def __getstate__(self) -> dict[str, Any]:
        # What belongs to a forward is not copied: tensors within a graph cannot be.
        state = dict(self.__dict__)
        return state | dict.fromkeys(name for name in state if name.startswith("last_"))


class VQVAE(nn.Module):
    """Convolutions down to a grid of codes and back up (van den Oord et al. 2017, arXiv:1711.00937).

    Images (B, in_channels, H, W), H and W multiples of 2^num_downsampling_layers, to reconstructions of their shape. A
    forward leaves ``encoding_indices``, ``commitment_loss`` and ``dictionary_loss`` as ``VectorQuantizer`` does. A
    model that also saves itself and trains from the command line is ``vqkit.models.ConvVQVAE``.

    Args:
        num_hiddens: channels of the residual stream, even. num_residual_layers, num_residual_hiddens: of the residual
            stacks. The others are ``VectorQuantizer``'s.

    Example:
        >>> import torch
        >>> model = VQVAE(3, 16, 2, 2, 8, embedding_dim=8, num_embeddings=32, use_ema=True, decay=0.99, epsilon=1e-5)
        >>> model(torch.rand(2, 3, 16, 16)).shape, model.encoding_indices.shape
        (torch.Size([2, 3, 16, 16]), torch.Size([2, 16]))
    """

    def __init__(
        self,
        in_channels: int,
        num_hiddens: int,
        num_downsampling_layers: int,
        num_residual_layers: int,
        num_residual_hiddens: int,
        embedding_dim: int,
        num_embeddings: int,
        use_ema: bool,
        decay: float,
        epsilon: float,
        online_update: bool = False,
        anchor: str = "random",
    ):
        super().__init__()
        check_int("in_channels", in_channels)
        shape = ConvVQVAEConfig(
            hidden=num_hiddens,
            downsamplings=num_downsampling_layers,
            residual_blocks=num_residual_layers,
            residual_hidden=num_residual_hiddens,
        )
        self.vq = VectorQuantizer(embedding_dim, num_embeddings, use_ema, decay, epsilon, online_update, anchor)
        self.encoder, self.decoder = (
            encoder(shape, in_channels, embedding_dim),
            decoder(shape, in_channels, embedding_dim),
        )
        self.encoder.apply(init_fan_in)
        self.decoder.apply(init_fan_in)

    def quantize(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) to quantized latents (B, embedding_dim, h, w)."""
        return self.vq(self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.quantize(x))

    @property
    def encoding_indices(self) -> Tensor | None:
        """(B, h·w) int64 of the last forward."""
        return self.vq.last_encoding_indices

    @property
    def commitment_loss(self) -> Tensor | None:
        """() float32 of the last forward."""
        return self.vq.last_commitment_loss

    @property
    def dictionary_loss(self) -> Tensor | None:
        """() float32 of the last forward; None with ``use_ema``."""
        return self.vq.last_dictionary_loss
