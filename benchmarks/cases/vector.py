"""``VectorQuantize`` against the peer's: training steps, eval, and a single row at a time.

Both sides: the same codes, projections, moving averages and estimator, no revival of dead codes. Rows are Gaussian, the
codes k-means' of such rows: nothing is clustered, so nearest and second nearest are about as far as they can be alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import torch
import vector_quantize_pytorch as peer
from torch import Tensor

from benchmarks.cases.agreement import PEER, SETS, drawn, require_close, require_most, require_nearest
from benchmarks.cases.steps import evaluation, train, training
from benchmarks.harness import Case, Work
from vqkit import VectorQuantize

ROW_CALLS = 50
CHECKED = 2  # sets of inputs; the others are of the same kind
FIT_ROWS = 4096


class Config(NamedTuple):
    """The name of a case, the shape of its input, and the options that both sides take."""

    name: str
    shape: tuple[int, ...]
    options: dict[str, Any]


def _options(dim: int, size: int, rotation: bool = False, **more: Any) -> dict[str, Any]:
    return {"dim": dim, "codebook_size": size, "rotation_trick": rotation, **more}


CONFIGS = (
    Config("rotation d=256 K=512 N=8192", (1, 8192, 256), _options(256, 512, rotation=True)),
    Config("straight-through d=256 K=512 N=8192", (1, 8192, 256), _options(256, 512)),
    Config("image 16×64×32×32 K=1024", (16, 64, 32, 32), _options(64, 1024, accept_image_fmap=True)),
    Config(
        "cosine d=256 codebook_dim=8 K=8192 N=4096",
        (1, 4096, 256),
        _options(256, 8192, codebook_dim=8, use_cosine_sim=True),
    ),
    Config("straight-through d=512 K=1024 N=8192", (1, 8192, 512), _options(512, 1024)),
)
ROW = Config("single row D=64 K=1024, eval", (1, 1, 64), _options(64, 1024))


def place(theirs: Any, codes_KD: Tensor) -> None:
    """Give the peer these codes, each as if one row had made it, as ours counts them."""
    for table in (theirs._codebook.embed, theirs._codebook.embed_avg):
        table.data.copy_(codes_KD[None])


def pair(config: Config) -> tuple[VectorQuantize, peer.VectorQuantize]:
    """Both sides, with codes placed by k-means of rows that no case searches: a code is never a row itself."""
    torch.manual_seed(0)
    ours, theirs = VectorQuantize(**config.options, threshold_ema_dead_code=0), peer.VectorQuantize(**config.options)
    shape = config.shape if config.shape != ROW.shape else (1, FIT_ROWS, config.options["dim"])
    place(theirs, ours.fit(drawn(*shape, seed=2), iters=2).codebook)
    for name, module in ours.named_modules():
        if isinstance(module, torch.nn.Linear):
            getattr(theirs, name.rpartition(".")[2]).load_state_dict(module.state_dict())
    return ours, theirs


def entered(theirs: Any, x: Tensor) -> Tensor:
    """Rows (N, D) as the peer's codebook meets them."""
    rows = x.movedim(1, -1) if theirs.accept_image_fmap else x
    with torch.no_grad():
        return theirs._codebook.transform_input(theirs.project_in(rows.reshape(-1, rows.shape[-1])))


def require_same_choice(theirs: Any, x: Tensor, ours_out: Any, their_out: Any) -> None:
    """Ours are as near, and where the indices agree so do the outputs."""
    mine, other = ours_out.indices.flatten(), their_out.indices.flatten()
    rows, codes = entered(theirs, x), theirs._codebook.embed[0]
    rounded = theirs.has_projections or theirs.use_cosine_sim  # both sides round the row before they search
    require_nearest(rows, codes, mine, other, slack=1e-5 if rounded else 0.0)
    require_most("indices", mine == other)
    axis = 1 if theirs.accept_image_fmap else -1
    same = (mine == other)[:, None]
    for name in ("quantized", "gradient"):
        if hasattr(ours_out, name):
            a, b = (getattr(out, name).movedim(axis, -1).reshape(len(same), -1) for out in (ours_out, their_out))
            require_close(name, torch.where(same, a, 0), torch.where(same, b, 0))


def require_same_codes(ours: VectorQuantize, theirs: Any, first: Tensor, other: Tensor) -> None:
    """After the step, the codes that drew the same rows lie in the same place."""
    mine, peers = ours.codebook, theirs._codebook.embed[0]
    touched = torch.zeros(len(mine), dtype=torch.bool)
    touched[torch.cat([first[first != other], other[first != other]])] = True
    require_close("codebook", mine[~touched], peers[~touched])


def make_training(config: Config) -> Work:
    inputs, (upstream,) = drawn(*config.shape), drawn(*config.shape, sets=1, seed=1)
    ours, theirs = pair(config)

    def check() -> None:
        for x in inputs[:CHECKED]:
            a, b = deepcopy(ours).train(), deepcopy(theirs).train()
            before = deepcopy(theirs)
            mine, other = train(a, x, upstream), train(b, x, upstream)
            require_same_choice(before, x, mine, other)
            require_close("loss", mine.loss, other.loss)
            require_same_codes(a, b, mine.indices.flatten(), other.indices.flatten())

    return Work(check, training(ours, inputs, upstream), training(theirs, inputs, upstream))


class _Out(NamedTuple):
    quantized: Tensor
    indices: Tensor
    loss: Tensor


def make_eval(config: Config, calls: int = 1) -> Work:
    inputs = drawn(*config.shape, sets=max(SETS, calls))
    ours, theirs = pair(config)
    mine, other = evaluation(ours, inputs), evaluation(theirs, inputs)

    def check() -> None:
        for turn, x in enumerate(inputs[:CHECKED]):
            require_same_choice(theirs, x, mine(turn), _Out(*other(turn)))

    return Work(check, mine, other, calls=calls)


def cases() -> Iterator[Case]:
    for config in CONFIGS:
        make = partial(make_training, config)
        yield Case(f"VectorQuantize step, {config.name}", "vector-train", PEER, make)
    for config in CONFIGS:
        yield Case(f"VectorQuantize eval, {config.name}", "vector-eval", PEER, partial(make_eval, config))
    yield Case(ROW.name, "single-row", PEER, partial(make_eval, ROW, ROW_CALLS))
