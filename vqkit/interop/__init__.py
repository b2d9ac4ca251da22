"""Other libraries' vocabularies and checkpoints, over vqkit's own engine; and files that run without it."""

from vqkit.interop.checkpoints import load
from vqkit.interop.export import export_folder, export_onnx, export_program, verify_folder

__all__ = ["export_folder", "export_onnx", "export_program", "load", "verify_folder"]
