from __future__ import annotations

import math
import platform
from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli.trained import MODEL_HELP

if TYPE_CHECKING:
    from vqkit.models import VQVAE

PACKAGES = ("numpy", "safetensors", "accelerate", "matplotlib", "pillow", "scikit-learn", "torchmetrics", "tensorboard")
PACKAGES += ("huggingface_hub", "datasets", "onnx", "onnxruntime", "onnxscript")


def info(model: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None) -> None:
    """Show versions, devices and kernels; or, of a model, its config, size, latent shape and bits per image."""
    from vqkit.cli.trained import load_model, table

    if model is None:
        typer.echo(table([*versions(), *kernels()]))
    else:
        typer.echo(table(describe(load_model(model, "cpu"))))


def versions() -> list[tuple[str, str]]:
    """What is installed, in which version."""
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from vqkit import __version__

    rows = [("vqkit", __version__), ("python", platform.python_version()), ("torch", torch.__version__)]
    for package in PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, "not installed"))
    return rows


def kernels() -> list[tuple[str, str]]:
    """Which implementation of each op runs on each device here, and why."""
    import torch

    from vqkit.kernels import cpu
    from vqkit.kernels.dispatch import OPS, choose

    rows = [
        ("native library", cpu.why_not() or f"runs {cpu.instruction_sets()[0]}, of {', '.join(cpu.instruction_sets())}")
    ]
    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    for device in devices:
        name = platform.processor() or platform.machine() if device == "cpu" else torch.cuda.get_device_name(device)
        rows.append((device, f"{name}, {torch.get_num_threads()} threads" if device == "cpu" else name))
        for op in OPS:
            choice = choose(op, torch.empty(1, device=device))
            rows.append((f"  {op}", f"{choice.backend} ({choice.reason})"))
    return rows


def describe(model: VQVAE) -> list[tuple[str, str]]:
    """A model's figures and its config."""
    from vqkit.training.code_counts import index_sizes

    spec, sizes = model.spec, index_sizes(model.quantizer)
    codes = math.prod(model.latent_shape)
    per_code = sum(map(math.log2, sizes)) / len(sizes)
    raw = math.prod(spec.shape) * 8
    saved = f"; 8-bit pixels take {raw:,}, {raw / (codes * per_code):.1f} times as many" if per_code else ""
    weights = sum(parameter.numel() for parameter in model.parameters())
    order = ", ".join(spec.channel_order)
    return [
        ("model", model.config.model_type),
        ("weights", f"{weights:,}"),
        ("images", f"{spec.width}x{spec.height} pixels, {order}, values in [{spec.low:g}, {spec.high:g}]"),
        ("latent shape", "x".join(map(str, model.latent_shape))),
        ("codebook", f"{', '.join(str(s) for s in dict.fromkeys(sizes))} codes"),
        ("bits per image", f"{codes * per_code:,.6g} ({codes} codes of {per_code:.4g} bits){saved}"),
        *((f"  {key}", str(value)) for key, value in flat(model.config.to_dict()).items()),
    ]


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """A nested dict with dotted keys.

    >>> flat({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    found: dict[str, object] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
