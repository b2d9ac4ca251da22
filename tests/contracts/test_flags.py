"""A flag is True or False: ``"false"`` from a config file or 1 from a command line is named, and nothing is built."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

import vqkit.quantizers
from tests.contracts.compare import assert_same_state, flat_state
from tests.contracts.test_coverage import PUBLIC
from vqkit.codebook import EMA, InPlace
from vqkit.errors import ArgumentTypeError
from vqkit.quantizers import GumbelStraightThrough, Orthogonal, Quantizer, StageDropout, VectorQuantize
from vqkit.quantizers.flat import FlatOptions

TABLE = {"dim": 4, "codebook_size": 8}
STAGES = {**TABLE, "num_quantizers": 2}
LEVELS = {"dim": 4, "levels": [3, 3], "num_quantizers": 2}
MADE_OF: dict[str, dict[str, Any]] = {
    "BSQ": {"dim": 4},
    "BinaryMapper": {"bits": 2},
    "FSP": {"levels": [3, 3]},
    "FSQ": {"levels": [3, 3]},
    "Grouped": {"groups": [VectorQuantize(4, 8)]},
    "GroupedResidualFSQ": {**LEVELS, "groups": 2},
    "GroupedResidualLFQ": {**STAGES, "groups": 2},
    "GroupedResidualVQ": {**STAGES, "groups": 2},
    "HierarchicalVQ": {**TABLE, "scales": (1, 2)},
    "LFQ": {"dim": 4},
    "LatentQuantize": {"levels": [3, 3], "dim": 4},
    "MultiScale": {"quantizer": VectorQuantize(4, 8), "scales": (1, 2)},
    "MultiScaleVQ": {**TABLE, "scales": (1, 2)},
    "ProductQuantize": {**TABLE, "num_codebooks": 2},
    "RandomProjectionQuantizer": {**TABLE, "codebook_dim": 2},
    "Residual": {"stages": [VectorQuantize(4, 8)]},
    "ResidualFSQ": LEVELS,
    "ResidualLFQ": STAGES,
    "ResidualSimVQ": STAGES,
    "ResidualVQ": STAGES,
    "SplitResidualVQ": {**STAGES, "codebook_dim": 2},
}
STAGE_FLAGS = (
    "quantize_dropout",
    "accept_image_fmap",
    "accept_3d_fmap",
    "channel_first",
    "channel_last",
    "kmeans_init",
)


def flags_of(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if str(p.annotation) in ("bool", "bool | None")]


CONSTRUCTORS = [(name, flag) for name, cls in PUBLIC.items() for flag in flags_of(cls)]
FLAT = [("VectorQuantize", n) for n, a in FlatOptions.__annotations__.items() if a.__forward_arg__.startswith("bool")]
WRAPPED = [(name, flag) for name in ("ResidualVQ", "GroupedResidualVQ", "SplitResidualVQ") for flag in STAGE_FLAGS]
CALLS = [(name, flag) for name, cls in PUBLIC.items() for flag in flags_of(cls.forward)]


def make(name: str, **options: Any) -> Quantizer:
    return getattr(vqkit.quantizers, name)(**{**MADE_OF.get(name, TABLE), **options})


@pytest.mark.parametrize("value", ["false", 1])
@pytest.mark.parametrize(("name", "flag"), [*CONSTRUCTORS, *FLAT, *WRAPPED])
def test_a_constructor_takes_bools_for_its_flags(name: str, flag: str, value: object):
    with pytest.raises(ArgumentTypeError, match=f"{flag}: expected True or False, got {type(value).__name__}"):
        make(name, **{flag: value})


@pytest.mark.parametrize(("name", "flag"), [*CALLS, ("ResidualVQ", "freeze_codebook"), ("Grouped", "freeze_codebook")])
def test_a_call_takes_bools_for_its_flags(name: str, flag: str):
    quantizer = make(name)
    before = flat_state(quantizer)
    x = torch.randn(2, quantizer.dim, 2, 2)
    with pytest.raises(ArgumentTypeError, match=f"{flag}: expected True or False, got str 'false'"):
        quantizer(x if quantizer.channel_dim in (1, None) else x.movedim(1, -1), **{flag: "false"})
    assert_same_state(before, flat_state(quantizer))


@pytest.mark.parametrize(
    ("policy", "flag"),
    [
        (EMA, "debias"),
        (EMA, "manual"),
        (EMA, "hold_idle"),
        (lambda **o: InPlace(torch.optim.SGD, **o), "manual"),
        (GumbelStraightThrough, "noise"),
        (lambda **o: Orthogonal(1.0, **o), "active_only"),
        (StageDropout, "per_sample"),
    ],
)
def test_a_policy_takes_bools_for_its_flags(policy: Any, flag: str):
    with pytest.raises(ArgumentTypeError, match=f"{flag}: expected True or False"):
        policy(**{flag: "false"})


def test_what_may_be_left_open_may_be_none():
    vq = VectorQuantize(4, 8, rotation_trick=None, ema_update=None, learnable_codebook=None)
    assert vq(torch.randn(9, 4), freeze_codebook=None).indices.shape == (9,)
