"""What residual quantizers promise beyond the contract: gradients, prefixes, dropout, beams, shared tables."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqkit import GroupedResidualVQ, ResidualVQ, VectorQuantize
from vqkit.codebook import EMA, Fixed, Gradient, KMeansInit, accumulating
from vqkit.errors import ArgumentError, ArgumentTypeError, CodeIndexError
from vqkit.quantizers import (
    Grouped,
    GumbelStraightThrough,
    ImplicitVQ,
    MultiScale,
    Residual,
    Rotation,
    SplitResidualVQ,
    StageDropout,
)

DIM, SIZE = 8, 32


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def rows(n: int = 200, dim: int = DIM) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(1))


def fitted(stages: int = 4, steps: int = 30, **options) -> ResidualVQ:
    rvq = ResidualVQ(DIM, stages, SIZE, kmeans_init=True, **options)
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        rvq(torch.randn(256, DIM, generator=generator))
    return rvq


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [1, 2, 8])
@pytest.mark.parametrize("options", [{}, {"shared_codebook": True}, {"learnable_codebook": True}], ids=str)
def test_the_encoder_gets_the_gradient_exactly_once(stages: int, options: dict):
    rvq = ResidualVQ(DIM, stages, SIZE, **options)
    x, weights = rows().requires_grad_(), torch.randn(200, DIM)
    (rvq(x).quantized * weights).sum().backward()
    assert torch.equal(x.grad, weights)


@pytest.mark.parametrize("stages", [2, 4])
def test_every_stage_commits_the_encoder_to_the_sum_so_far(stages: int):
    """RQ-VAE, eq. 7: Σᵢ |x − sg(Σ_{j≤i} qⱼ)|², here means."""
    rvq = ResidualVQ(DIM, stages, SIZE)
    x = rows().requires_grad_()
    out = rvq(x, return_all_codes=True, freeze_codebook=True)
    sums = out.all_codes.cumsum(0)
    expected = (x - sums.detach()).square().mean((1, 2))
    torch.testing.assert_close(out.loss, expected)
    gradient = torch.autograd.grad(out.loss.sum(), x, retain_graph=True)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), x)[0])


def test_projections_of_each_stage_are_crossed_as_roundings_were_identities():
    rvq = ResidualVQ(DIM, 3, SIZE, codebook_dim=3, project_each_stage=True)
    x, weights = rows(20).requires_grad_(), torch.randn(20, DIM)
    (rvq(x).quantized * weights).sum().backward()
    left = torch.eye(DIM)
    for stage in rvq.members:
        through = stage.slices.project_out.weight @ stage.slices.project_in.weight
        left = (torch.eye(DIM) - through) @ left
    torch.testing.assert_close(x.grad, weights @ (torch.eye(DIM) - left), rtol=1e-4, atol=1e-5)


def test_the_task_reaches_every_projection():
    rvq = ResidualVQ(DIM, 3, SIZE, codebook_dim=3, project_each_stage=True)
    rvq(rows()).quantized.square().sum().backward()
    for stage in rvq.members:
        assert stage.slices.project_out.weight.grad.abs().sum() > 0
        assert stage.slices.project_in.weight.grad.abs().sum() > 0


def test_rotation_turns_the_gradient_as_the_sum_was_turned():
    rvq = ResidualVQ(DIM, 3, SIZE, estimator=Rotation())
    x = rows().requires_grad_()
    out = rvq(x, freeze_codebook=True)
    out.quantized.sum().backward()
    again = x.detach().clone().requires_grad_()
    Rotation()(again, out.quantized.detach()).sum().backward()
    torch.testing.assert_close(x.grad, again.grad)


def test_diveq_moves_the_codes_of_every_stage():
    rvq = ResidualVQ(DIM, 3, SIZE, diveq=True)
    rvq(rows()).quantized.square().sum().backward()
    assert all(bool(stage.book.vectors.grad.any()) for stage in rvq.members)


# --- prefixes and bandwidth ------------------------------------------------------------------------------------------


def test_any_prefix_encodes_and_decodes():
    rvq = fitted().eval()
    x = rows()
    indices, codes = rvq.encode(x), rvq.get_codes_from_indices(rvq.encode(x))
    errors = []
    for n in range(1, 5):
        out = rvq(x, n_quantizers=n)
        assert torch.equal(out.indices, indices[..., :n])
        assert torch.equal(rvq.encode(x, n_quantizers=n), indices[..., :n])
        assert torch.equal(rvq.decode(indices[..., :n]), out.quantized)
        torch.testing.assert_close(out.quantized, codes[:n].sum(0))
        padded = torch.where(torch.arange(4) < n, indices, -1)
        assert torch.equal(rvq.decode(padded), out.quantized)
        errors.append((x - out.quantized).square().mean().item())
    assert errors == sorted(errors, reverse=True)


def test_a_bandwidth_is_so_many_stages():
    rvq = ResidualVQ(DIM, 8, 1024)
    x = rows()
    assert rvq.encode(x, bandwidth=6.0, frame_rate=75).shape[-1] == 8
    assert rvq.encode(x, bandwidth=1.5, frame_rate=75).shape[-1] == 2
    assert rvq.stages_within(2.9, 75) == 3
    with pytest.raises(ArgumentError, match=r"bandwidth: expected at least the 0.75 kbit/s of one stage, got 0.7"):
        rvq.encode(x, bandwidth=0.7, frame_rate=75)
    with pytest.raises(ArgumentError, match="bandwidth"):
        rvq.encode(x, bandwidth=6.0)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda r: r(rows(), n_quantizers=5), ArgumentError, "n_quantizers: expected at most the 4 stages"),
        (lambda r: r(rows(), n_quantizers=0), ArgumentError, "n_quantizers"),
        (lambda r: r.decode(torch.zeros(3, 5).long()), ArgumentError, "indices: expected a last axis of at most 4"),
        (lambda r: r.decode(torch.full((3, 4), SIZE)), CodeIndexError, str(SIZE)),
        (lambda r: r(rows(), indices=torch.zeros(3, 4).long()), ArgumentError, "indices: expected shape"),
        (lambda r: r(rows(), beam_size=0), ArgumentError, "beam_size"),
    ],
)
def test_bad_calls_are_named(call, error, match):
    with pytest.raises(error, match=match):
        call(ResidualVQ(DIM, 4, SIZE))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ResidualVQ(DIM, codebook_size=SIZE), "num_quantizers"),
        (lambda: ResidualVQ(DIM, 3), "codebook_size"),
        (lambda: ResidualVQ(DIM, 3, (8, 8)), "codebook_size: expected 3 values"),
        (lambda: ResidualVQ(DIM, 2, (8, 16), shared_codebook=True), "shared_codebook"),
        (lambda: ResidualVQ(DIM, 2, SIZE, loss_weights=(1.0,)), "loss_weights: expected 2"),
        (lambda: ResidualVQ(DIM, 2, SIZE, quantize_dropout=True, quantize_dropout_cutoff_index=2), "cutoff_index"),
        (
            lambda: ResidualVQ(DIM, 2, SIZE, quantize_dropout_multiple_of=2),
            "quantize_dropout_multiple_of: expected",
        ),
        (lambda: ResidualVQ(DIM, 2, SIZE, estimator=GumbelStraightThrough()), "estimator"),
        (lambda: ResidualVQ(DIM, 2, SIZE, comitment_weight=1), "did you mean 'commitment_weight'"),
        (lambda: ResidualVQ(DIM, 2, SIZE, accept_image_fmap=True, channel_dim=1), "channel_dim"),
        (lambda: GroupedResidualVQ(DIM, 3, num_quantizers=2, codebook_size=4), "groups: expected a divisor"),
        (lambda: SplitResidualVQ(DIM, 3, SIZE, DIM), "codebook_dim: expected another width"),
        (lambda: SplitResidualVQ(DIM, 3, SIZE, 4, n_semantic=3), "n_semantic"),
        (lambda: Residual([]), "stages"),
        (lambda: Residual(VectorQuantize(DIM, 4)), "num_quantizers"),
        (lambda: Residual([VectorQuantize(DIM, 4), VectorQuantize(4, 4)]), r"widths \[4, 8\]"),
        (lambda: Residual([VectorQuantize(DIM, 4)] * 2), "stages: expected different quantizers"),
        (lambda: Residual([VectorQuantize(DIM, 4), VectorQuantize(DIM, 4, rotation_trick=True)]), "estimator"),
        (lambda: ImplicitVQ(DIM, 8, heads=2), "heads"),
        (lambda: ImplicitVQ(DIM, 8, update=EMA()), "Gradient"),
        (lambda: StageDropout(rate=2), "rate"),
    ],
)
def test_bad_options_are_named(make, match):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=match):
        make()


# --- dropout ---------------------------------------------------------------------------------------------------------


def test_dropout_cuts_the_whole_batch_at_stages_it_should():
    rvq = ResidualVQ(DIM, 8, 4, quantize_dropout=True, quantize_dropout_cutoff_index=2, quantize_dropout_multiple_of=2)
    seen = set()
    for _ in range(60):
        indices = rvq(rows(10)).indices
        kept = (indices >= 0).sum(-1)
        assert bool((kept == kept[0]).all())
        assert bool(((indices >= 0).int().diff(dim=-1) <= 0).all())  # a prefix
        seen.add(int(kept[0]))
    assert seen == {4, 6, 8}
    assert bool((rvq.eval()(rows(10)).indices >= 0).all())


def test_dropout_per_sample_cuts_each_item():
    rvq = ResidualVQ(DIM, 4, 4, dropout=StageDropout(0.5, per_sample=True))
    kept = torch.stack([(rvq(torch.randn(40, 3, DIM)).indices >= 0).sum(-1) for _ in range(20)])
    assert bool((kept == kept[:, :, :1]).all())  # one cut for all rows of an item
    full = (kept[:, :, 0] == 4).float().mean().item()
    assert abs(full - (0.5 + 0.5 / 4)) < 0.06
    assert {1, 2, 3} <= set(kept.flatten().tolist())


def test_a_dropped_stage_learns_nothing_and_costs_nothing():
    rvq = ResidualVQ(DIM, 4, 4, quantize_dropout=True)
    while True:
        before = [stage.codebook.clone() for stage in rvq.members]
        out = rvq(rows())
        kept = int((out.indices[0] >= 0).sum())
        if kept < 4:
            break
    assert all(torch.equal(b, s.codebook) for b, s in zip(before[kept:], rvq.members[kept:], strict=True))
    assert not torch.equal(before[0], rvq.members[0].codebook)
    assert not out.loss[kept:].any()
    assert bool((out.loss[:kept] > 0).all())


def test_micro_batches_share_the_draw():
    torch.manual_seed(0)
    whole, split = (ResidualVQ(DIM, 4, 4, dropout=StageDropout(per_sample=True)) for _ in range(2))
    split.load_state_dict(whole.state_dict())
    x = torch.randn(12, 5, DIM)
    for _ in range(5):
        together = whole(x).indices
        parts = []
        for i, part in enumerate(x.split([3, 5, 4])):
            with accumulating(split, defer=i < 2):
                parts.append(split(part).indices)
        assert torch.equal(torch.cat(parts), together)


# --- beams -----------------------------------------------------------------------------------------------------------


def brute_force(rvq: ResidualVQ, x: Tensor) -> Tensor:
    """The least error over every combination of codes."""
    tables = [stage.codebook for stage in rvq.members]
    sums = tables[0]
    for table in tables[1:]:
        sums = (sums[:, None] + table).reshape(-1, DIM)
    return torch.cdist(x.double(), sums.double()).square().amin(1)


def test_a_wide_beam_finds_the_best_sum_of_codes():
    rvq = ResidualVQ(DIM, 3, 6, update=Fixed(), revive=None, eval_beam_size=36).eval()
    x = rows(50)
    error = (x - rvq(x).quantized).double().square().sum(1)
    torch.testing.assert_close(error, brute_force(rvq, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_wider_beams_are_never_worse_in_the_mean(shared: bool):
    rvq = fitted(shared_codebook=shared).eval()
    x = rows(500)
    errors = []
    for beam in (1, 2, 4, 8):
        rvq.eval_beam_size = beam
        out = rvq(x)
        assert torch.equal(rvq.decode(out.indices), out.quantized)
        errors.append((x - out.quantized).square().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.97 * errors[0]


def test_a_training_step_learns_from_the_codes_of_the_beam():
    rvq = fitted(beam_size=4)
    x = rows(300)
    before = [stage.book.window.counts().sum() for stage in rvq.members]
    out = rvq(x)
    for number, (stage, count) in enumerate(zip(rvq.members, before, strict=True)):
        counted = stage.book.window.counts()
        assert int(counted.sum() - count) == 300
        assert bool((counted[0] >= torch.bincount(out.indices[:, number], minlength=SIZE)).all())


def test_a_frozen_beam_changes_nothing():
    rvq = fitted(beam_size=3)
    before = {k: v.clone() for k, v in rvq.state_dict().items()}
    rvq(rows(), freeze_codebook=True)
    assert all(torch.equal(v, before[k]) for k, v in rvq.state_dict().items())


def test_what_is_frozen_from_the_start_moves_no_clock():
    for frozen in (True, False):
        stages = [VectorQuantize(DIM, SIZE, freeze_codebook=frozen) for _ in range(3)]
        rvq = Residual(stages, dropout=StageDropout())
        outer, groups = Residual([rvq], dropout=StageDropout()), Grouped([rvq])
        pyramid = MultiScale(VectorQuantize(DIM, SIZE, freeze_codebook=frozen), (1, 2), dropout=StageDropout())
        outer(rows())
        pyramid(torch.randn(5, DIM, 2, 2))
        assert (outer.freeze_codebook, groups.freeze_codebook, pyramid.freeze_codebook) == (frozen, frozen, frozen)
        clocks = [clocked.dropout.clock.item() for clocked in (rvq, outer, pyramid)]
        assert clocks == ([0, 0, 0] if frozen else [1, 1, 1])
    rvq(rows(), freeze_codebook=True)
    assert rvq.dropout.clock.item() == 1
    assert not bool(Residual([stages[0], VectorQuantize(DIM, SIZE, freeze_codebook=True)]).freeze_codebook)


# --- shared tables ---------------------------------------------------------------------------------------------------


def test_a_shared_table_learns_once_from_the_rows_of_all_stages():
    decay, stages = 0.8, 4
    rvq = ResidualVQ(DIM, stages, SIZE, shared_codebook=True, revive=None, decay=decay)
    book = rvq.members[0].book
    counts, sums = book.ema_counts.clone(), book.ema_sums.clone()
    x = rows()
    out = rvq(x, return_all_codes=True)
    entering = torch.stack([x - out.all_codes[:i].sum(0) for i in range(stages)]).reshape(-1, DIM)
    drawn = out.indices.t().reshape(-1)
    expected = torch.zeros(SIZE, DIM).index_add_(0, drawn, entering)
    torch.testing.assert_close(
        book.ema_counts[0], decay * counts[0] + (1 - decay) * torch.bincount(drawn, minlength=SIZE)
    )
    torch.testing.assert_close(book.ema_sums[0], decay * sums[0] + (1 - decay) * expected, rtol=1e-4, atol=1e-5)
    assert int(book.clock) == 1


def test_a_shared_table_appears_once_in_the_state():
    rvq = ResidualVQ(DIM, 4, SIZE, shared_codebook=True)
    assert {key.split(".")[1] for key in rvq.state_dict()} == {"0"}


def test_k_means_places_each_stage_on_what_the_ones_before_left():
    rvq = ResidualVQ(DIM, 3, SIZE, init=KMeansInit(5), update=Fixed(), revive=None)
    x = rows(500)
    out = rvq(x, return_all_codes=True)
    errors = [(x - out.all_codes[: i + 1].sum(0)).square().mean().item() for i in range(3)]
    assert errors[2] < 0.75 * errors[1] < 0.75 * 0.75 * errors[0]


# --- implicit codebooks ----------------------------------------------------------------------------------------------


def test_an_implicit_codebook_begins_as_the_plain_one():
    implicit = ResidualVQ(DIM, 3, SIZE, implicit_neural_codebook=True).eval()
    plain = ResidualVQ(DIM, 3, SIZE, learnable_codebook=True).eval()
    plain.load_state_dict(implicit.state_dict(), strict=False)
    x = rows()
    assert torch.equal(implicit.encode(x), plain.encode(x))
    torch.testing.assert_close(implicit(x).quantized, plain(x).quantized)


def test_an_implicit_codebook_alone_goes_through_its_network():
    torch.manual_seed(0)
    vq = ImplicitVQ(DIM, SIZE, depth=1)
    for block in (vq.net.mix, vq.net.blocks[0][-1]):
        torch.nn.init.normal_(block.weight, std=0.3)
    x = rows()
    vq(x).loss.backward()
    assert all(bool(p.grad.any()) for p in vq.net.parameters())
    out = vq.eval()(x)
    assert torch.equal(vq.encode(x), out.indices)
    assert torch.equal(vq.decode(out.indices), out.quantized)
    assert not torch.equal(vq.codebook[out.indices], out.quantized)


def test_an_implicit_codebook_learns_what_a_plain_one_cannot():
    torch.manual_seed(0)
    x = torch.randn(1024, 4)
    errors = {}
    for implicit in (False, True):
        torch.manual_seed(1)
        rvq = ResidualVQ(
            4, 2, 8, implicit_neural_codebook=implicit, update=Gradient(), init=KMeansInit(10), revive=None
        )
        rvq(x)
        optimizer = torch.optim.Adam(rvq.parameters(), 1e-2)
        for _ in range(250):
            optimizer.zero_grad()
            rvq(x).loss.sum().backward()
            optimizer.step()
        errors[implicit] = (x - rvq.eval()(x).quantized).square().mean().item()
    assert errors[True] < 0.97 * errors[False]


def test_preselection_of_all_codes_is_no_preselection():
    kwargs = {"depth": 1, "preselect": SIZE}
    rvq = ResidualVQ(DIM, 3, SIZE, implicit_neural_codebook=True, mlp_kwargs=kwargs).eval()
    for stage in rvq.members[1:]:
        torch.nn.init.normal_(stage.net.mix.weight, std=0.3)
    x = rows()
    every = rvq.encode(x)
    for stage in rvq.members[1:]:
        stage.preselect = None
    assert torch.equal(rvq.encode(x), every)
    for stage in rvq.members[1:]:
        stage.preselect = 4
    few = rvq(x).quantized
    assert (x - few).square().mean() < (x - rvq(x, n_quantizers=1).quantized).square().mean()


# --- loss ------------------------------------------------------------------------------------------------------------


def test_targets_are_scored_stage_by_stage():
    rvq = fitted().eval()
    x = rows()
    own = rvq.encode(x)
    right, wrong = rvq(x, indices=own).loss, rvq(x, indices=(own + 1) % SIZE).loss
    assert right.shape == (4,)
    assert bool((right < wrong).all())


def test_stage_losses_are_weighted():
    torch.manual_seed(0)
    plain = ResidualVQ(DIM, 3, SIZE).eval()
    weighted = ResidualVQ(DIM, 3, SIZE, loss_weights=(1.0, 0.5, 0.0)).eval()
    weighted.load_state_dict(plain.state_dict())
    x = rows()
    torch.testing.assert_close(weighted(x).loss, plain(x).loss * torch.tensor([1.0, 0.5, 0.0]))


def test_split_decodes_the_semantic_stages_alone():
    rvq = SplitResidualVQ(DIM, 4, SIZE, 3, n_semantic=2).eval()
    x = rows()
    indices = rvq.encode(x)
    assert torch.equal(rvq.semantic(indices), rvq.decode(indices[..., :2]))
    assert torch.equal(rvq.encode(x, n_quantizers=3), indices[..., :3])
    assert math.isfinite((x - rvq.decode(indices)).square().mean().item())
    with pytest.raises(ArgumentError, match="indices: expected a last axis of at most 4"):
        rvq.decode(torch.zeros(2, 5).long())


# --- fitting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"eval_beam_size": 3}, {"shared_codebook": True}], ids=str)
def test_fit_places_every_stage_from_many_batches(options: dict):
    rvq = ResidualVQ(DIM, 3, 16, **options)
    loader = [torch.randn(100, DIM, generator=torch.Generator().manual_seed(i)) for i in range(5)]
    x = torch.cat(loader)
    before = (x - rvq.eval()(x).quantized).square().mean()
    assert rvq.fit(loader) is rvq
    after = (x - rvq(x).quantized).square().mean()
    assert after < 0.75 * before
    assert all(stage.book.placed for stage in rvq.members)


def test_fit_from_too_few_rows_leaves_everything_as_it_was():
    rvq = ResidualVQ(DIM, codebook_size=(8, 64))
    before = {k: v.clone() for k, v in rvq.state_dict().items()}
    with pytest.raises(ArgumentError, match="at least 64 rows"):
        rvq.fit([torch.randn(50, DIM)])
    assert all(torch.equal(v, before[k]) for k, v in rvq.state_dict().items())


def test_fit_serves_groups_and_models():
    model = torch.nn.Sequential(torch.nn.Linear(5, DIM), GroupedResidualVQ(DIM, 2, num_quantizers=2, codebook_size=8))
    from vqkit import codebook_warmup

    codebook_warmup(model, [torch.randn(200, 5)])
    x = model[0](torch.randn(200, 5))
    assert (x - model[1].eval()(x).quantized).square().mean() < 0.6 * x.square().mean()


def test_stages_of_plain_tables_are_searched_as_one_chain(monkeypatch: pytest.MonkeyPatch):
    from vqkit.quantizers import stage_codes

    torch.manual_seed(0)
    residual = ResidualVQ(dim=12, codebook_size=40, num_quantizers=4)
    for _ in range(3):
        residual(torch.randn(300, 12))
    x = torch.randn(500, 12)
    x[7, 3] = torch.nan
    found, calls = residual.encode(x), []
    monkeypatch.setattr(stage_codes.ops, "residual_chain", lambda *a: calls.append(a))
    for stage in residual.members:
        monkeypatch.setattr(stage, "table", lambda: None)
    assert torch.equal(residual.encode(x), found)
    assert not calls
    assert bool((found[7] == -1).all())
    assert torch.equal(residual.eval()(x).indices, found)


def test_stages_that_are_more_than_a_table_say_so():
    assert VectorQuantize(8, 16).table().shape == (16, 8)
    for other in (
        VectorQuantize(8, 16, heads=2),
        VectorQuantize(8, 16, codebook_dim=4),
        VectorQuantize(8, 16, metric="dot"),
    ):
        assert other.table() is None
