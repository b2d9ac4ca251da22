"""The commands together. Each imports what it needs when it runs, so that ``vqkit --help`` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from vqkit.cli.evaluate import evaluate
from vqkit.cli.export import export
from vqkit.cli.info import info
from vqkit.cli.reconstruct import reconstruct
from vqkit.cli.sample import sample
from vqkit.cli.train import train

program = typer.Typer(
    name="vqkit",
    help="Discrete representations in PyTorch: train VQ-VAEs, and look at what they learned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (train, reconstruct, sample, evaluate, export, info):
    program.command()(command)


def show_version(wanted: bool) -> None:
    """Print the version and leave, when asked to."""
    if wanted:
        from vqkit import __version__

        typer.echo(f"vqkit {__version__}")
        raise typer.Exit


@program.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
) -> None:
    """Discrete representations in PyTorch: train VQ-VAEs, and look at what they learned."""
    # Both are done before a command runs: the version above, the traceback in vqkit.cli.app.
    del version, debug
