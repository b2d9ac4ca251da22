"""Arguments that once were taken silently, or failed without a name; and calls that failed halfway through a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.contracts.compare import assert_same_state, flat_state
from vqkit import quantizers
from vqkit.errors import ArgumentError, VqkitError
from vqkit.quantizers import ImplicitVQ, ProductQuantize, ResidualVQ, SinkhornVQ, VectorQuantize

RVQ = {"dim": 4, "num_quantizers": 2, "codebook_size": 8}
PYRAMID = {"dim": 4, "codebook_size": 8, "scales": (1, 2)}
TABLE = {"dim": 4, "codebook_size": 8}
BAD: list[tuple[str, dict[str, Any], str, list[Any]]] = [
    ("ResidualVQ", RVQ, "codebook_dim", [True, -1, 2.5, "x"]),
    ("ResidualVQ", RVQ, "mlp_kwargs", ["x", {"depth": 1}]),
    ("ResidualVQ", RVQ, "project_each_stage", [True]),
    ("ResidualVQ", RVQ | {"quantize_dropout": True}, "quantize_dropout_cutoff_index", ["x", True, -1]),
    ("ResidualVQ", RVQ | {"quantize_dropout": True}, "quantize_dropout_multiple_of", ["x", True, 0]),
    ("ResidualVQ", RVQ | {"quantize_dropout": True}, "quantize_dropout_rate", ["x", 2.0, float("nan")]),
    ("MultiScaleVQ", PYRAMID, "codebook_size", [2.5, [], "x", [8, "a"]]),
    ("HierarchicalVQ", PYRAMID, "codebook_size", [2.5, [], "x"]),
    ("HierarchicalVQ", PYRAMID, "quant_resi", ["x", [], float("nan")]),
    ("HierarchicalVQ", PYRAMID, "share_quant_resi", ["x", 2.5]),
    ("HierarchicalVQ", PYRAMID, "nested_dropout", ["x", 2.0]),
    ("HierarchicalVQ", PYRAMID, "nested_dropout_min_levels", ["x", 0]),
    ("LatentQuantize", {"levels": [3, 3], "dim": 2}, "in_place_codebook_optimizer", ["x", 1]),
    ("SimVQ", TABLE, "init_fn", ["x", 1]),
    ("SimVQ", TABLE, "codebook_transform", ["x", 1]),
    ("SimVQ", TABLE, "estimator", ["x", 0]),
    ("IBQ", TABLE, "entropy_temperature", ["x", -1.0, float("nan")]),
    ("SQVAE", TABLE, "codebook_size", ["x", 0, True]),
]


@pytest.mark.parametrize(
    ("kind", "given", "name", "value"),
    [(kind, given, name, value) for kind, given, name, values in BAD for value in values],
    ids=lambda v: str(v) if not isinstance(v, dict) else "",
)
def test_a_bad_argument_is_named(kind: str, given: dict[str, Any], name: str, value: object):
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        getattr(quantizers, kind)(**{**given, name: value})
    assert isinstance(caught.value, VqkitError)


def test_options_that_would_be_ignored_are_refused():
    with pytest.raises(ArgumentError, match="diveq: expected either it or estimator"):
        ResidualVQ(**RVQ, diveq=True, estimator=quantizers.Rotation())
    with pytest.raises(ArgumentError, match="project: num_codebooks says all"):
        ProductQuantize(8, 2, 4, rotation="random", project=True)
    with pytest.raises(ArgumentError, match="ema_update_weight: expected None"):
        VectorQuantize(**TABLE, learnable_codebook=True)(torch.randn(9, 4), ema_update_weight=0.5)


@pytest.mark.parametrize(
    "call",
    [
        {"sample_codebook_temp": -1.0},
        {"sample_codebook_temp": float("nan")},
        {"ema_update_weight": "x"},
        {"ema_update_weight": True},
        {"ema_update_weight": torch.ones(3)},
        {"indices": torch.full((20,), 99)},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [VectorQuantize, SinkhornVQ])
def test_a_bad_call_places_no_codes(kind: type[VectorQuantize], call: dict[str, Any]):
    vq = kind(4, 4, kmeans_init=True)
    before = flat_state(vq)
    with pytest.raises(VqkitError):
        vq(torch.randn(20, 4), **call)
    assert_same_state(before, flat_state(vq))


def test_an_implicit_codebook_may_be_told_the_defaults():
    assert ImplicitVQ(4, 8, heads=1, project=False).codebook_size == 8
