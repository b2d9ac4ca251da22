"""The tensors of another library's checkpoint, read safely, each to be given a place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.codebook import Codebook
from vqkit.errors import CheckpointError, bad_type
from vqkit.models.torch_files import load_torch
from vqkit.models.weights import listed, read_weights
from vqkit.quantizers.projections import Projections

# Where training scripts put a model's weights among other things.
WRAPPERS = ("state_dict", "model_state_dict", "model", "best_state")

# A weight norm's length and direction, by torch's older and newer names.
NORMED = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))


class State:
    """Tensors by name, each to be taken once; ``finish`` says which found no place.

    >>> state = State({"embed": torch.zeros(2, 3), "more": torch.zeros(1)}, "a.pt")
    >>> state.take("embed", 2).shape
    torch.Size([2, 3])
    >>> state.finish()
    Traceback (most recent call last):
        ...
    vqkit.errors.CheckpointError: a.pt: no place in vqkit for more
    """

    def __init__(self, tensors: Mapping[str, Tensor], source: str, prefix: str = ""):
        self.tensors, self.source, self.prefix = dict(tensors), source, prefix
        self.parts: list[State] = []

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __bool__(self) -> bool:
        return bool(self.tensors)

    def rank(self, name: str) -> int:
        """How many axes the tensor of this name has."""
        if name not in self.tensors:
            raise self.fault(f"missing {self.prefix}{name}")
        return self.tensors[name].ndim

    def shape(self, name: str, rank: int) -> torch.Size:
        """The shape of the tensor of this name, of so many axes."""
        self.rank(name)
        found = self.tensors[name].shape
        if len(found) != rank:
            raise self.fault(f"{self.prefix}{name} has shape {tuple(found)}, expected {rank} axes")
        return found

    def take(self, name: str, rank: int) -> Tensor:
        """The tensor of this name, of so many axes; floating-point ones as finite float32."""
        self.shape(name, rank)
        tensor = self.tensors.pop(name)
        if tensor.is_floating_point():
            tensor = tensor.float()
            if not bool(tensor.isfinite().all()):
                raise self.fault(f"{self.prefix}{name} holds NaN or inf")
        return tensor

    def take_of(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor of this name, which must have this shape."""
        found = self.shape(name, len(shape))
        if found != shape:
            raise self.fault(f"{self.prefix}{name} has shape {tuple(found)}, expected shape {shape}")
        return self.take(name, len(shape))

    def drop(self, *names: str) -> None:
        """Leave these aside: what was asked for has no use for them."""
        for name in names:
            self.tensors.pop(name, None)

    def under(self, prefix: str) -> State:
        """What begins with ``prefix``, without it."""
        names = [name for name in self.tensors if name.startswith(prefix)]
        part = State({n.removeprefix(prefix): self.tensors.pop(n) for n in names}, self.source, self.prefix + prefix)
        self.parts.append(part)
        return part

    def numbered(self, name: str) -> list[State]:
        """What is under ``name.0.``, ``name.1.`` and so on, at least one."""
        found = []
        while any(key.startswith(f"{name}.{len(found)}.") for key in self.tensors):
            found.append(self.under(f"{name}.{len(found)}."))
        if not found:
            raise self.fault(f"missing {self.prefix}{name}.0")
        return found

    def left(self) -> list[str]:
        """The full names of what nobody took."""
        return [self.prefix + name for name in self.tensors] + [name for part in self.parts for name in part.left()]

    def finish(self) -> None:
        """Raise if something was not taken."""
        if left := self.left():
            raise self.fault(f"no place in vqkit for {listed(left)}")

    def fault(self, message: str) -> CheckpointError:
        """``source: message``, ready to raise."""
        return CheckpointError(f"{self.source}: {message}")


def read_state(source: object, prefix: str = "", *, empty: bool = False) -> State:
    """The tensors of a state dict, or of a file (safetensors, or torch's with ``weights_only``), under ``prefix``.

    ``empty``: there may be none at all.
    """
    if isinstance(source, (str, Path)):
        path, name = Path(source), str(source)
        found: Any = read_weights(path)[0] if path.suffix == ".safetensors" else load_torch(path)
    elif isinstance(source, Mapping):
        found, name = source, "state dict"
    else:
        raise bad_type("source", "a state dict, or the path of one", source)
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not (found or empty):
        raise CheckpointError(f"{name}: expected a state dict, got {type(found).__name__}")
    strange = [str(key) for key, value in found.items() if not isinstance(value, Tensor)]
    if strange:
        raise CheckpointError(f"{name}: expected tensors, got something else under {listed(strange)}")
    state = State({str(key): value.detach() for key, value in found.items()}, name)
    if not prefix:
        return state
    part = State(state.under(prefix).tensors, name, prefix)
    if not part:
        raise CheckpointError(f"{name}: nothing under prefix {prefix!r}; there are {listed([str(k) for k in found])}")
    return part


def fill(module: nn.Module, values: Mapping[str, Tensor], state: State, of: str = "") -> None:
    """Load these values among the module's own, each in the shape it has there; ``of``: where they were found."""
    own = module.state_dict()
    for name, value in values.items():
        expected = f"shape {tuple(own[name].shape)}" if name in own else "nothing of that name"
        if name not in own or own[name].shape != value.shape:
            found = f"{state.prefix}{of}{name} has shape {tuple(value.shape)}"
            raise state.fault(f"{found}, expected {expected}")
    module.load_state_dict({**own, **values})


def fill_whole(module: nn.Module, state: State) -> None:
    """Load all of a module's tensors by the names it has for them itself."""
    fill(module, {name: state.take(name, own.ndim) for name, own in module.state_dict().items()}, state)


def fill_codes(book: Codebook, codes: Tensor, state: State, **more: Tensor) -> None:
    """Codes (H, K, D) into a table, and ``more`` of its tensors; codes that learn by gradient are held twice."""
    held = {"held": codes} if book.update.by_gradient else {}
    fill(book, {"vectors": codes, **held, **more}, state)


def fill_projections(projections: Projections, state: State, inward: str, outward: str) -> None:
    """The maps in and out, where there are any, from those of these names."""
    if projections.projects:
        fill_linear(projections.project_in, state, inward)
        fill_linear(projections.project_out, state, outward)


def fill_linear(linear: nn.Module, state: State, name: str) -> None:
    """A linear map from one of this name, or a convolution of width 1, weight-normed or not; no bias is a zero one."""
    values = {"weight": _weight(state, name)}
    if linear.bias is not None:
        found = f"{name}.bias" in state
        values["bias"] = state.take(f"{name}.bias", 1) if found else values["weight"].new_zeros(len(values["weight"]))
    fill(linear, values, state, f"{name}.")


def _weight(state: State, name: str) -> Tensor:
    """The weight (out, in) of a linear layer or a convolution of width 1; of a normed one g·v/|v|."""
    for length, direction in NORMED:
        if f"{name}.{direction}" in state:
            v = _flat(state, f"{name}.{direction}")
            return _flat(state, f"{name}.{length}") * v / v.norm(dim=1, keepdim=True)
    return _flat(state, f"{name}.weight")


def _flat(state: State, name: str) -> Tensor:
    rank = state.tensors[name].ndim if name in state else 2
    weight = state.take(name, rank)
    if rank < 2 or weight.shape[2:].numel() != 1:
        raise state.fault(f"{state.prefix}{name} has shape {tuple(weight.shape)}, expected a map of single vectors")
    return weight.flatten(1)
