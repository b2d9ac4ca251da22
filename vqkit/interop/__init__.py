"""Other libraries' vocabularies and checkpoints, over vqkit's own engine."""

from vqkit.interop.checkpoints import load

__all__ = ["load"]
