"""Flags: arguments that are annotated as bool must be bools, and details of a flag that is off say nothing."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from vqkit.errors import ArgumentError
from vqkit.shapes import check_flag

_FLAGS = {"bool": (bool,), "bool | None": (bool, type(None))}


def check_flags(annotations: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise ``ArgumentTypeError`` for a value whose annotation is ``bool``, or ``bool | None``, and that is neither.

    >>> check_flags({"kmeans_init": "bool"}, {"kmeans_init": "false"})
    Traceback (most recent call last):
        ...
    vqkit.errors.ArgumentTypeError: kmeans_init: expected True or False, got str 'false'
    """
    for name, value in given.items():
        if not isinstance(value, _FLAGS.get(_text(annotations.get(name)), object)):
            check_flag(name, value)


def check_details(details: Mapping[str, tuple[str, Any]], given: Mapping[str, Any]) -> None:
    """Raise ``ArgumentError`` for a detail, by its name what it waits for and its default, that waits in vain.

    Told its default, it asks for nothing; and beside a weight of zero, as a sweep may have it, it may stand.

    >>> check_details({"kmeans_iters": ("kmeans_init", 10)}, {"kmeans_iters": 20, "kmeans_init": False})
    Traceback (most recent call last):
        ...
    vqkit.errors.ArgumentError: kmeans_iters: expected kmeans_init beside it, without which it does nothing, got 20
    """
    for name, (wanted, default) in details.items():
        off = given.get(wanted) is None or given[wanted] is False
        if off and given.get(name, default) != default:
            expected = f"expected {wanted} beside it, without which it does nothing"
            raise ArgumentError(f"{name}: {expected}, got {given[name]}")


def with_checked_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method that checks its flags before it does anything."""
    parameters = list(inspect.signature(function).parameters.values())
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    annotations = {p.name: p.annotation for p in parameters if _text(p.annotation) in _FLAGS}

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_flags(annotations, kwargs)
        if len(args) > 1:
            check_flags(annotations, dict(zip(names, args, strict=False)))
        return function(*args, **kwargs)

    return checked if annotations else function


def _text(annotation: Any) -> str:
    """An annotation as written; a ``TypedDict`` keeps it as a forward reference."""
    return str(getattr(annotation, "__forward_arg__", annotation))
