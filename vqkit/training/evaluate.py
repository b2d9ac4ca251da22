from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqkit import distributed
from vqkit.data import ImageDataset
from vqkit.models import VQVAE
from vqkit.training.code_counts import code_counts, no_counts, usage_and_perplexity
from vqkit.training.losses import ReconstructionLoss


class Evaluation(NamedTuple):
    """A model over a whole split.

    Attributes:
        mse: mean squared error over all values, in units of the value range squared.
        reconstruction: the training's reconstruction loss, averaged over the images.
        dataset_usage: share of the codes hit anywhere in the split.
        dataset_perplexity: perplexity of all codes of the split together.
        batch_usage, batch_perplexity: the same within one batch, averaged over the batches; they grow with its size.
    """

    mse: float
    reconstruction: float
    dataset_usage: float
    dataset_perplexity: float
    batch_usage: float
    batch_perplexity: float


@torch.no_grad()
def evaluate(
    model: VQVAE,
    dataset: ImageDataset,
    loss: ReconstructionLoss,
    *,
    batch_size: int,
    autocast: AbstractContextManager[object] | None = None,
) -> Evaluation:
    """Measure ``model`` in eval mode on every image of ``dataset``; every process takes a share of the batches.

    Args:
        model: it is left in the mode it came in, and its state untouched.
        dataset: at least one image.
        loss: the reconstruction loss to report.
        batch_size: images at a time; it decides ``batch_usage`` and ``batch_perplexity``.
        autocast: a context for the forwards, as mixed precision needs.

    Examples:
        >>> import torch.nn.functional as F
        >>> from vqkit.data import load_images
        >>> from vqkit.models import MLPVQVAE, MLPVQVAEConfig
        >>> digits = load_images("digits", "valid")
        >>> quantizer = {"type": "VectorQuantize", "dim": 8, "codebook_size": 16}
        >>> model = MLPVQVAE(MLPVQVAEConfig(quantizer=quantizer, spec=digits.spec, codes=4))
        >>> evaluate(model, digits, F.mse_loss, batch_size=64).mse < 1
        True
    """
    device = next(model.parameters()).device
    counts = no_counts(model.quantizer, device)
    # squared error, loss, images, batches, batch usage, batch perplexity
    sums = torch.zeros(6, dtype=torch.float64, device=device)
    with evaluating(model), autocast or nullcontext():
        for rows in batches(len(dataset), batch_size):
            x = dataset.batch(rows).to(device)
            out = model(x)
            batch_counts = code_counts(model.quantizer, out.indices)
            error = (out.reconstruction.double() - x.double()).square().mean()
            figures = torch.stack([error, loss(out.reconstruction, x).double()]) * len(rows)
            spread = usage_and_perplexity(model.quantizer, batch_counts)
            counts += batch_counts
            sums += torch.cat([figures, one(len(rows), 1, *spread, like=sums)])
    counts, sums = distributed.summed([counts, sums])
    error, total_loss, images, rounds, used, perplexed = sums.tolist()
    dataset_usage, dataset_perplexity = usage_and_perplexity(model.quantizer, counts)
    return Evaluation(
        mse=error / images,
        reconstruction=total_loss / images,
        dataset_usage=dataset_usage.item(),
        dataset_perplexity=dataset_perplexity.item(),
        batch_usage=used / rounds,
        batch_perplexity=perplexed / rounds,
    )


def one(*values: float | Tensor, like: Tensor) -> Tensor:
    """Numbers and 0-dim tensors as one vector, in the dtype and on the device of ``like``."""
    return torch.stack([torch.as_tensor(value, dtype=like.dtype, device=like.device) for value in values])


def batches(images: int, batch_size: int) -> Iterator[range]:
    """This process's share of the rows 0 to ``images``, a batch at a time; the last of all may be smaller."""
    starts = range(0, images, batch_size)[distributed.rank() :: distributed.world_size()]
    return (range(start, min(start + batch_size, images)) for start in starts)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within, the model is in eval mode."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
