"""Quantizers without a table, against the peer's: training steps of LFQ and FSQ."""

from __future__ import annotations

from collections.abc import Iterator

import vector_quantize_pytorch as peer

from benchmarks.cases.agreement import PEER, drawn, require_close, require_most
from benchmarks.cases.steps import train, training
from benchmarks.harness import Case, Work
from vqkit import FSQ, LFQ

LEVELS = [8, 5, 5, 5]


def make_lfq() -> Work:
    inputs, (upstream,) = drawn(1, 1024, 16), drawn(1, 1024, 16, sets=1, seed=1)
    # The peer's weights, which are not our defaults.
    ours = LFQ(dim=16, codebook_size=2**16, entropy_loss_weight=0.1, commitment_loss_weight=0.0, inv_temperature=100.0)
    theirs = peer.LFQ(dim=16, codebook_size=2**16)

    def check() -> None:
        mine, other = train(ours, inputs[0], upstream), train(theirs, inputs[0], upstream)
        require_most("indices", mine.indices == other.indices, 1.0)
        require_close("quantized", mine.quantized, other.quantized)
        # The peer takes log max(p, 1e-5), so its entropies are a little off where p is small.
        require_close("loss", mine.loss, other.loss, 1e-2)

    return Work(check, training(ours, inputs, upstream), training(theirs, inputs, upstream))


def make_fsq() -> Work:
    inputs, (upstream,) = drawn(1, 65536, 4), drawn(1, 65536, 4, sets=1, seed=1)
    ours, theirs = FSQ(LEVELS), peer.FSQ(LEVELS)

    def check() -> None:
        for x in inputs:
            mine, other = train(ours, x, upstream), train(theirs, x, upstream)
            same = mine.indices == other.indices
            require_most("indices", same)
            require_close("quantized", mine.quantized[same], other.quantized[same])
            require_close("gradient", mine.gradient, other.gradient, 1e-2)

    return Work(check, training(ours, inputs, upstream), training(theirs, inputs, upstream))


def cases() -> Iterator[Case]:
    yield Case("LFQ step, 16 bits N=1024", "lfq", PEER, make_lfq)
    yield Case("FSQ step, (8, 5, 5, 5) N=65536", "fsq", PEER, make_fsq)
