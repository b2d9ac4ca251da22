"""Codes that an optimizer of their own moves inside the forward."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp

from vqkit.codebook.update import Stateless, Weight
from vqkit.errors import ArgumentError
from vqkit.kernels.ops import plain
from vqkit.kernels.reference.unit import unit
from vqkit.shapes import check_flag

if TYPE_CHECKING:
    from vqkit.codebook.codebook import Codebook
    from vqkit.codebook.stats import BatchStats


@dataclass(frozen=True)
class InPlace(Stateless):
    """Codes take an optimizer's step on the codebook loss inside the forward, before the lookup (vqtorch's in-place
    update).

    ``optimizer`` makes it from a list of parameters: ``partial(torch.optim.SGD, lr=1.0)``. The gradient of
    mean |sg(x) − q|² is 2(n·e − Σx)/(N·D): it needs the step's counts and sums alone, so ranks and micro-batches
    agree. A learned affine map steps along with the codes. ``manual``: the step waits for
    ``Codebook.update_in_place_()``. Where FSDP2 leaves each rank a part of the codes, a step raises ``ArgumentError``.
    """

    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    manual: bool = False

    def __post_init__(self) -> None:
        check_flag("manual", self.manual)

    @property
    def changes_output(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return not self.manual

    def step_(self, book: Codebook, stats: BatchStats, weight: Weight) -> None:
        del weight
        if book.in_shards:
            raise ArgumentError(
                "update: InPlace steps whole codes: expected a codebook outside fully_shard, got shards"
            )
        codes, back = _codes_and_pullback(book)
        pull = stats.counts[..., None] * codes.double() - stats.sums
        slope = 2 * pull / (stats.rows.sum().clamp(min=1) * codes.shape[-1])
        gradient, *map_gradients = back(slope.to(codes.dtype))
        # Not in ``.grad``, where the caller's optimizer would find them.
        book.in_place_gradients = [torch.where(book.frozen[..., None], 0, gradient), *map_gradients]
        if not self.manual:
            self.finish_(book)

    def finish_(self, book: Codebook) -> None:
        """Step, forget the gradient, and put frozen codes back (momentum or decay may have moved them)."""
        if book.in_place is None:
            raise ArgumentError("update: the in-place optimizer belongs to another codebook")
        before = book.vectors.detach().clone()
        book.in_place.step_([book.vectors, *book.in_place_maps()], book.in_place_gradients)
        book.in_place_gradients = []
        with torch.no_grad():
            book.vectors.copy_(torch.where(book.frozen[..., None], before, book.vectors))


def _codes_and_pullback(book: Codebook) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
    """``book``'s codes, and what takes a gradient at them to those at its vectors and at the numbers of its map."""
    affine, vectors, maps = book.affine, book.vectors.detach(), book.in_place_maps()
    if affine is None and not book.unit_codes:
        return vectors, lambda slope: (slope,)
    names = [] if affine is None else [name for name, _ in affine.named_parameters()]

    def codes(stored: Tensor, *numbers: Tensor) -> Tensor:
        own = unit(stored) if book.unit_codes else stored
        return own if affine is None else functional_call(affine, dict(zip(names, numbers, strict=True)), (own,))

    with torch.autocast(vectors.device.type, enabled=False):
        made, back, *_ = vjp(codes, vectors, *(parameter.detach() for parameter in maps))
    return made, back


_numbers = count()
_optimizers: WeakValueDictionary[int, InPlaceOptimizer] = WeakValueDictionary()


class InPlaceOptimizer(nn.Module):
    """Holds the optimizer of ``InPlace``, so that its momentum travels in the state dict."""

    def __init__(self, policy: InPlace, parameters: Iterable[nn.Parameter]):
        super().__init__()
        self.optimizer = policy.optimizer(list(parameters))
        self._enlist()

    def _enlist(self) -> None:
        """Take a number, by which a compiled step finds this optimizer: a graph holds no Python object."""
        self.number = next(_numbers)
        _optimizers[self.number] = self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._enlist()  # a copy is another optimizer

    @torch.no_grad()
    def step_(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Let the optimizer step once from these gradients; ``parameters`` are its own."""
        if plain(parameters[0]):
            self.own_step_(gradients)
        else:
            _step_op(parameters, gradients, self.number)

    def own_step_(self, gradients: list[Tensor]) -> list[Tensor]:
        """Step its parameters, and return them."""
        parameters = self.optimizer.param_groups[0]["params"]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad()
        return parameters

    def point_at(self, parameters: list[nn.Parameter]) -> None:
        """Step these from now on: a state dict that was assigned brings parameters of its own."""
        for old, new in zip(self.optimizer.param_groups[0]["params"], parameters, strict=True):
            if old is not new and old in self.optimizer.state:
                self.optimizer.state[new] = self.optimizer.state.pop(old)
        self.optimizer.param_groups[0]["params"] = parameters

    def get_extra_state(self) -> dict[str, Any]:
        """The optimizer's own state dict."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Load what ``get_extra_state`` gave."""
        self.optimizer.load_state_dict(copy.deepcopy(state))  # else both would write one momentum


@torch.library.custom_op("vqkit::in_place_step", mutates_args={"parameters"})
def _step_op(parameters: list[Tensor], gradients: list[Tensor], number: int) -> None:
    """A step of the optimizer of that number as one node; its momentum is its own affair."""
    stepped = _optimizers[number].own_step_(gradients)
    for given, own in zip(parameters, stepped, strict=True):
        if given.data_ptr() != own.data_ptr():  # a compiler may hand over copies, whose values it then writes back
            given.copy_(own)


@_step_op.register_fake
def _(parameters: list[Tensor], gradients: list[Tensor], number: int) -> None:
    del parameters, gradients, number
