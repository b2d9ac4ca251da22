"""``ResidualVQ`` against the peer's, straight-through, no revival of dead codes."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
import vector_quantize_pytorch as peer
from torch import Tensor

from benchmarks.cases.agreement import PEER, drawn, require_close, require_most
from benchmarks.cases.steps import evaluation, train, training
from benchmarks.cases.vector import CHECKED, place
from benchmarks.harness import Case, Work
from vqkit import ResidualVQ

DIM, SIZE = 128, 1024
SHAPE = (1, 4096, DIM)
OPTIONS: Any = {"dim": DIM, "num_quantizers": 8, "codebook_size": SIZE, "rotation_trick": False}
# Of a Gaussian's variance, what the best code of so many bits leaves; Gaussian codes of the rest come near to it.
LEFT = SIZE ** (-2 / DIM)


def _pair() -> tuple[ResidualVQ, peer.ResidualVQ]:
    torch.manual_seed(0)
    ours, theirs = ResidualVQ(**OPTIONS, threshold_ema_dead_code=0), peer.ResidualVQ(**OPTIONS)
    for number, (mine, other) in enumerate(zip(ours.ordered(), theirs.layers, strict=True)):
        codes = torch.randn(SIZE, DIM) * (LEFT**number * (1 - LEFT)) ** 0.5
        mine.codebook = codes  # pyright: ignore
        place(other, codes)
    return ours, theirs


def _require_same(x: Tensor, ours: Any, theirs: Any) -> Tensor:
    """Nearly all rows get the same codes, those the same output, and ours is as near; returns which rows, (N,)."""
    same = (ours[1] == theirs[1]).flatten(0, -2).all(-1)
    # One stage's near tie changes all stages after it.
    require_most("indices", same, 0.99)
    mine, other, rows = (t.reshape(-1, x.shape[-1])[same] for t in (ours[0], theirs[0], x))
    require_close("quantized", mine, other)
    errors = [(t.double().reshape(x.shape) - x.double()).square().sum(-1).mean() for t in (ours[0], theirs[0])]
    if errors[0] > errors[1] * (1 + 1e-4):
        raise AssertionError(f"distortion {errors[0]:.6g} on {len(rows)} rows, the peer's is {errors[1]:.6g}")
    return same


def make_training() -> Work:
    inputs, (upstream,) = drawn(*SHAPE), drawn(*SHAPE, sets=1, seed=1)
    ours, theirs = _pair()

    def check() -> None:
        for x in inputs[:CHECKED]:
            # Of the loss alone: through the output the peer sends the gradient once for each stage, we send it once.
            mine, other = train(deepcopy(ours).train(), x, None), train(deepcopy(theirs).train(), x, None)
            same = _require_same(x, (mine.quantized, mine.indices), (other.quantized, other.indices))
            require_close("loss", mine.loss.flatten(), other.loss.flatten(), 1e-3)
            first, second = (step.gradient.reshape(-1, x.shape[-1])[same] for step in (mine, other))
            require_close("gradient of the loss", first, second)

    return Work(check, training(ours, inputs, upstream), training(theirs, inputs, upstream))


def make_eval() -> Work:
    inputs = drawn(*SHAPE)
    ours, theirs = _pair()
    mine, other = evaluation(ours, inputs), evaluation(theirs, inputs)

    def check() -> None:
        for turn, x in enumerate(inputs[:CHECKED]):
            _require_same(x, mine(turn), other(turn))

    return Work(check, mine, other)


def cases() -> Iterator[Case]:
    name = "d=128 K=1024 Q=8 N=4096"
    yield Case(f"ResidualVQ step, {name}", "residual", PEER, make_training)
    yield Case(f"ResidualVQ eval, {name}", "residual", PEER, make_eval)
