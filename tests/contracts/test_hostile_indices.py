"""Contract 2 against indices somebody else made: ``decode`` gives what they say, or a typed error that says why."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.contracts.cases import METHODS, Case
from tests.contracts.test_05_same_values import trained
from vqkit.errors import ArgumentError, ArgumentTypeError, CodeIndexError

SMALL = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32, torch.uint64)


def untrue(indices: Tensor) -> dict[str, tuple[type[Exception], object]]:
    """What no decoder can take, and the error it is to raise."""
    return {
        "huge": (CodeIndexError, torch.full_like(indices, 2**62)),
        "largest": (CodeIndexError, torch.full_like(indices, 2**63 - 1)),
        "smallest": (CodeIndexError, torch.full_like(indices, -(2**63))),
        "-2": (CodeIndexError, torch.full_like(indices, -2)),
        "wrapped": (CodeIndexError, torch.full(indices.shape, 2**64 - 1, dtype=torch.uint64)),
        "float": (ArgumentTypeError, indices.float()),
        "bool": (ArgumentTypeError, indices > 0),
        "complex": (ArgumentTypeError, indices.to(torch.complex64)),
        "sparse": (ArgumentTypeError, indices.to_sparse()),
        "meta": (ArgumentError, indices.to("meta")),
        "list": (ArgumentTypeError, indices.tolist()),
        "numpy": (ArgumentTypeError, indices.numpy()),
        "none": (ArgumentTypeError, None),
    }


@pytest.mark.parametrize("case", METHODS, ids=lambda case: case.name)
def test_hostile_indices(case: Case):
    quantizer = trained(case).eval()
    indices = quantizer.encode(case.x(1))
    expected = quantizer.decode(indices)
    for name, (error, hostile) in untrue(indices).items():
        with pytest.raises(error, match="indices"):
            quantizer.decode(hostile)
        assert name
    scattered = torch.stack([indices, indices], -1)[..., 0]
    assert not scattered.is_contiguous() or scattered.numel() < 2
    assert torch.equal(quantizer.decode(scattered), expected)
    for dtype in SMALL:
        if int(indices.min()) >= 0 and int(indices.max()) <= torch.iinfo(dtype).max:
            assert torch.equal(quantizer.decode(indices.to(dtype)), expected)
