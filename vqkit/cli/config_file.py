from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from vqkit.errors import DataError


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        DataError: naming the file, when it cannot be read, is no TOML, or Python (3.10) has no reader for it.
    """
    if sys.version_info < (3, 11):
        raise DataError(f"{path}: TOML needs Python 3.11 or later; write the run as .json")
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid TOML: {error}") from error
