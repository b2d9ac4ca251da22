from __future__ import annotations

from vqkit.errors import VqkitError


class NonFiniteError(VqkitError, ArithmeticError):
    """Training went to infinity or NaN; the message names the step."""
