from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.trained import MODEL_HELP


def sample(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    n: Annotated[int, typer.Option("--n", help="How many samples.")] = 32,
    seed: Annotated[int, typer.Option(help="The same seed gives the same codes.")] = 0,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("samples.png"),
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, ...")] = "cpu",
) -> None:
    """Draw what random codes decode to: every place draws its code from the whole codebook, all codes alike."""
    import torch

    from vqkit.cli.trained import load_model
    from vqkit.shapes import check_int
    from vqkit.training.pictures import draw_samples, random_codes

    check_int("--n", n)
    check_int("--seed", seed, minimum=0)
    vqvae = load_model(model, device)
    codes = random_codes(vqvae, n, seed)
    with torch.no_grad():
        images = torch.cat([vqvae.decode(part.to(device)).cpu() for part in codes.split(64)])
    note = f"every place draws its code from the whole codebook, all codes alike · seed {seed}"
    draw_samples(images, vqvae.spec, out, note=note)
    typer.echo(str(out))
