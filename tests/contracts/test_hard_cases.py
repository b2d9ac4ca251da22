"""Cases that once broke a promise of the contract."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from vqkit import VectorQuantize
from vqkit.codebook import EMA, Gradient, InPlace, KMeansInit, LearnedAffine, ReplaceStale, RunningAffine
from vqkit.errors import ArgumentError, ArgumentTypeError
from vqkit.quantizers import GumbelStraightThrough


@pytest.mark.parametrize("affine", [LearnedAffine(), RunningAffine()], ids=["learned", "running"])
def test_the_in_place_gradient_is_taken_at_the_codes(affine):
    torch.manual_seed(0)
    vq = VectorQuantize(4, 4, update=InPlace(partial(torch.optim.SGD, lr=1.0), manual=True), affine=affine, revive=None)
    for _ in range(3):
        vq(torch.randn(64, 4) + 3)
    x = torch.randn(64, 4) + 3
    leaf = vq.book.vectors.detach().clone().requires_grad_()
    codes = vq.book.transform(leaf)
    indices = vq(x).indices
    expected = torch.autograd.grad((codes[0][indices] - x).square().mean(), leaf)[0]
    torch.testing.assert_close(vq.book.in_place_gradients[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stochastic_sample_codes": True},
        {"estimator": GumbelStraightThrough()},
        {"affine_param": True},
        {"kmeans_init": True},
        {"use_cosine_sim": True},
    ],
    ids=str,
)
def test_rows_that_overflow_in_the_projection_do_not_count(options: dict):
    torch.manual_seed(0)
    vq = VectorQuantize(8, 4, codebook_dim=4, **options).half().train()
    with torch.no_grad():
        vq.slices.project_in.weight.fill_(2)
    x = torch.randn(1, 20, 8).half()
    x[0, 3] = 60000
    with pytest.warns(RuntimeWarning, match="1 rows"):
        out = vq(x)
    assert int(out.indices[0, 3]) == -1
    assert torch.isfinite(out.loss)
    assert all(torch.isfinite(v).all() for v in vq.state_dict().values())
    assert int(vq.skipped_rows) == 1


def test_rows_at_the_end_of_float32_leave_the_codes_finite():
    vq = VectorQuantize(4, 2, revive=None)
    vq(torch.full((3, 4), 3e38))
    assert torch.isfinite(vq.codebook).all()
    assert torch.isfinite(vq.book.ema_sums).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_the_default_dtype_does_not_reach_the_state(dtype: torch.dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        vq = VectorQuantize(8, 16, affine_param=True)
        vq(torch.randn(2, 9, 8))
    finally:
        torch.set_default_dtype(before)
    assert all(v.dtype == torch.float32 for v in vq.book.state_dict().values() if v.is_floating_point())


def test_an_assigned_half_precision_state_becomes_float32():
    first, second = VectorQuantize(8, 16), VectorQuantize(8, 16, learnable_codebook=True)
    for vq in (first, second):
        half = {k: v.half() if v.is_floating_point() else v for k, v in vq.state_dict().items()}
        vq.load_state_dict(half, assign=True)
        assert all(v.dtype == torch.float32 for v in vq.book.state_dict().values() if v.is_floating_point())
        vq(torch.randn(2, 9, 8))


def test_an_in_place_optimizer_follows_an_assigned_state():
    vq = VectorQuantize(4, 8, in_place_codebook_optimizer=partial(torch.optim.SGD, lr=1.0, momentum=0.9))
    vq(torch.randn(20, 4))
    vq.load_state_dict(vq.state_dict(), assign=True)
    before = vq.codebook
    vq(torch.randn(20, 4))
    assert not torch.equal(vq.codebook, before)


def test_cosine_has_no_gradient_at_zero_and_no_largest_number():
    vq = VectorQuantize(4, 8, use_cosine_sim=True)
    x = torch.randn(6, 4)
    x[2] = 0
    x.requires_grad_()
    vq(x).quantized.sum().backward()
    assert not x.grad[2].any()
    assert x.grad.abs().max() < 1e3
    rows = torch.randn(50, 4)
    for scale in (1e20, 1e-30):
        assert torch.equal(vq.encode(rows * scale), vq.encode(rows))


def test_revived_codes_of_a_grouped_map_lie_on_rows():
    torch.manual_seed(0)
    vq = VectorQuantize(4, 8, affine=LearnedAffine(groups=2), update=Gradient(), revive=ReplaceStale(1.0))
    with torch.no_grad():
        vq.book.affine.shift[:, 0] += 10
        vq.book.affine.shift[:, 1] -= 10
    x = torch.randn(40, 4)
    vq(x)
    gaps = (vq.codebook[:, None] - x).norm(dim=-1).amin(1)
    assert int((gaps < 1e-4).sum()) >= 6


def test_frozen_codes_stay_under_momentum_decay_and_a_moving_map():
    vq = VectorQuantize(4, 8, update=Gradient(), revive=None)
    optimizer = torch.optim.AdamW(vq.parameters(), lr=0.1, weight_decay=0.1)

    def step() -> None:
        optimizer.zero_grad()
        vq(torch.randn(30, 4)).loss.backward()
        optimizer.step()

    for _ in range(3):
        step()
    marked = torch.arange(8) < 4
    vq.book.freeze_(marked)
    before = vq.codebook.detach()
    for _ in range(3):
        step()
    assert torch.equal(vq.codebook[marked], before[marked])
    assert not torch.equal(vq.codebook[~marked], before[~marked])
    mapped = VectorQuantize(4, 8, affine_param=True)
    mapped(torch.randn(30, 4))
    mapped.book.freeze_()
    before = mapped.codebook
    mapped(torch.randn(30, 4) + 5)
    assert torch.equal(mapped.codebook, before)


@pytest.mark.parametrize("weight", [torch.nan, torch.inf, -5.0])
def test_a_weight_that_is_no_weight_teaches_nothing(weight: float):
    vq = VectorQuantize(4, 8, revive=None)
    before = vq.codebook
    vq(torch.randn(20, 4), ema_update_weight=weight)
    assert torch.equal(vq.codebook, before) or weight == -5.0
    assert torch.isfinite(vq.codebook).all()


@pytest.mark.parametrize(
    ("weight", "error"), [("1", ArgumentTypeError), ([1.0], ArgumentTypeError), (torch.ones(3), ArgumentError)]
)
def test_a_weight_of_the_wrong_kind_is_named(weight, error):
    with pytest.raises(error, match="ema_update_weight"):
        VectorQuantize(4, 8)(torch.randn(20, 4), ema_update_weight=weight)


def test_a_state_copied_in_by_hand_is_not_initialised_again():
    first, second = VectorQuantize(4, 8, init=KMeansInit()), VectorQuantize(4, 8, init=KMeansInit(), revive=None)
    first(torch.randn(50, 4))
    for name, tensor in first.state_dict().items():
        if name in second.state_dict():
            second.state_dict()[name].copy_(tensor)
    before = second.codebook
    second(torch.randn(50, 4) + 100)
    assert (second.codebook - before).abs().median() < 1


def test_the_callers_optimizer_leaves_a_waiting_in_place_step_alone():
    vq = VectorQuantize(4, 8, update=InPlace(partial(torch.optim.SGD, lr=1.0), manual=True), revive=None)
    before = vq.codebook
    vq(torch.randn(20, 4))
    assert all(p.grad is None for p in vq.parameters())
    assert torch.equal(vq.codebook, before)
    vq.update_in_place_optimizer()
    assert not torch.equal(vq.codebook, before)


def test_backward_of_an_eval_forward_after_a_training_step():
    vq = VectorQuantize(4, 8, commitment_use_cross_entropy_loss=True)
    x = torch.randn(20, 4, requires_grad=True)
    loss = vq.eval()(x).loss
    vq.train()(torch.randn(20, 4))
    loss.backward()
    assert torch.isfinite(x.grad).all()


def test_the_codebook_property_is_a_copy():
    vq = VectorQuantize(4, 8).eval()
    codes = vq.codebook
    codes.mul_(0)
    assert bool(vq.codebook.any())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"update": "ema"}, "update: expected a policy"),
        ({"update": EMA}, "update: expected a policy"),
        ({"init": KMeansInit}, "init: expected a policy"),
        ({"revive": False}, "revive: expected a policy"),
        ({"affine": True}, "affine: expected a policy"),
        ({"estimator": "rotation"}, "estimator: expected an estimator"),
        ({"objectives": 1}, "objectives: expected a sequence"),
        ({"vq_bridge": 1}, "bridge: expected an nn.Module"),
        ({"channel_dim": "last"}, "channel_dim: expected an int"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_policies_of_the_wrong_type_are_named(options: dict, match: str):
    with pytest.raises(ArgumentTypeError, match=match):
        VectorQuantize(4, 8, **options)


def test_topk_and_targets_exclude_each_other():
    with pytest.raises(ArgumentError, match="indices: expected None with topk"):
        VectorQuantize(4, 8)(torch.randn(5, 4), torch.zeros(5).long(), topk=2)
