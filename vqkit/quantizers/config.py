"""A quantizer as a JSON-able dict, and back: ``{"type": "VectorQuantize", "dim": 64, …}``, policies nested the same
way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from vqkit import codebook as codebook_policies
from vqkit.errors import ArgumentError, VqkitError, bad_type, bad_value
from vqkit.quantizers import dither, estimators, moment_match, objectives, stage_dropout
from vqkit.quantizers.flags import with_checked_flags

_QUANTIZERS: dict[str, type] = {}
Class = TypeVar("Class", bound=type)


def registered(cls: Class) -> Class:
    """Class decorator: make a quantizer known to ``build`` under its name, and strict about its flags."""
    _QUANTIZERS[cls.__name__] = cls
    for method in {"__init__", "forward"} & vars(cls).keys():
        setattr(cls, method, with_checked_flags(vars(cls)[method]))
    return cls


def _policies() -> dict[str, type]:
    rooms = (codebook_policies, dither, estimators, moment_match, objectives, stage_dropout)
    found = (value for room in rooms for value in vars(room).values() if isinstance(value, type))
    return {cls.__name__: cls for cls in found if dataclasses.is_dataclass(cls)}


def to_json(name: str, value: Any) -> Any:
    """One constructor argument as JSON; raises ``ArgumentError`` for what has no JSON form, a module or a function."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [to_json(name, item) for item in value]
    if isinstance(value, Mapping) and "type" not in value:
        return {key: to_json(f"{name}.{key}", item) for key, item in value.items()}
    if type(value) in _QUANTIZERS.values():
        return getattr(value, "config")  # noqa: B009 - typed by the registry alone
    if dataclasses.is_dataclass(value) and type(value).__name__ in _policies():
        fields = {f.name: to_json(f"{name}.{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    raise ArgumentError(f"{name}: expected a value with a JSON form to store the quantizer, got {type(value).__name__}")


def from_json(value: Any) -> Any:
    """What ``to_json`` gave, as the argument it was."""
    if isinstance(value, Mapping) and str(value.get("type")) in _QUANTIZERS:
        return build(value)
    if isinstance(value, Mapping) and "type" not in value:
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, Mapping):
        return _construct(value, _policies(), "type")
    return tuple(from_json(item) for item in value) if isinstance(value, (list, tuple)) else value


def build(config: Mapping[str, Any]) -> Any:
    """Build the quantizer of a config.

    Raises:
        ArgumentError, ArgumentTypeError: an unknown type (the known ones are listed), or arguments that do not fit it.

    Example:
        >>> config = {"type": "VectorQuantize", "dim": 8, "codebook_size": 16, "update": {"type": "EMA", "decay": 0.9}}
        >>> build(config).book.update.decay
        0.9
    """
    if not isinstance(config, Mapping):
        raise bad_type("quantizer", "a dict with a 'type'", config)
    return _construct(config, _QUANTIZERS, "quantizer.type")


def _construct(config: Mapping[str, Any], known: Mapping[str, type], name: str) -> Any:
    """An object of the known class that ``config`` names; ``name``: what an error calls its type."""
    cls = known.get(str(config.get("type")))
    if cls is None:
        raise bad_value(name, f"one of {', '.join(sorted(known))}", repr(config.get("type")))
    arguments = {key: from_json(value) for key, value in config.items() if key != "type"}
    try:
        return cls(**arguments)
    except TypeError as error:
        if isinstance(error, VqkitError):
            raise
        raise bad_value(cls.__name__, "arguments it knows", f"{sorted(arguments)} ({error})") from error
