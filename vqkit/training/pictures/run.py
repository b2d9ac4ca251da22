from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqkit.data import ImageDataset
from vqkit.functional.usage import count_codes
from vqkit.models import VQVAE
from vqkit.training.code_counts import index_sizes, no_counts
from vqkit.training.config import RunConfig
from vqkit.training.evaluate import evaluating
from vqkit.training.pictures.atlas import draw_atlas
from vqkit.training.pictures.codebook import draw_codebook, has_patches, mean_patches
from vqkit.training.pictures.curves import draw_curves
from vqkit.training.pictures.index_maps import draw_index_maps
from vqkit.training.pictures.reconstructions import draw_reconstructions
from vqkit.training.pictures.samples import draw_samples, random_codes, shuffled_codes
from vqkit.training.pictures.usage import draw_usage

SHOWN, MAPS_SHOWN, SAMPLES = 16, 12, 32


@torch.no_grad()
def draw_run(model: VQVAE, run: RunConfig, out_dir: str | Path, *, batch_size: int = 128) -> list[Path]:
    """Draw everything worth seeing of a trained model into ``out_dir/pictures``.

    Reconstructions, index maps, samples, code usage and the codebook come from the validation images, the curves from
    ``out_dir/metrics.jsonl``. Torch's global random state and the model are left as they were.

    Args:
        model: the trained model.
        run: its run; says where the images are.
        out_dir: the run's folder.
        batch_size: images encoded at a time.

    Returns:
        The pictures' paths.

    Raises:
        DataError: when the images cannot be read.
        OSError: when a picture cannot be written; those before it are whole.
    """
    out_dir = Path(out_dir)
    folder = out_dir / "pictures"
    dataset = run.data.load("valid")
    where = f"{Path(dataset.name).name}, {dataset.split} split"
    with evaluating(model):
        drawn = draw_model(model, dataset, folder, where, batch_size)
    metrics = out_dir / "metrics.jsonl"
    if metrics.is_file() and metrics.stat().st_size:
        note = f"{Path(dataset.name).name}, {model.config.model_type}, {max(index_sizes(model.quantizer))} codes"
        drawn.append(draw_curves(metrics, folder / "curves.png", note=note))
    return drawn


def draw_model(model: VQVAE, dataset: ImageDataset, folder: Path, where: str, batch_size: int) -> list[Path]:
    """The pictures that need the model and images."""
    device = next(model.parameters()).device
    images = dataset.batch(spread(len(dataset), SHOWN)).to(device)
    indices = encode_all(model, dataset, batch_size)
    by_place = shuffled_codes(indices, SAMPLES, seed=0).to(device)
    uniform = "every place draws its code from the whole codebook, all codes alike"
    placed = f"every place draws its code from what stands there in an image of {where}"
    spec = model.spec
    drawn = [
        draw_reconstructions(
            images,
            model(images).reconstruction,
            spec,
            folder / "reconstructions.png",
            title=f"Reconstructions · {where}",
        ),
        draw_samples(
            model.decode(random_codes(model, SAMPLES, seed=0).to(device)), spec, folder / "samples.png", note=uniform
        ),
        draw_samples(
            model.decode(by_place), spec, folder / "samples_by_place.png", title="Samples, place by place", note=placed
        ),
    ]
    if no_counts(model.quantizer, device).shape[1] == 0:
        return drawn  # more codes than a picture of them could show
    size = max(index_sizes(model.quantizer))
    counts = count_codes(indices.flatten(), size)
    counted = f"{indices.numel():,} codes of {len(dataset):,} images, {where}"
    drawn.append(
        draw_index_maps(
            images[:MAPS_SHOWN],
            groups_last(model, model.encode(images[:MAPS_SHOWN])),
            size,
            spec,
            folder / "index_maps.png",
            title=f"Index maps · {where}",
        )
    )
    drawn.append(draw_usage(counts, folder / "usage.png", note=counted))
    # A code of one place is best seen by what lay there; a code of the whole image by what it decodes to.
    if has_patches(model.latent_shape, spec):
        drawn.append(draw_codebook(mean_patches(dataset, indices, size), counts, spec, folder / "codebook.png"))
    else:
        drawn.append(draw_atlas(model, folder / "atlas.png", counts=counts[: min(index_sizes(model.quantizer))]))
    return drawn


def groups_last(model: VQVAE, indices: Tensor) -> Tensor:
    """Indices of grouped quantizers, (B, G, h, w, Q), as maps with one more index a place, (B, h, w, G·Q)."""
    if getattr(model.quantizer, "batch_axis", 0) == 0:
        return indices
    columns, layout = model.quantizer.columns(indices.movedim(0, 1))
    return layout.arrange(columns)


def encode_all(model: VQVAE, dataset: ImageDataset, batch_size: int) -> Tensor:
    """The indices of every image of ``dataset``: (N, *latent_shape) int64 on the CPU."""
    device = next(model.parameters()).device
    starts = range(0, len(dataset), batch_size)
    rows = [range(start, min(start + batch_size, len(dataset))) for start in starts]
    return torch.cat([model.encode(dataset.batch(part).to(device)).cpu() for part in rows])


def spread(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of ``range(count)``, evenly spaced: the same images at every call.

    >>> spread(100, 4), spread(2, 4)
    ([0, 33, 66, 99], [0, 1])
    """
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64)).tolist()
