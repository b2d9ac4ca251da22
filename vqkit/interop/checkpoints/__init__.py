"""Quantizers from the weights of other libraries."""

from vqkit.interop.checkpoints.kinds import KINDS, load

__all__ = ["KINDS", "load"]
