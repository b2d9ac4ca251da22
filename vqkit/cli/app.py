"""The console script: runs a command and turns what goes wrong into one line and an exit code.

Exit codes: 0 done; 2 bad input, with one line on standard error; 130 and 143 stopped by Ctrl-C or SIGTERM; 1 a bug.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from vqkit.errors import MissingExtraError, VqkitError

DEBUG = "--debug"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``vqkit ARGUMENTS`` (by default those of the process) and exit.

    ``--debug``, anywhere before a ``--``, shows the traceback of an error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    end = words.index("--") if "--" in words else len(words)
    debug = DEBUG in words[:end]
    words = [word for word in words[:end] if word != DEBUG] + words[end:]
    try:
        run(words)
    except (VqkitError, OSError) as error:
        if debug:
            traceback.print_exc()
        else:
            print(f"vqkit: {one_line(error)}", file=sys.stderr)
        sys.exit(2)


def run(words: list[str]) -> None:
    """Hand the words over to the command line parser."""
    try:
        from vqkit.cli.program import program
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        raise MissingExtraError("typer", "train") from error
    program(words, prog_name="vqkit")


def one_line(error: Exception) -> str:
    """What an error says, on one line; a file error begins with its file.

    >>> one_line(FileNotFoundError(2, "No such file or directory", "data.npz"))
    'data.npz: No such file or directory'
    """
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, VqkitError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.split()) or type(error).__name__
