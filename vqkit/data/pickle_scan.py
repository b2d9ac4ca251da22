"""Looking through a pickle before it is loaded: what would take memory or time beyond its own length is refused.

An unpickler that admits no foreign code still obeys the file: a memo slot numbered 2³¹ makes C Python allocate 32 GB, a
tuple of tuples a million deep overflows the stack when it is hashed, and one that holds the one before it twice, sixty
times over, is hashed for ever.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import BinaryIO

DEEPEST = 100
SHARED = 64  # how many times its length a pickle may name things it holds once
_MARK = pickletools.markobject
_IN_PLACE = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
_PUTS, _GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")


class _Node:
    """An object to come: how deep it nests and how many objects there are in it, counted each time they are named."""

    def __init__(self, parts: list[_Node]):
        self.depth, self.weight = 1, 1
        self.add(parts)

    def add(self, parts: list[_Node]) -> None:
        self.depth = max([self.depth, *(1 + part.depth for part in parts)])
        self.weight += sum(part.weight for part in parts)


def scan_pickle(stream: BinaryIO, length: int) -> None:
    """Read one pickle from where ``stream`` stands to its end, loading nothing.

    Args:
        length: how many bytes there may be, of which it makes at most so much.

    Raises:
        pickle.UnpicklingError: it is damaged, nests deeper than 100 objects, numbers memo slots beyond its length, or
            names what it holds so often that it would be more than 64 times its length.

    Example:
        >>> import io
        >>> scan_pickle(io.BytesIO(pickle.dumps({"codes": [1, 2, 3]})), 100)
        >>> scan_pickle(io.BytesIO(b"]r\\xff\\xff\\xff\\x7f."), 100)
        Traceback (most recent call last):
            ...
        _pickle.UnpicklingError: memo slot 2147483647 in a pickle of 100 bytes
    """
    stack: list[_Node | None] = []  # None is a mark
    memo: dict[int, _Node] = {}
    try:
        for code, argument, _ in pickletools.genops(stream):
            name = code.name
            if name in _PUTS or name == "MEMOIZE":
                slot = len(memo) if name == "MEMOIZE" else int(argument)  # pyright: ignore[reportArgumentType]
                if slot > length:
                    raise pickle.UnpicklingError(f"memo slot {slot} in a pickle of {length} bytes")
                memo[slot] = _top(stack)
            elif name in _GETS:
                stack.append(memo[int(argument)])  # pyright: ignore[reportArgumentType]
            elif name == "DUP":
                stack.append(_top(stack))
            else:
                _run(code, stack, length)
    except pickle.UnpicklingError:
        raise
    except (ValueError, KeyError, IndexError, OverflowError, MemoryError) as error:
        raise pickle.UnpicklingError(f"damaged: {error}") from error


def _run(code: pickletools.OpcodeInfo, stack: list[_Node | None], length: int) -> None:
    """What an instruction does to the stack."""
    if code.name == "POP" and stack and stack[-1] is None:
        stack.pop()
        return
    before, taken = list(code.stack_before), []
    if _MARK in before:
        while (node := stack.pop()) is not None:
            taken.append(node)
        del before[before.index(_MARK) :]  # what stands behind it was above the mark
    own = [_popped(stack) for _ in before]
    if code.name in _IN_PLACE:  # those who hold the container hold what comes into it
        own[-1].add([*own[:-1], *taken])
        stack.append(_checked(own[-1], length))
        return
    stack.extend(None if kind is _MARK else _checked(_Node([*own, *taken]), length) for kind in code.stack_after)


def _checked(node: _Node, length: int) -> _Node:
    if node.depth > DEEPEST:
        raise pickle.UnpicklingError(f"nests deeper than {DEEPEST} objects")
    if node.weight > SHARED * (length + 1000):
        raise pickle.UnpicklingError(f"names what it holds until it is {SHARED} times its length")
    return node


def _top(stack: list[_Node | None]) -> _Node:
    if not stack or (node := stack[-1]) is None:
        raise pickle.UnpicklingError("damaged: an object is missing")
    return node


def _popped(stack: list[_Node | None]) -> _Node:
    node = _top(stack)
    stack.pop()
    return node
