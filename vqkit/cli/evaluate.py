from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqkit.cli.trained import DATA_HELP, MODEL_HELP

if TYPE_CHECKING:
    from torch import Tensor

    from vqkit.training import Evaluation
    from vqkit.training.image_metrics import ImageScores


def evaluate(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    data: Annotated[str | None, typer.Option(help=DATA_HELP)] = None,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    batch_size: Annotated[int, typer.Option(help="Images at a time; batch perplexity grows with it.")] = 128,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("evaluation.json"),
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, ...")] = "cpu",
) -> None:
    """Measure a model on every image of a split: MSE, PSNR, SSIM, code usage and perplexity."""
    import torch.nn.functional as F

    from vqkit.cli.trained import images_for, load_model, table
    from vqkit.models.files import write_text
    from vqkit.shapes import check_int
    from vqkit.training import evaluate
    from vqkit.training.code_counts import index_sizes
    from vqkit.training.image_metrics import ImageMetrics

    check_int("--batch-size", batch_size)
    vqvae = load_model(model, device)
    dataset = images_for(vqvae, model, data, split)
    metrics = ImageMetrics(vqvae.spec.span)

    def listen(reconstruction: Tensor, images: Tensor) -> Tensor:
        # The evaluation calls its loss once a batch: that is where the image metrics hear of it.
        metrics.update(images, reconstruction)
        return F.mse_loss(reconstruction, images)

    codes = evaluate(vqvae, dataset, listen, batch_size=batch_size)
    scores = metrics.compute()
    about = {"model": model, "data": dataset.name, "split": split, "batch_size": batch_size}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(about | figures(scores, codes, max(index_sizes(vqvae.quantizer))), indent=2) + "\n")
    usage = [
        ("usage", f"{100 * codes.dataset_usage:.1f} % of {max(index_sizes(vqvae.quantizer))} codes"),
        ("perplexity, whole split", f"{codes.dataset_perplexity:.2f}"),
        (f"perplexity, mean of batches of {batch_size}", f"{codes.batch_perplexity:.2f}"),
    ]
    typer.echo(table([("data", f"{dataset.name}, {split} split"), *closeness(scores), *usage, ("figures", str(out))]))


def closeness(scores: ImageScores) -> list[tuple[str, str]]:
    """Image scores as the rows of a table."""
    window = f"(window {scores.ssim_window})"
    return [
        ("images", f"{scores.images:,}"),
        ("MSE", f"{scores.mse:.6f}"),
        ("PSNR of that MSE", f"{scores.psnr:.2f} dB"),
        ("PSNR, mean over images", f"{scores.psnr_per_image:.2f} dB"),
        ("SSIM", "none: images under 3 pixels" if math.isnan(scores.ssim) else f"{scores.ssim:.4f} {window}"),
    ]


def figures(scores: ImageScores, codes: Evaluation, codebook_size: int) -> dict[str, Any]:
    """All figures under names that say what they are; see ``ImageScores`` and ``Evaluation``."""
    named = {
        "images": scores.images,
        "mse": scores.mse,
        "psnr_db": scores.psnr,
        "psnr_per_image_db": scores.psnr_per_image,
        "ssim": scores.ssim,
        "ssim_window": scores.ssim_window,
        "codebook_size": codebook_size,
        "dataset_usage": codes.dataset_usage,
        "dataset_perplexity": codes.dataset_perplexity,
        "batch_usage": codes.batch_usage,
        "batch_perplexity": codes.batch_perplexity,
    }
    return {name: finite(value) for name, value in named.items()}


def finite(value: Any) -> Any:
    """``value``, or None for an infinite or undefined figure, which JSON cannot hold.

    >>> finite(float("inf")), finite(0.5)
    (None, 0.5)
    """
    return None if isinstance(value, float) and not math.isfinite(value) else value
