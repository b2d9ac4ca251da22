"""Forwards without quantization."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from vqkit.interop.vqtorch.layers import VQLayer


def is_vq(module: nn.Module) -> bool:
    """Whether this module is a quantization layer of this vocabulary."""
    return isinstance(module, VQLayer)


def get_vq_layers(modules: nn.Module | Iterable[nn.Module]) -> list[VQLayer]:
    """Every quantization layer in a module, or in several."""
    roots = [modules] if isinstance(modules, nn.Module) else list(modules)
    found = (layer for root in roots for layer in root.modules() if isinstance(layer, VQLayer))
    return list(dict.fromkeys(found))


@contextmanager
def no_vq(modules: nn.Module | Iterable[nn.Module]) -> Iterator[None]:
    """Within, the quantization layers of these modules return ``(z, {})``, with their input norm still applied.

    What was on or off before is so again afterwards, whether the block ends or raises.

    >>> import torch
    >>> from vqkit.interop.vqtorch import VectorQuantize
    >>> vq, z = VectorQuantize(feature_size=4, num_codes=8), torch.randn(2, 4, 3)
    >>> with no_vq(vq):
    ...     out, misc = vq(z)
    >>> bool((out == z).all()), misc
    (True, {})
    """
    layers = get_vq_layers(modules)
    before = [layer.enabled for layer in layers]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer, enabled in zip(layers, before, strict=True):
            layer.enabled = enabled
