"""Every error vqkit raises on purpose. Each names the argument or file, what came, and what was expected."""

from __future__ import annotations


class VqkitError(Exception):
    """Base of all errors raised on purpose; catch it to catch them all."""


class ArgumentError(VqkitError, ValueError):
    """An argument has a value that cannot be used."""


class ArgumentTypeError(VqkitError, TypeError):
    """An argument has a type that cannot be used."""


class CodeIndexError(VqkitError, IndexError):
    """An index lies outside its codebook."""


class DataError(VqkitError, ValueError):
    """A file or data set cannot be read, or does not hold what its format promises."""


class CheckpointError(VqkitError, ValueError):
    """A checkpoint or pretrained folder is damaged, incomplete, or belongs to another model."""


class ExportError(VqkitError, ValueError):
    """A module cannot be exported, or what was exported does not do what the module does."""


class MissingExtraError(VqkitError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str):
        super().__init__(f"{package} is not installed; it comes with: pip install 'vqkit[{extra}]'")


def bad_value(argument: str, expected: object, got: object) -> ArgumentError:
    """``argument: expected …, got …`` as a value error, ready to raise."""
    return ArgumentError(f"{argument}: expected {expected}, got {got}")


def bad_type(argument: str, expected: object, got: object) -> ArgumentTypeError:
    """``argument: expected …, got …`` as a type error; ``got`` is the offending value."""
    return ArgumentTypeError(f"{argument}: expected {expected}, got {type(got).__name__} {got!r:.80}")
