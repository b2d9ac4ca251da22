from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vqkit.training import RunConfig


def train(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A preset (digits, mnist-mlp, mnist, cifar10), a .json or .toml file, or a run's folder.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Changes, such as model.quantizer.codebook_size=256."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default runs/NAME.")] = None,
    data: Annotated[str | None, typer.Option(help='Where the images are: a name, "hf:NAME" or a path.')] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after this many steps.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after this many seconds of training.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away the run in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train a VQ-VAE; leaves the model, its figures and pictures in a folder.

    Ctrl-C or SIGTERM finishes the step and saves: go on with --resume.
    """
    from vqkit import training
    from vqkit.cli.trained import is_run
    from vqkit.distributed import rank

    run = read_run(what).override(assignments(overrides or [], data, steps, seconds))
    if out is None:
        out = Path(what) if is_run(Path(what)) else Path("runs", Path(what).stem)
    training.train(run, out, resume=resume, overwrite=overwrite, progress=not quiet)
    if rank() == 0:
        typer.echo(summary(out))


def read_run(what: str) -> RunConfig:
    """The run of a preset, a file or a run's folder.

    Raises:
        DataError: when the file cannot be read.
        ArgumentError: for an unknown preset; the message lists the known ones.
    """
    from vqkit.cli.config_file import read_toml
    from vqkit.training import RunConfig, presets, read_run

    path = Path(what)
    if what in presets.names():
        return presets.get(what)
    if path.suffix == ".toml":
        return RunConfig.from_dict(read_toml(path))
    if path.suffix == ".json":
        return RunConfig.read(path)
    return read_run(path) if path.is_dir() else presets.get(what)


def assignments(overrides: list[str], data: str | None, steps: int | None, seconds: float | None) -> list[str]:
    """The options as further ``key=value`` words; a number of steps takes the place of a number of epochs."""
    words = list(overrides)
    if data is not None:
        words.append(f"data.source={data}")
    if steps is not None:
        words += ["train.epochs=null", f"train.steps={steps}"]
    if seconds is not None:
        words.append(f"train.seconds={seconds}")
    return words


def summary(out: Path) -> str:
    """What a finished run came to, and where it is."""
    from vqkit.cli.trained import table
    from vqkit.training import read_metrics

    last = [line for line in read_metrics(out / "metrics.jsonl") if line["split"] == "valid"][-1]
    return table(
        [
            ("steps", f"{last['step']:,}"),
            ("valid MSE", f"{last['mse']:.5f}"),
            ("valid usage", f"{100 * last['dataset_usage']:.1f} %"),
            ("valid perplexity", f"{last['dataset_perplexity']:.1f}"),
            ("model", str(out / "model")),
            ("pictures", str(out / "pictures")),
        ]
    )
