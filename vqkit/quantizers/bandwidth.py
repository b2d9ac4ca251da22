"""How many stages fit into a bandwidth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from vqkit.errors import bad_value
from vqkit.shapes import check_number


def fitting_stages(sizes: Sequence[Sequence[int]], bandwidth: float, frame_rate: float) -> int:
    """How many of the first stages fit into ``bandwidth`` kbit/s at ``frame_rate`` vectors a second, log₂ K bits for
    each of the ``sizes`` K that a stage's indices have (EnCodec, Défossez et al. 2022, arXiv:2210.13438).

    Raises:
        ArgumentError: not even the first does.

    >>> fitting_stages([(1024,)] * 8, bandwidth=3.0, frame_rate=75)
    4
    """
    check_number("frame_rate", frame_rate, 0, open_low=True)
    budget = check_number("bandwidth", bandwidth, 0) * 1000 / frame_rate
    used = list(accumulate(sum(math.log2(size) for size in stage) for stage in sizes))
    fitting = sum(bits <= budget + 1e-9 for bits in used)
    if fitting == 0:
        raise bad_value("bandwidth", f"at least the {used[0] * frame_rate / 1000:g} kbit/s of one stage", bandwidth)
    return fitting
