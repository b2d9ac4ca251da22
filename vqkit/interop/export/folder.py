"""A module as a folder of files that run without vqkit, each run and compared before the folder gets its name."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.data.plain_json import read_json
from vqkit.errors import DataError, ExportError, bad_value
from vqkit.interop.export.onnx import check_packages, load_onnx, write_onnx
from vqkit.interop.export.parts import PARTS, Part, Signature, check_example, check_module, parts_of
from vqkit.interop.export.program import trace
from vqkit.interop.export.verify import Agreement, Run, compare
from vqkit.models.files import write_text
from vqkit.shapes import check_choice

FORMATS = ("onnx", "pt2")
MANIFEST = "manifest.json"


def export_folder(
    module: nn.Module,
    folder: str | Path,
    batches: Iterable[Tensor],
    *,
    formats: Sequence[str] = FORMATS,
    parts: Sequence[str] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write ``encode``, ``decode`` and the forward of a quantizer or an autoencoder, and verify them by running them.

    The files are ``encode.onnx``, ``encode.pt2`` and so on, for ONNX runtimes and for ``torch.export.load``, and
    ``manifest.json`` says what they take and give. They run without vqkit. Every file is run on all of ``batches``
    beside the module. The folder appears when all of that is done, or not at all.

    Args:
        module: in eval mode, on the CPU.
        folder: where to: a new or empty folder.
        batches: real inputs of ``encode``, of sizes as they come; the first is the example that is traced.
        formats: ``"onnx"``, ``"pt2"`` or both. parts: ``"encode"``, ``"decode"``, ``"forward"``; by default all that
            the module has. overwrite: replace a folder that this function wrote.

    Returns:
        The manifest.

    Raises:
        ArgumentError, ArgumentTypeError: a module in training mode, no batches, a folder that holds something else.
        ExportError: it cannot be exported, or what was exported chooses other indices where rounding does not explain
            it (see ``verify``).
        MissingExtraError: ONNX is asked for, and a package of the extra ``export`` is not installed.

    Example:
        >>> import tempfile, torch
        >>> from vqkit import VectorQuantize
        >>> vq = VectorQuantize(8, 32).eval()
        >>> with tempfile.TemporaryDirectory() as place:
        ...     found = export_folder(vq, f"{place}/vq", torch.randn(100, 8).split(64), formats=["pt2"])
        >>> list(found["parts"]), found["parts"]["encode"]["verified"]["pt2"]["differing"]
        (['encode', 'decode', 'forward'], 0)
    """
    _check_some("formats", formats, FORMATS)
    if parts is not None:
        _check_some("parts", parts, PARTS)
    if "onnx" in formats:
        check_packages()
    devices = {str(tensor.device) for tensor in [*check_module(module).parameters(), *module.buffers()]}
    if devices - {"cpu"}:
        raise bad_value("module", "one on the CPU, where files are verified", f"it on {', '.join(sorted(devices))}")
    given = list(batches)
    if not given:
        raise bad_value("batches", "at least one batch, to trace and to verify with", "none")
    example = check_example(given[0])
    target = Path(folder)
    _check_free(target, overwrite)
    with _in_place_of(target) as staging:
        named = parts_of(module, example) if parts is None else parts
        made = {name: _write(Part(module, name, example), example, staging, formats) for name in named}
        manifest = _about(module, formats) | {"parts": made}
        for name, found in verify_folder(staging, module, given, manifest).items():
            made[name]["verified"] = {form: asdict(agreement) for form, agreement in found.items()}
        write_text(staging / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return manifest


def verify_folder(
    folder: str | Path, module: nn.Module, batches: Iterable[Tensor], manifest: dict[str, Any] | None = None
) -> dict[str, dict[str, Agreement]]:
    """Run the files of an exported folder beside the module they come from.

    Args:
        folder: what ``export_folder`` wrote. module: in eval mode, on the CPU. batches: inputs of ``encode``.
        manifest: the folder's, where it is known.

    Returns:
        What was found, by part and format.

    Raises:
        DataError: there is no manifest, or not one of an export.
        ExportError: a file is damaged, chooses other indices, or gives other values.
    """
    folder, given = Path(folder), list(batches)
    manifest = read_manifest(folder) if manifest is None else manifest
    found: dict[str, dict[str, Agreement]] = {}
    for name, about in manifest["parts"].items():
        part = Part(module, name, given[0])
        found[name] = {
            form: compare(LOADERS[form](folder / file), part, given, f"{name}.{form}")
            for form, file in about["files"].items()
        }
    return found


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """What ``export_folder`` wrote beside its files.

    Raises:
        DataError: there is none, or it is none of an export.
    """
    path = Path(folder) / MANIFEST
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("parts"), dict) or "vqkit" not in manifest:
        raise DataError(f"{path}: expected the manifest of an exported module")
    return manifest


def load_program(file: str | Path) -> Run:
    """A file of ``torch.export`` as a function of a tensor.

    Raises:
        ExportError: it is no such file.
    """
    try:
        program = torch.export.load(file)
    except Exception as error:  # of many kinds, zip's and JSON's among them
        raise ExportError(f"{file}: torch.export cannot load it: {error}") from error
    return program.module()


LOADERS: dict[str, Callable[[Path], Run]] = {"onnx": load_onnx, "pt2": load_program}


def _check_some(argument: str, given: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(given, str) or not given:
        raise bad_value(argument, f"a list of some of {', '.join(known)}", repr(given))
    for name in given:
        check_choice(argument, name, known)


# --- the files and the manifest -------------------------------------------------------------------------------------


@torch.no_grad()
def _write(part: Part, example: Tensor, folder: Path, formats: Sequence[str]) -> dict[str, Any]:
    """Write one part in every format; what the manifest says of it."""
    given = part.example(example)
    about: dict[str, Any] = {
        "inputs": [Signature.of(part.input, given, part.batch_axis)._asdict()],
        "outputs": [
            Signature.of(name, output, axis)._asdict()
            for name, output, axis in zip(part.outputs, part(given), part.output_axes, strict=True)
        ],
        "files": {form: f"{part.name}.{form}" for form in formats},
    }
    program = trace(part, example)
    if "pt2" in formats:
        torch.export.save(program, folder / about["files"]["pt2"])
    if "onnx" in formats:
        about["opset"] = write_onnx(program, part, folder / about["files"]["onnx"])
    return about


def _about(module: nn.Module, formats: Sequence[str]) -> dict[str, Any]:
    quantizer: Any = getattr(module, "quantizer", module)
    from vqkit import __version__

    packages = ("onnx", "onnxruntime", "onnxscript") if "onnx" in formats else ()
    return {
        "vqkit": __version__,
        "torch": torch.__version__,
        **{package: version(package) for package in packages},
        "module": type(module).__name__,
        "quantizer": type(quantizer).__name__,
        "index_sizes": list(getattr(quantizer, "index_sizes", ())),
    }


# --- the folder -----------------------------------------------------------------------------------------------------


def _check_free(target: Path, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise bad_value("folder", "a new or empty folder (or overwrite)", f"{target}, which exists")
    try:
        read_manifest(target)
    except DataError as error:
        raise bad_value("folder", "an exported folder to overwrite", f"{target}, which holds something else") from error


@contextmanager
def _in_place_of(target: Path) -> Iterator[Path]:
    """Yield a folder beside ``target`` that takes its name in the end; after an error there is nothing left of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    umask = os.umask(0)
    os.umask(umask)
    staging.chmod(0o777 & ~umask)  # mkdtemp makes it private
    old = staging / ".old"
    try:
        yield staging
        if target.exists():
            target.rename(old)
        staging.rename(target)
        shutil.rmtree(target / ".old", ignore_errors=True)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(staging, ignore_errors=True)
