"""Every public quantizer, in every option it has and in the pairs of options that share code.

A new quantizer joins with one line in ``FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.contracts.case import DIM, SIZE, Case
from tests.contracts.families import binary, vector

FAMILIES: dict[str, Callable[[], list[Case]]] = {
    "VectorQuantize": vector.cases,
    "LFQ, BSQ, BinaryMapper": binary.cases,
}
CASES: list[Case] = [case for family in FAMILIES.values() for case in family()]

__all__ = ["CASES", "DIM", "FAMILIES", "SIZE", "Case"]
