"""Programs of ``torch.export`` as ONNX files, and ONNX files as functions of tensors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from vqkit.errors import ExportError, MissingExtraError
from vqkit.interop.export.parts import Part, check_example
from vqkit.interop.export.program import trace

LARGEST_FILE = 2**30
"""Bytes of weights that stay within the file; more go into one beside it, as protobuf holds two GiB at most."""


def export_onnx(module: nn.Module, example: Tensor, file: str | Path, part: str = "forward") -> Path:
    """Write ``encode``, ``decode`` or the forward of a quantizer or an autoencoder as an ONNX file.

    The batch axis may have any size. Input and outputs have the names of the module's: ``x`` or ``indices``;
    ``quantized`` or ``reconstruction``, ``indices``, ``loss``. Weights of more than a gigabyte go into a file beside.

    Args:
        module: in eval mode.
        example: an input of the module's ``encode``, a batch of at least one item; also for ``part="decode"``.
        file: where to; an existing file is replaced.
        part: ``"encode"``, ``"decode"`` or ``"forward"``.

    Returns:
        The file.

    Raises:
        ArgumentError, ArgumentTypeError: a module in training mode, or one without such a part.
        ExportError: it cannot be exported.
        MissingExtraError: a package of the extra ``export`` is not installed.

    Example:
        >>> import tempfile, torch
        >>> from vqkit import LFQ
        >>> lfq, x = LFQ(dim=4).eval(), torch.randn(5, 4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = load_onnx(export_onnx(lfq, torch.zeros(2, 4), f"{folder}/lfq.onnx", "encode"))
        >>> bool((run(x)[0] == lfq.encode(x)).all())
        True
    """
    check_packages()
    example = check_example(example)
    at_hand = Part(module, part, example)
    write_onnx(trace(at_hand, example), at_hand, Path(file))
    return Path(file)


def check_packages() -> None:
    """Raise ``MissingExtraError`` unless ONNX files can be written and run."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "onnx", "export") from error


def write_onnx(program: ExportedProgram, part: Part, file: Path) -> int:
    """Write a traced part, which may be converted but once; returns the opset."""
    axes = ({part.batch_axis: "batch"},)
    named = f"{type(part.module).__name__}.{part.name}"
    try:
        with quiet():
            converted: Any = torch.onnx.export(
                program, input_names=[part.input], output_names=list(part.outputs), dynamic_shapes=axes, verbose=False
            )
            converted.save(file, external_data=_bytes(program) > LARGEST_FILE)
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"{named}: there is no ONNX for it: {error}") from error
    return int(converted.model.opset_imports[""])


def load_onnx(file: str | Path) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """A file of one input as a function of a tensor, run by ONNX Runtime on the CPU.

    Raises:
        ExportError: it is no ONNX file that ONNX Runtime can run. MissingExtraError: ONNX Runtime is not installed.
    """
    check_packages()
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base that it documents
        raise ExportError(f"{file}: ONNX Runtime cannot load it: {error}") from error
    name = session.get_inputs()[0].name

    def run(given: Tensor) -> tuple[Tensor, ...]:
        outputs: Any = session.run(None, {name: given.detach().cpu().numpy()})
        return tuple(torch.from_numpy(output) for output in outputs)

    return run


def _bytes(program: ExportedProgram) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch's exporter says of its own affairs: packages that it misses, and what it will rename."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
