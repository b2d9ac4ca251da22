from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.trained import DATA_HELP, MODEL_HELP


def reconstruct(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="PICTURE", help="Picture files; resized as the model needs.")
    ] = None,
    data: Annotated[str | None, typer.Option(help=DATA_HELP)] = None,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    n: Annotated[int, typer.Option("--n", help="How many images of a data set to show.")] = 16,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("reconstructions.png"),
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, ...")] = "cpu",
) -> None:
    """Draw images beside their reconstructions, and say how close they come.

    The images are files, or a split of a data set.
    """
    import torch

    from vqkit.cli.evaluate import closeness
    from vqkit.cli.trained import images_for, load_model, table
    from vqkit.data import read_pictures_as
    from vqkit.errors import bad_value
    from vqkit.shapes import check_int
    from vqkit.training.image_metrics import ImageMetrics
    from vqkit.training.pictures import draw_reconstructions, spread

    check_int("--n", n)
    if files and data is not None:
        raise bad_value("PICTURE, --data", "one of them", "both")
    vqvae = load_model(model, device)
    dataset = read_pictures_as(files, vqvae.spec) if files else images_for(vqvae, model, data, split)
    images = dataset.batch(spread(len(dataset), len(dataset) if files else n))
    with torch.no_grad():
        redrawn = torch.cat([vqvae(part.to(device)).reconstruction.cpu() for part in images.split(64)])
    metrics = ImageMetrics(vqvae.spec.span)
    metrics.update(images, redrawn)
    name = Path(dataset.name).name if files else f"{Path(dataset.name).name}, {split} split"
    draw_reconstructions(images, redrawn, vqvae.spec, out, title=f"Reconstructions · {name}")
    typer.echo(table([*closeness(metrics.compute()), ("picture", str(out))]))
