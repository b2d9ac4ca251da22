"""Contract 13: one graph in training and in eval, for any number of rows, and nobody waits for a value."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from tests.contracts.cases import CASES, Case
from tests.contracts.compare import assert_same_state, flat_state, gradients, loss_of

# A step of each kind: every update, revival, estimator, objective and way to choose, and every family.
VECTOR = (
    *("cosine_gradient", "dot", "cosine_lengths", "gradient_sync", "in_place", "affine_running", "affine_in_place"),
    *("bridge", "stale", "unused", "cvq_closest", "cvq_probability", "rotation", "gumbel_noise", "diveq"),
    *("index_backpropagation", "stochastic", "cross_entropy", "orthogonal_active", "entropy"),
)
FAMILIES = (
    *("FSP-rounded-rows", "FSQ-plain-rows", "LFQ-plain-rows", "BSQ-plain-rows", "LatentQuantize-plain-rows"),
    *("BinaryMapper-deterministic_on_eval", "GumbelQuantize-groups", "IBQ-heads", "SQVAE-gaussian", "SimVQ-mlp"),
    *("SinkhornVQ-plain", "ProductQuantize-random", "ImplicitVQ", "ResidualVQ-plain", "ResidualFSQ-plain"),
    *("GroupedResidualVQ-plain", "MultiScaleVQ-plain", "VectorQuantize-plain-image_heads_projected"),
)
OTHERS = (
    *("FSQ-noise_dropout-rows", "FSQ-plain-2^62_codes", "FSQ-rotation_scale_clamp-rows", "LFQ-grouped_entropy-rows"),
    *("LFQ-spherical_rotated-rows", "SQVAE-vmf", "ResidualVQ-shared", "ResidualVQ-dropout_per_sample"),
    *("ResidualVQ-beam", "ResidualLFQ-projected", "ResidualSimVQ-projected", "VectorQuantize-plain-heads_apart"),
)
NAMES = [*FAMILIES, *OTHERS, *(f"VectorQuantize-{name}-rows" for name in VECTOR)]
# With gradients traced, too; the others' are autograd's own.
TRACED = ("FSQ-plain-rows", "LFQ-plain-rows", "IBQ-heads", "GumbelQuantize-groups", "VectorQuantize-rotation-rows")
SELECTED = [case for case in CASES if case.name in NAMES]
# Their eval is that of their parts, one after the other.
COMPOSED = ("GroupedResidualVQ-plain", "MultiScaleVQ-plain", "ResidualFSQ-plain")
RUNS = [(case, True) for case in SELECTED]
RUNS += [(case, False) for case in SELECTED if case.name in FAMILIES and case.name not in COMPOSED]
SIZES = (3, 5, 7)
# What hands a value of a tensor to Python, or has a shape that hangs on one.
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim", "item"}


def test_every_name_is_a_case():
    assert {case.name for case in SELECTED} == set(NAMES)


def batch(case: Case, size: int) -> Tensor:
    return torch.randn((size, *case.shape[1:]), generator=torch.Generator().manual_seed(size)) * 0.7


def step(quantizer: Any, forward: Callable[[Tensor], Any], x: Tensor) -> tuple[Any, dict[str, Tensor]]:
    """The output, and the gradients at input and parameters."""
    torch.manual_seed(5)
    quantizer.zero_grad()
    x = x.clone().requires_grad_(quantizer.training)
    out = forward(x)
    loss = out.quantized.square().mean() + loss_of(out)
    if quantizer.training and loss.requires_grad:
        loss.backward()
    return out, gradients(quantizer) | ({} if x.grad is None else {"x": x.grad})


@pytest.mark.parametrize(
    ("case", "training"), RUNS, ids=[f"{case.name}-{'training' if training else 'eval'}" for case, training in RUNS]
)
def test_it_compiles_once_for_any_number_of_rows(case: Case, training: bool):
    torch._dynamo.reset()
    first = case.trained().train(training)  # k-means places its codes in a first step, outside the graph
    second = copy.deepcopy(first)
    counter = CompileCounterWithBackend("aot_eager" if case.name in TRACED and training else "eager")
    compiled = torch.compile(second, fullgraph=True, backend=counter)
    for size in SIZES:
        out, slopes = step(first, first, batch(case, size))
        got, found = step(second, compiled, batch(case, size))
        assert torch.equal(got.indices, out.indices)
        torch.testing.assert_close(got.quantized, out.quantized, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(loss_of(got), loss_of(out), rtol=1e-5, atol=1e-6)
        assert_same_state(slopes, found, 1e-6)
        assert_same_state(flat_state(first), flat_state(second), 1e-6)
    assert counter.frame_count <= 2  # the first size, then any


class Waits(TorchDispatchMode):
    """The ops that a device would have to be waited for; what a search does inside is its own affair."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        namespace, _, name = function.name().partition("::")
        by_mask = name.startswith("index.") and any(t is not None and t.dtype == torch.bool for t in args[1])
        if namespace == "aten" and (name.split(".")[0] in WAITS or by_mask):
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", SELECTED, ids=lambda case: case.name)
def test_a_step_waits_for_no_value(case: Case):
    quantizer = case.trained()
    with Waits() as waits:
        step(quantizer, quantizer, batch(case, 4))
        step(quantizer.eval(), quantizer, batch(case, 4))
    assert not waits.seen


def test_waiting_is_seen():
    with Waits() as waits:
        x = torch.tensor([1.0, 0.0])
        assert x.sum() > 0
        x[x > 0].nonzero()
    assert waits.seen == ["_local_scalar_dense", "index.Tensor", "nonzero"]
