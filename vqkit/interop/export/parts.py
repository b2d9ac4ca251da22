"""What is exported of a quantizer or an autoencoder: its three ways in, as modules from one tensor to tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vqkit.errors import bad_type, bad_value
from vqkit.shapes import check_choice, check_tensor

PARTS = ("encode", "decode", "forward")


class Part(nn.Module):
    """One of ``PARTS`` of a module in eval mode; its outputs are tensors alone, in the order of ``outputs``.

    Attributes:
        input: the name of its input. outputs: the names of its outputs. batch_axis: of the input's axes the one that
            may have any size. output_axes: the same of each output, None where it has none.
    """

    def __init__(self, module: nn.Module, name: str, example: Tensor):
        super().__init__()
        check_choice("part", name, PARTS)
        check_module(module)
        # The module under its own name: parameters keep theirs behind it.
        self.module, self.name = module, name
        values, indices_axis = _fields(module, example), _indices_axis(module)
        if name == "decode" and _is_alone(values):
            raise bad_value("part", f"encode or forward: {type(module).__name__} gives indices alone", "decode")
        vectors = next(iter(values))
        self.input = "indices" if name == "decode" else "x"
        self.batch_axis = indices_axis if name == "decode" else 0
        named = {"encode": ["indices"], "decode": [vectors], "forward": list(values)}
        self.outputs = tuple(named[name])
        axes = {"indices": indices_axis, "loss": None}
        self.output_axes = tuple(axes.get(output, 0) for output in self.outputs)

    def forward(self, given: Tensor) -> tuple[Tensor, ...]:
        """The outputs."""
        if self.name != "forward":
            return (getattr(self.module, self.name)(given),)
        return tuple(_named(self.module(given)).values())

    def example(self, x: Tensor) -> Tensor:
        """Its own input for the module's input ``x``."""
        return self.module.encode(x) if self.name == "decode" else x  # pyright: ignore[reportCallIssue]


class Signature(NamedTuple):
    """A tensor's place in a file: shape with ``"batch"`` for the axis of any size, and dtype by torch's name."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str

    @classmethod
    def of(cls, name: str, tensor: Tensor, batch_axis: int | None) -> Signature:
        """That of a tensor as it came."""
        shape = tuple("batch" if axis == batch_axis else size for axis, size in enumerate(tensor.shape))
        return cls(name, shape, str(tensor.dtype).removeprefix("torch."))


def check_module(module: object) -> nn.Module:
    """Return ``module`` if it is a quantizer or autoencoder in eval mode."""
    if not isinstance(module, nn.Module) or not hasattr(module, "encode") or not hasattr(module, "decode"):
        raise bad_type("module", "a quantizer or an autoencoder, with encode and decode", module)
    if any(part.training for part in module.modules()):
        raise bad_value("module", "one in eval mode, all its parts too", "training mode: call eval() first")
    return module


def check_example(example: object) -> Tensor:
    """Return ``example``, with its first item twice if it has but one: export takes a size of one for a constant."""
    tensor = check_tensor("example", example)
    if tensor.ndim == 0 or tensor.shape[0] == 0:
        raise bad_value("example", "a batch of at least one item", f"shape {tuple(tensor.shape)}")
    return tensor.expand(2, *tensor.shape[1:]).contiguous() if tensor.shape[0] == 1 else tensor


def parts_of(module: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Those of ``PARTS`` that it has: all, but no decode where forward returns indices alone."""
    return ("encode", "forward") if _is_alone(_fields(module, example)) else PARTS


@torch.no_grad()
def _fields(module: nn.Module, example: Tensor) -> dict[str, Tensor]:
    return _named(module(example))


def _is_alone(fields: dict[str, Tensor]) -> bool:
    """Whether indices are all there is, and vectors have no way back."""
    return list(fields) == ["indices"]


def _named(out: Any) -> dict[str, Tensor]:
    """What a forward returned by name, tensors alone: an argument may have asked for more."""
    if isinstance(out, Tensor):
        return {"indices": out}
    pairs = zip(out._fields, out, strict=True)
    return {name: value for name, value in pairs if isinstance(value, Tensor)}


def _indices_axis(module: nn.Module) -> int:
    """Where a quantizer's indices have the batch; an autoencoder's have it first."""
    axis = getattr(module, "batch_axis", 0)
    return axis if isinstance(axis, int) else 0
