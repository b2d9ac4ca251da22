"""JSON as the standard has it."""

from __future__ import annotations

import json
from typing import Any

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
