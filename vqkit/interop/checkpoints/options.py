"""What a caller may choose beside the weights, what stands otherwise, and what only the caller knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vqkit.errors import bad_value
from vqkit.quantizers.flat import POLICY_OF


def chosen(options: Mapping[str, Any], told: tuple[str, ...] = (), **defaults: Any) -> dict[str, Any]:
    """``options`` with the source library's own ``defaults`` (flat names) where no policy of the kind is given.

    ``told``: names that the weights decide.

    >>> chosen({"decay": 0.9}, threshold_ema_dead_code=0, ema_update=True)
    {'threshold_ema_dead_code': 0, 'decay': 0.9}
    """
    for name in told:
        if name in options:
            raise bad_value(name, "it left out, since the weights tell it", options[name])
    given = {POLICY_OF.get(name, name) for name in options}
    kept = {name: value for name, value in defaults.items() if POLICY_OF.get(name, name) not in given}
    return {**kept, **options}


def agreed(options: Mapping[str, Any], **told: Any) -> dict[str, Any]:
    """``options`` with what the weights tell; an option may repeat that, not contradict it.

    >>> agreed({"dim": 8, "channel_dim": 1}, dim=8, num_codebooks=2)
    {'dim': 8, 'channel_dim': 1, 'num_codebooks': 2}
    """
    for name, value in told.items():
        given = options.get(name)
        if given is not None and _plain(given) != _plain(value):
            raise bad_value(name, f"{value}, as the weights have it", given)
    return {**options, **told}


def needed(options: Mapping[str, Any], name: str) -> Any:
    """The option of this name, which no weight tells.

    >>> needed({}, "levels")
    Traceback (most recent call last):
        ...
    vqkit.errors.ArgumentError: levels: expected that of the source, since no weight tells it, got None
    """
    if options.get(name) is None:
        raise bad_value(name, "that of the source, since no weight tells it", None)
    return options[name]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
