"""Quantizers and autoencoders as files that run without vqkit: programs of ``torch.export``, and ONNX."""

from vqkit.interop.export.folder import export_folder, read_manifest, verify_folder
from vqkit.interop.export.onnx import export_onnx, load_onnx
from vqkit.interop.export.program import export_program
from vqkit.interop.export.verify import Agreement

__all__ = [
    "Agreement",
    "export_folder",
    "export_onnx",
    "export_program",
    "load_onnx",
    "read_manifest",
    "verify_folder",
]
