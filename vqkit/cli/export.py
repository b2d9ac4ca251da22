from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqkit.cli.trained import DATA_HELP, MODEL_HELP

if TYPE_CHECKING:
    from torch import Tensor

    from vqkit.data import ImageDataset

FORMATS = {"onnx": ("onnx",), "pt2": ("pt2",), "both": ("onnx", "pt2")}


def export(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    form: Annotated[str, typer.Option("--format", help="onnx, pt2 (torch.export) or both.")] = "both",
    part: Annotated[list[str] | None, typer.Option(help="encode, decode or forward; all by default.")] = None,
    data: Annotated[str | None, typer.Option(help=DATA_HELP)] = None,
    split: Annotated[str, typer.Option(help="The images to verify with: train, valid or test.")] = "valid",
    n: Annotated[int, typer.Option("--n", help="How many of them, at most.")] = 10_000,
    batch_size: Annotated[int, typer.Option(help="Images at a time; the files take any number.")] = 64,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the export in the folder.")] = False,
) -> None:
    """Write encode, decode and forward of a model as files that run without vqkit, and verify them by running them.

    Every file is run on real images beside the model; where one chooses other codes, nothing is written.
    """
    from vqkit.cli.trained import images_for, load_model, table
    from vqkit.interop import export_folder
    from vqkit.interop.export.parts import PARTS
    from vqkit.shapes import check_choice, check_int

    check_choice("--format", form, list(FORMATS))
    for name in part or []:
        check_choice("--part", name, PARTS)
    check_int("--n", n)
    check_int("--batch-size", batch_size)
    vqvae = load_model(model, "cpu")
    batches = batches_of(images_for(vqvae, model, data, split), n, batch_size)
    manifest = export_folder(vqvae, out, batches, formats=FORMATS[form], parts=part or None, overwrite=overwrite)
    typer.echo(table([*findings(manifest), ("folder", str(out))]))


def batches_of(dataset: ImageDataset, n: int, batch_size: int) -> list[Tensor]:
    """The first ``n`` images, a batch at a time; the last one may be smaller."""
    count = min(n, len(dataset))
    return [dataset.batch(range(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]


def findings(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """What the verification found of every file, as the rows of a table."""
    rows = []
    for about in manifest["parts"].values():
        for form, found in about["verified"].items():
            said = [f"{found['items']:,} images"]
            if found["indices"]:
                said.append(f"{found['differing']} of {found['indices']:,} codes differ")
            if found["near_ties"]:
                said.append(f"in {found['near_ties']} near ties of width {found['tie_width']:.1g}")
            if found["largest_value"]:
                said.append(f"values within {found['largest_difference']:.1e} of {found['largest_value']:.2g}")
            rows.append((about["files"][form], ", ".join(said)))
    return rows
