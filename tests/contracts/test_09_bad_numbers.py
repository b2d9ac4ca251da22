"""Contract 9: rows with NaN or inf touch nothing, are counted, and are warned of once; bad arguments raise typed
errors.
"""

from __future__ import annotations

import warnings

import pytest
import torch

from tests.contracts.cases import CASES, DIM, SIZE, Case
from tests.contracts.compare import assert_same_state, flat_state, loss_of
from vqkit import VectorQuantize
from vqkit.codebook import EMA, Fixed, Gradient, KMeansInit, LearnedAffine, OnlineClustering, ReplaceRare, RunningAffine
from vqkit.errors import ArgumentError, ArgumentTypeError, VqkitError
from vqkit.quantizers import Orthogonal, build

STEADY_ROWS = [c for c in CASES if not c.draws and c.rows_last]


@pytest.mark.parametrize("steady", STEADY_ROWS, ids=lambda c: c.name)
def test_bad_rows_touch_no_state(steady: Case):
    clean, dirty = steady.trained().train(), steady.trained().train()
    x = steady.x(3).reshape(1, 18, DIM)
    spoiled = torch.cat([x, x[:, :3]], 1)
    spoiled[0, 18, 0], spoiled[0, 19, 5], spoiled[0, 20] = torch.nan, torch.inf, -torch.inf
    spoiled.requires_grad_()
    with pytest.warns(RuntimeWarning, match="3 rows"):
        out = dirty(spoiled)
    (out.quantized.square().sum() + loss_of(out)).backward()
    expected = clean(x)
    assert bool((dirty.columns(out.indices)[0][18:] == -1).all())
    assert not out.quantized[0, 18:].any()
    torch.testing.assert_close(loss_of(out), loss_of(expected))
    assert torch.isfinite(spoiled.grad).all()
    for name, parameter in dirty.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
    assert_same_state(flat_state(clean), flat_state(dirty), 1e-5)
    assert int(dirty.skipped_rows) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dirty(spoiled.detach())
    assert int(dirty.skipped_rows) == 6


def test_a_batch_of_nothing_but_nan(case: Case):
    quantizer = case.build()
    with pytest.warns(RuntimeWarning):
        out = quantizer(torch.full(case.shape, torch.nan))
    assert torch.isfinite(loss_of(out))
    assert all(torch.isfinite(v).all() for v in flat_state(quantizer).values())


BAD_CALLS = [
    ({}, torch.zeros(2, 3, DIM + 1), {}, ArgumentError, r"x: expected 12 channels.*got 13"),
    ({}, torch.zeros(()), {}, ArgumentError, "x: expected"),
    ({}, torch.zeros(2, 3, DIM, dtype=torch.int64), {}, ArgumentTypeError, "x: expected a floating-point tensor"),
    ({}, [1.0, 2.0], {}, ArgumentTypeError, "x: expected a torch.Tensor"),
    ({"accept_image_fmap": True}, torch.zeros(2, DIM, 3), {}, ArgumentError, "x: expected 4 axes"),
    (
        {},
        torch.zeros(2, 3, DIM),
        {"mask": torch.ones(2, 4, dtype=torch.bool)},
        ArgumentError,
        r"mask: expected shape \(2, 3\)",
    ),
    ({}, torch.zeros(2, 3, DIM), {"mask": torch.ones(2, 3)}, ArgumentTypeError, "mask: expected a bool tensor"),
    ({}, torch.zeros(2, 3, DIM), {"lens": torch.tensor([1, 2, 3])}, ArgumentError, "lens: expected shape"),
    ({}, torch.zeros(2, 3, DIM), {"topk": SIZE + 1}, ArgumentError, "topk: expected at most"),
    (
        {},
        torch.zeros(2, 3, DIM),
        {"indices": torch.zeros(2, 4, dtype=torch.int64)},
        ArgumentError,
        "indices: expected shape",
    ),
    ({"kmeans_init": True}, torch.zeros(2, 3, DIM), {}, ArgumentError, "k-means needs at least 16 rows.*got 6"),
]


@pytest.mark.parametrize(("options", "x", "call", "error", "match"), BAD_CALLS, ids=[b[4] for b in BAD_CALLS])
def test_bad_calls(options, x, call, error, match):
    quantizer = VectorQuantize(DIM, SIZE, **options)
    before = flat_state(quantizer)
    with pytest.raises(error, match=match):
        quantizer(x, **call)
    assert_same_state(before, flat_state(quantizer))


BAD_OPTIONS = [
    ({"dim": 0}, "dim: expected an int >= 1, got 0"),
    ({"dim": 2.5}, "dim: expected an int"),
    ({"codebook_size": 0}, "codebook_size"),
    ({"heads": -1}, "heads"),
    ({"codebook_dim": "8"}, "codebook_dim"),
    ({"decay": 1.5}, r"decay: expected a number in \[0, 1\], got 1.5"),
    ({"decay": float("nan")}, "decay"),
    ({"metric": "manhattan"}, "metric: expected one of 'euclidean', 'cosine', 'dot'"),
    ({"metric": "dot", "kmeans_init": True}, "init: expected one without rows for metric 'dot'"),
    ({"comitment_weight": 1.0}, "did you mean 'commitment_weight'"),
    ({"decay": 0.9, "update": EMA()}, "decay: expected either it or update=…, got both"),
    ({"commitment": 1.0, "commitment_weight": 1.0}, "commitment: expected either it or commitment_weight"),
    ({"use_cosine_sim": True, "metric": "cosine"}, "use_cosine_sim"),
    ({"threshold_ema_dead_code": 2, "revive": ReplaceRare()}, "threshold_ema_dead_code"),
    ({"ema_update": True, "learnable_codebook": True}, "ema_update, learnable_codebook"),
    ({"rotation_trick": True, "directional_reparam": True}, "rotation_trick, directional_reparam"),
    ({"affine_param": True, "use_cosine_sim": True}, "affine"),
    ({"affine": LearnedAffine()}, "affine: a learned map needs"),
    ({"affine": LearnedAffine(groups=5), "update": Gradient()}, "groups: expected a divisor of the 16 codes, got 5"),
    ({"affine": RunningAffine(), "affine_param": True}, "affine_param"),
    ({"objectives": (Orthogonal(1.0),), "update": Fixed()}, "Orthogonal moves codes by gradient"),
    ({"sync_update_v": 0.5}, "sync_update_v"),
    ({"layernorm_after_project_in": True}, "layernorm_after_project_in"),
    ({"bridge": torch.nn.Linear(DIM, DIM), "update": EMA()}, "bridge"),
    ({"sample_codebook_temp": -1}, "sample_codebook_temp"),
]


@pytest.mark.parametrize(("options", "match"), BAD_OPTIONS, ids=[b[1] for b in BAD_OPTIONS])
def test_bad_options(options, match):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        VectorQuantize(**{"dim": DIM, "codebook_size": SIZE, **options})
    assert isinstance(caught.value, VqkitError)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: OnlineClustering("nearest"), "anchor: expected one of 'random', 'closest', 'probability'"),
        (lambda: OnlineClustering(decay=1.0), "decay"),
        (lambda: KMeansInit(iters=-1), "iters"),
        (lambda: KMeansInit(seeding="best"), "seeding"),
        (lambda: ReplaceRare(share=0), "share"),
        (lambda: build({"type": "VectorQuantise"}), "quantizer.type: expected one of .*VectorQuantize"),
        (lambda: build({"type": "VectorQuantize", "dim": 4}), "VectorQuantize"),
        (
            lambda: build({"type": "VectorQuantize", "dim": 4, "codebook_size": 4, "update": {"type": "Emma"}}),
            "type: expected one of",
        ),
    ],
)
def test_bad_policies(make, match):
    with pytest.raises(ArgumentError, match=match):
        make()
