"""A training step by the GPU's kernels, on a GPU or in the interpreter, against the same step by the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vqkit import FSQ, LFQ, VectorQuantize
from vqkit.kernels import dispatch
from vqkit.kernels.dispatch import REFERENCE, TRITON, Backend

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HERE = Backend("triton", TRITON.ops, TRITON.refuses, DEVICE)
CASES: dict[str, Callable[[], nn.Module]] = {
    "rotation": lambda: VectorQuantize(dim=6, codebook_size=24),
    "straight": lambda: VectorQuantize(dim=6, codebook_size=24, rotation_trick=False),
    "cosine": lambda: VectorQuantize(dim=6, codebook_size=24, codebook_dim=4, use_cosine_sim=True),
    "heads": lambda: VectorQuantize(dim=6, codebook_size=24, heads=2, separate_codebook_per_head=True),
    "gradient": lambda: VectorQuantize(dim=6, codebook_size=24, learnable_codebook=True, ema_update=False),
    "fsq": lambda: FSQ(levels=[8, 5, 5, 5], dim=6),
    "lfq": lambda: LFQ(dim=6, codebook_size=64),
}


def stepped(name: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What three steps return, what they send back, and the state they leave."""
    monkeypatch.setattr(dispatch, "BACKENDS", [backend, REFERENCE])
    torch.manual_seed(0)
    module, found = CASES[name]().to(DEVICE), []
    for _ in range(3):
        x = torch.randn(3, 17, 6)
        x[1, 4, 2] = torch.nan
        x = x.to(DEVICE).requires_grad_()
        out = module(x)
        losses = [t for t in out if t is not None and t.is_floating_point()]
        sum(t.square().sum() for t in losses).backward()
        found += [*out, x.grad, *(p.grad for p in module.parameters()), *(b.clone() for b in module.buffers())]
    return [t.detach().cpu() for t in found if t is not None]


@pytest.mark.filterwarnings("ignore:.*hold NaN or inf")
@pytest.mark.parametrize("name", CASES)
def test_a_step_is_that_of_the_reference(name: str, monkeypatch: pytest.MonkeyPatch):
    ours, theirs = stepped(name, HERE, monkeypatch), stepped(name, REFERENCE, monkeypatch)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
