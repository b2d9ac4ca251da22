"""JSON as the standard has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vqkit.errors import DataError

DEEPEST = 64


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text: no NaN or Infinity, no key twice in an object, nested no deeper than 64 levels.

    Raises:
        ValueError: it is none.

    Example:
        >>> parse_json('{"size": 1, "size": 2}')
        Traceback (most recent call last):
            ...
        ValueError: key 'size' stands twice in an object
    """
    try:
        value = json.loads(text, parse_constant=_refused, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [item for part in level for item in _parts(part)]
        if not level:
            return value
    raise ValueError(f"nested deeper than {DEEPEST} levels")


def read_json(path: str | Path) -> Any:
    """The value of a JSON file, as ``parse_json`` has it; raises ``DataError`` for a file that cannot be read, or is no
    JSON.
    """
    try:
        return parse_json(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} stands twice in an object")
        found[key] = value
    return found
