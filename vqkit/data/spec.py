"""What an image looks like to a model: how many channels, how large, and in which range of values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vqkit.errors import bad_type, bad_value
from vqkit.shapes import check_int


@dataclass(frozen=True)
class ImageSpec:
    """The shape and the value range of the images a data set yields or a model takes.

    An image is a float32 tensor ``(channels, height, width)`` whose values lie in ``[low, high]``; one channel is grey,
    three are red, green, blue, in that order.

    Args:
        channels, height, width: at least 1 each; sizes in pixels.
        low, high: the values of black and white; finite, ``low < high``.

    Raises:
        ArgumentError, ArgumentTypeError: on any other value.

    >>> spec = ImageSpec(channels=3, height=32, width=32, low=-0.5, high=0.5)
    >>> spec.shape, spec.span, spec.channel_order
    ((3, 32, 32), 1.0, ('red', 'green', 'blue'))
    >>> ImageSpec.from_dict(spec.to_dict()) == spec
    True
    """

    channels: int
    height: int
    width: int
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width"):
            check_int(name, getattr(self, name))
        low, high = check_range("low, high", (self.low, self.high))
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(channels, height, width)`` of one image."""
        return self.channels, self.height, self.width

    @property
    def span(self) -> float:
        """``high - low``: the peak-to-peak range, in the unit of the values."""
        return self.high - self.low

    @property
    def channel_order(self) -> tuple[str, ...]:
        """The name of each channel, in order."""
        named = {1: ("grey",), 3: ("red", "green", "blue")}
        return named.get(self.channels) or tuple(f"channel {i}" for i in range(self.channels))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict that says everything, the channel order included."""
        return {**asdict(self), "channel_order": list(self.channel_order)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageSpec:
        """The spec that :meth:`to_dict` wrote; ``channel_order`` may be left out, but may not disagree.

        Raises:
            ArgumentError: on an unknown or missing key, or another channel order.
        """
        known = ["channels", "height", "width", "low", "high"]
        fields = {key: value for key, value in values.items() if key != "channel_order"}
        if set(fields) != set(known):
            raise bad_value("image spec", f"the keys {known}", sorted(values))
        spec = cls(**fields)
        order = tuple(values.get("channel_order", spec.channel_order))
        if order != spec.channel_order:
            raise bad_value("channel_order", spec.channel_order, order)
        return spec


def check_range(argument: str, value: Sequence[float]) -> tuple[float, float]:
    """``value`` as ``(low, high)`` floats when it is a finite rising pair, else a typed error naming ``argument``.

    >>> check_range("value_range", [0, 1])
    (0.0, 1.0)
    """
    numbers = isinstance(value, list | tuple) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in value
    )
    if not numbers:
        raise bad_type(argument, "a pair of numbers (low, high)", value)
    if len(value) != 2 or not all(math.isfinite(v) for v in value) or not value[0] < value[1]:
        raise bad_value(argument, "two finite numbers, low < high", tuple(value))
    return float(value[0]), float(value[1])
