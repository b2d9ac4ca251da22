"""Valid files made invalid: bits flipped, lengths overwritten, parts cut out, doubled, or cut off."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from vqkit.errors import VqkitError

# More of them by hand: VQKIT_FUZZ=5000 pytest tests/fuzz
EXAMPLES = int(os.environ.get("VQKIT_FUZZ", "40"))
fuzzed = settings(
    derandomize=True,
    deadline=None,
    max_examples=EXAMPLES,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NUMBERS = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00" * 8]
NUMBERS += [b"\xff" * 8, b"\x00" * 7 + b"\x10", b"\x10" + b"\x00" * 7]


@st.composite
def mutated(draw: st.DrawFn, content: bytes, most: int = 4) -> bytes:
    """``content`` after one to ``most`` mutations."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["flip", "number", "cut", "drop", "double", "insert"]))
        length = draw(st.integers(1, 64))
        if kind == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "number":
            number = draw(st.sampled_from(NUMBERS))
            data[place : place + len(number)] = number
        elif kind == "cut":
            del data[place:]
        elif kind == "drop":
            del data[place : place + length]
        elif kind == "double":
            data[place:place] = data[place : place + length]
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


def refusal(call: Callable[[], Any]) -> str | None:
    """What an error of vqkit's says, None where there is none; any other error is a fault found."""
    try:
        call()
    except VqkitError as error:
        return str(error)
    return None


def read_or_refuse(read: Callable[[Path], Any], path: Path, content: bytes) -> bool:
    """Write ``content`` and read it: it is read, or refused by an error that names the file, or its folder."""
    path.write_bytes(content)
    said = refusal(lambda: read(path))
    assert said is None or str(path.parent) in said
    return said is None
