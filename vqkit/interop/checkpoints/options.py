"""What a caller may choose beside the weights, and what stands otherwise."""

from __future__ import annotations

from collections.abc import Mapping
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
