"""What multi-scale quantizers promise beyond the contract: gradients, losses, prefixes, what a transformer reads."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit import HierarchicalVQ, MultiScale, MultiScaleVQ, ResidualVQ, VectorQuantize, codebook_warmup
from vqkit.codebook import Gradient, KMeansInit, ReplaceStale, accumulating
from vqkit.errors import ArgumentError, CodeIndexError, VqkitError
from vqkit.quantizers import ImplicitVQ, NoGradient, Rotation, StageDropout, build

DIM, SIZE, SCALES, L = 6, 32, (1, 2, 3, 4), 30


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def maps(batch: int = 8, size: tuple[int, ...] = (4, 4), seed: int = 1) -> Tensor:
    return torch.randn(batch, DIM, *size, generator=torch.Generator().manual_seed(seed))


def fitted(steps: int = 10, **options: Any) -> MultiScaleVQ:
    vq = MultiScaleVQ(DIM, SIZE, SCALES, **{"init": KMeansInit()} | options)
    for step in range(steps):
        vq(maps(16, seed=100 + step))
    return vq


def by_hand(vq: MultiScale, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """VAR, algorithm 1, in its own words: f̂ after each scale and the indices (B, s, s) of each."""
    codes, rest, f_hat, sums, drawn = vq.quantizers[0].codebook, x, torch.zeros_like(x), [], []
    for s in SCALES:
        z = F.interpolate(rest, size=(s, s), mode="area") if s < 4 else rest
        drawn.append(torch.cdist(z.permute(0, 2, 3, 1).reshape(-1, DIM), codes).argmin(1).reshape(len(x), s, s))
        h = F.embedding(drawn[-1], codes).permute(0, 3, 1, 2)
        h = F.interpolate(h, size=(4, 4), mode="bicubic") if s < 4 else h
        h = 0.5 * h + 0.5 * vq.phis.maps[0].conv(h)
        f_hat, rest = f_hat + h, rest - h
        sums.append(f_hat)
    return sums, drawn


# --- the algorithm ---------------------------------------------------------------------------------------------------


def test_it_is_the_algorithm_of_the_paper():
    vq, x = fitted().eval(), maps()
    out = vq(x)
    sums, drawn = by_hand(vq, x)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(vq.split(out.indices), drawn, strict=True))
    torch.testing.assert_close(out.quantized, sums[-1])
    beta = 0.25
    loss = sum(beta * F.mse_loss(s.detach(), x) + F.mse_loss(s, x.detach()) for s in sums) / len(SCALES)
    torch.testing.assert_close(out.loss, loss)


def test_the_loss_moves_codes_phi_and_encoder_as_the_papers():
    vq, x = fitted(update=Gradient(0.0), revive=None), maps().requires_grad_()
    parameters = [x, vq.quantizers[0].book.vectors, *vq.phis.parameters()]
    ours = torch.autograd.grad(vq(x).loss, parameters)
    sums, _ = by_hand(vq, x)
    loss = sum(0.25 * F.mse_loss(s.detach(), x) + F.mse_loss(s, x.detach()) for s in sums) / len(SCALES)
    # What the paper's code leaves out of the graph, the residual, is out of it by hand too: indices have no gradient.
    theirs = torch.autograd.grad(loss, parameters)
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want)


def test_more_scales_reconstruct_better_and_training_helps():
    data = F.interpolate(torch.randn(64, DIM, 3, 3, generator=torch.Generator().manual_seed(3)), size=(4, 4))
    vq = MultiScaleVQ(DIM, 64, SCALES, init=KMeansInit())
    optimizer = torch.optim.Adam(vq.parameters(), lr=1e-2)

    def errors() -> list[float]:
        indices = vq.encode(data)
        ends = [1, 5, 14, 30]
        return [F.mse_loss(vq.decode(indices[:, :end]), data).item() for end in ends]

    vq(data)
    before = errors()
    for _ in range(60):
        optimizer.zero_grad()
        vq(data).loss.backward()
        optimizer.step()
    after = errors()
    assert after == sorted(after, reverse=True)
    assert after[-1] < 0.7 * before[-1]
    assert bool((vq.usage()[2:] > 0.8).all())


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"codebook_dim": 3}, {"learnable_codebook": True}, {"use_cosine_sim": True}, {"quant_resi": 0.0}],
    ids=str,
)
def test_the_encoder_gets_the_gradient_exactly_once(options: dict):
    vq = MultiScaleVQ(DIM, SIZE, SCALES, **options)
    x, weights = maps().requires_grad_(), torch.randn(8, DIM, 4, 4)
    (vq(x).quantized * weights).sum().backward()
    assert torch.equal(x.grad, weights)


# what -> who the output's gradient reaches, and who the loss's: encoder, φ, codes, projection in, projection out
REACHED = [
    ({}, "x", "x phi"),
    ({"learnable_codebook": True}, "x", "x phi codes"),
    ({"update": Gradient(0.0)}, "x", "x phi codes"),
    ({"codebook_dim": 3}, "x", "x phi in out"),
    ({"codebook_dim": 3, "learnable_codebook": True}, "x", "x phi codes in out"),
    ({"commitment_weight": 0.0}, "x", "phi"),
    ({"fit_weight": 0.0}, "x", "x"),
    ({"fit_weight": 0.0, "learnable_codebook": True}, "x", "x codes"),
    ({"estimator": Rotation()}, "x", "x phi"),
    ({"estimator": NoGradient(), "update": Gradient(0.0)}, "phi codes", "x phi codes"),
]


@pytest.mark.parametrize(("options", "task", "loss"), REACHED, ids=lambda v: str(v))
def test_who_gets_gradient(options: dict, task: str, loss: str):
    vq = MultiScaleVQ(DIM, SIZE, SCALES, revive=None, **options)
    table = vq.quantizers[0]
    for source, expected in (("quantized", task), ("loss", loss)):
        x = maps().requires_grad_()
        vq.zero_grad()
        getattr(vq(x), source).square().sum().backward()
        who = {
            "x": [x],
            "phi": list(vq.phis.parameters()),
            "codes": list(table.book.parameters()),
            "in": list(table.slices.project_in.parameters()),
            "out": list(table.slices.project_out.parameters()),
        }
        reached = {name for name, ps in who.items() if any(p.grad is not None and bool(p.grad.any()) for p in ps)}
        assert reached == set(expected.split()), source


def test_rotation_turns_each_vector_of_the_map():
    vq, x = MultiScaleVQ(DIM, SIZE, SCALES, estimator=Rotation()), maps().requires_grad_()
    out = vq(x, freeze_codebook=True)
    weights = torch.randn_like(x)
    (out.quantized * weights).sum().backward()
    # A rotation and a scaling keep angles: |g_x| = |g| · |q| / |x|, vector by vector.
    norm = weights.norm(dim=1) * out.quantized.detach().norm(dim=1) / x.detach().norm(dim=1)
    torch.testing.assert_close(x.grad.norm(dim=1), norm)
    assert torch.equal(out.quantized, vq.decode(out.indices))


# --- indices ---------------------------------------------------------------------------------------------------------


def test_a_prefix_decodes_to_the_running_sum():
    vq, x = fitted().eval(), maps()
    indices = vq.encode(x)
    sums, _ = by_hand(vq, x)
    for end, f_hat in zip((1, 5, 14, 30), sums, strict=True):
        torch.testing.assert_close(vq.decode(indices[:, :end]), f_hat)
        rest_missing = torch.where(torch.arange(L) < end, indices, -1)
        assert torch.equal(vq.decode(rest_missing), vq.decode(indices[:, :end]))
    for wrong in (2, 29, 31):
        with pytest.raises(ArgumentError, match=r"indices: expected as many tokens as some first scales have.*got"):
            vq.decode(torch.zeros(8, wrong, dtype=torch.int64))


def test_a_token_of_minus_one_adds_zero_to_its_scale():
    vq = MultiScaleVQ(DIM, SIZE, (2, 4), quant_resi=0.0, interpolation="linear").eval()
    indices = vq.encode(maps(2))
    indices[0, 4:] = -1
    indices[0, 4 + 5] = 3
    coarse = vq.decode(indices[:, :4])
    added = (vq.decode(indices) - coarse)[0]
    torch.testing.assert_close(added[:, 1, 1], vq.quantizers[0].codebook[3])
    added[:, 1, 1] = 0
    assert not added.any()


@pytest.mark.parametrize("options", [{}, {"heads": 2, "codebook_dim": 3}], ids=str)
def test_join_undoes_split(options: dict):
    vq = MultiScaleVQ(DIM, SIZE, ((1, 1), (2, 3), (4, 4)), **options)
    indices = vq.encode(maps())
    parts = vq.split(indices)
    tail = indices.shape[2:]
    assert [p.shape for p in parts] == [(8, 1, 1, *tail), (8, 2, 3, *tail), (8, 4, 4, *tail)]
    assert torch.equal(vq.join(parts), indices)
    assert torch.equal(vq.join(parts[:2]), indices[:, :7])
    assert len(vq.split(indices[:, :7])) == 2
    with pytest.raises(ArgumentError, match="maps: expected shape"):
        vq.join(parts[1:])
    with pytest.raises(ArgumentError, match="maps: expected one to 3"):
        vq.join([])


def test_one_size_for_forward_and_decode():
    vq = MultiScaleVQ(DIM, SIZE, (1, 2), size=4).eval()
    out = vq(maps())
    assert out.quantized.shape == vq.decode(out.indices).shape == (8, DIM, 4, 4)
    for wrong in (maps(size=(2, 2)), maps(size=(4,)), maps().movedim(1, -1)):
        with pytest.raises(ArgumentError, match=r"x: expected a batch of maps of size \(4, 4\) with 6 channels along"):
            vq(wrong)


# --- what a next-scale transformer reads -----------------------------------------------------------------------------


def test_teacher_forcing_is_the_sum_so_far_at_each_size():
    vq, x = fitted().eval(), maps()
    indices = vq.encode(x)
    tokens = vq.teacher_forcing(indices)
    assert tokens.shape == (8, L - 1, DIM)
    sums, _ = by_hand(vq, x)
    expected = [F.adaptive_avg_pool2d(f_hat, s).flatten(2).mT for f_hat, s in zip(sums, SCALES[1:], strict=False)]
    torch.testing.assert_close(tokens, torch.cat(expected, 1))
    assert torch.equal(vq.teacher_forcing(indices[:, :14]), tokens)


@pytest.mark.parametrize(
    "options",
    [{}, {"heads": 2, "codebook_dim": 3}, {"channel_dim": -1}, {"share_quant_resi": 0, "codebook_dim": 3}],
    ids=str,
)
@pytest.mark.parametrize("as_maps", [False, True])
def test_one_scale_at_a_time_reads_the_same(options: dict, as_maps: bool):
    vq = fitted(**options).eval() if "channel_dim" not in options else MultiScaleVQ(DIM, SIZE, SCALES, **options).eval()
    x = maps() if "channel_dim" not in options else maps().movedim(1, -1)
    indices = vq.encode(x)
    f_hat, read = None, []
    for scale, part in enumerate(vq.split(indices)):
        f_hat, tokens = vq.next_scale_input(f_hat, scale, part if as_maps else part.flatten(1, 2))
        read.append(tokens)
    assert read.pop() is None
    assert torch.equal(torch.cat(read, 1), vq.teacher_forcing(indices))
    assert torch.equal(f_hat, vq.decode(indices))


def test_next_scale_input_names_what_does_not_fit():
    vq = fitted()
    zero = torch.zeros(2, 1, dtype=torch.int64)
    f_hat, _ = vq.next_scale_input(None, 0, zero)
    with pytest.raises(ArgumentError, match="f_hat"):
        vq.next_scale_input(None, 1, torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ArgumentError, match="f_hat"):
        vq.next_scale_input(f_hat, 0, zero)
    with pytest.raises(ArgumentError, match=r"scale: expected a number in \[0, 4\)"):
        vq.next_scale_input(f_hat, 4, zero)
    with pytest.raises(ArgumentError, match="indices: expected shape"):
        vq.next_scale_input(f_hat, 1, zero)
    with pytest.raises(CodeIndexError, match="32"):
        vq.next_scale_input(None, 0, zero + 32)


# --- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"use_cosine_sim": True}, {"threshold_ema_dead_code": 0.5}], ids=str)
def test_a_shared_table_learns_once_from_the_rows_of_all_scales(options: dict):
    vq, x = MultiScaleVQ(DIM, SIZE, SCALES, **options), maps()
    alone, seen = copy.deepcopy(vq.quantizers[0]), []
    learn_ = vq.quantizers[0].book.learn_

    def listening(rows: Tensor, indices: Tensor, **call: Any) -> None:
        seen.append(rows)
        learn_(rows, indices, **call)

    vq.quantizers[0].book.learn_ = listening
    vq(x)
    assert [rows.shape[1] for rows in seen] == [8 * s * s for s in SCALES]
    alone(torch.cat(seen, 1)[0])
    assert int(alone.book.clock) == int(vq.quantizers[0].book.clock) == 1
    for name, value in alone.book.state_dict().items():
        torch.testing.assert_close(vq.quantizers[0].book.state_dict()[name], value, msg=name)


@pytest.mark.parametrize(
    "options", [{}, {"learnable_codebook": True}, {"dropout": StageDropout(per_sample=True)}], ids=str
)
def test_micro_batches_equal_one_batch(options: dict):
    whole, x = MultiScaleVQ(DIM, SIZE, SCALES, **options), maps(12)
    split = copy.deepcopy(whole)
    expected = whole(x).indices
    parts = x.split([5, 4, 3])
    found = []
    for i, part in enumerate(parts):
        with accumulating(split, defer=i < len(parts) - 1):
            found.append(split(part).indices)
    assert torch.equal(torch.cat(found), expected)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(split.state_dict()[name], value, msg=name)
    torch.testing.assert_close(split.usage(), whole.usage())


@pytest.mark.parametrize(
    "make",
    [
        lambda: MultiScaleVQ(DIM, 64, SCALES, init=KMeansInit(), revive=None),
        lambda: MultiScaleVQ(DIM, (16, 32, 64, 64), SCALES, init=KMeansInit(), revive=None),
        lambda: MultiScale(ResidualVQ(DIM, 2, 64, kmeans_init=True, revive=None), SCALES),
        lambda: HierarchicalVQ(
            dim=DIM, codebook_size=64, scales=SCALES, accept_image_fmap=True, threshold_ema_dead_code=0
        ),
    ],
    ids=["shared", "each", "residual", "peer"],
)
def test_kmeans_begins_from_the_rows_of_all_scales(make):
    vq = make()
    vq.eval()(maps())
    books = [book for book in vq.modules() if hasattr(book, "initialised")]
    assert not any(bool(book.initialised) for book in books)
    vq.train()(maps())  # 8 rows at the first scale, fewer than codes
    for book in books:
        assert bool(book.initialised)
        assert bool((book.codes().norm(dim=-1) > 1e-3).all())
        assert len(book.codes()[0].unique(dim=0)) == book.size


def test_kmeans_with_too_few_rows_in_all_changes_nothing():
    vq = MultiScaleVQ(DIM, 64, SCALES, init=KMeansInit(), dropout=StageDropout())
    before = {k: v.clone() for k, v in vq.state_dict().items()}
    with pytest.raises(ArgumentError, match="k-means needs at least 64 rows to place 64 codes, got 60"):
        vq(maps(2))
    assert all(torch.equal(value, before[name]) for name, value in vq.state_dict().items())


def test_codes_from_many_batches():
    vq = MultiScaleVQ(DIM, SIZE, SCALES)
    before = F.mse_loss(vq.decode(vq.encode(maps(32))), maps(32))
    codebook_warmup(vq, [maps(seed=s) for s in range(5)])
    assert F.mse_loss(vq.decode(vq.encode(maps(32))), maps(32)) < before


def test_usage_is_each_scales_own():
    vq = MultiScaleVQ(DIM, SIZE, SCALES, usage_window=64)
    drawn = [vq.split(vq(maps(seed=s)).indices) for s in range(3)]
    for s, parts in enumerate(zip(*drawn, strict=True)):
        last = torch.cat([part.flatten() for part in parts])[-64:]
        assert vq.usage()[s].item() == len(last.unique()) / SIZE
    assert vq.perplexity().shape == vq.usage().shape == (4,)
    before = vq.usage()
    vq(maps(seed=9), freeze_codebook=True)
    vq.eval()(maps(seed=10))
    assert torch.equal(vq.usage(), before)
    each = MultiScaleVQ(DIM, (4, 8, 8, 8), SCALES)
    each(maps())
    assert bool((each.usage() > 0).all())
    assert MultiScaleVQ(DIM, SIZE, SCALES, heads=2, codebook_dim=3).usage().shape == (4, 2)


# --- what does not count ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"learnable_codebook": True}, {"init": KMeansInit()}], ids=str)
@pytest.mark.parametrize("by", ["nan", "mask"])
def test_a_map_that_does_not_count_is_as_if_it_were_not_there(options: dict, by: str):
    clean, x = MultiScaleVQ(DIM, SIZE, SCALES, **options), maps()
    dirty = copy.deepcopy(clean)
    spoiled = torch.cat([x[:3], x[:1] * 50, x[3:]])
    if by == "nan":
        spoiled[3, 2, 1, 1] = torch.nan
        with pytest.warns(RuntimeWarning, match="1 rows of MultiScaleVQ's input hold NaN"):
            out = dirty(spoiled.requires_grad_())
        assert int(dirty.skipped_rows) == 1
    else:
        out = dirty(spoiled.requires_grad_(), mask=torch.arange(9) != 3)
    expected = clean(x)
    kept = [0, 1, 2, 4, 5, 6, 7, 8]
    assert torch.equal(out.indices[kept], expected.indices)
    assert bool((out.indices[3] == -1).all())
    assert not out.quantized[3].any()
    torch.testing.assert_close(out.quantized[kept], expected.quantized)
    torch.testing.assert_close(out.loss, expected.loss)
    (out.quantized.sum() + out.loss).backward()
    assert not spoiled.grad[3].any()
    for name, value in clean.state_dict().items():
        torch.testing.assert_close(dirty.state_dict()[name], value, msg=name)


def test_masks_are_of_whole_maps():
    vq = MultiScaleVQ(DIM, SIZE, SCALES)
    with pytest.raises(ArgumentError, match=r"mask: expected shape \(8,\)"):
        vq(maps(), mask=torch.ones(8, 4, 4, dtype=torch.bool))
    with pytest.raises(ArgumentError, match="lens: expected"):
        vq(maps(), lens=torch.ones(8, dtype=torch.int64))


# --- dropout ---------------------------------------------------------------------------------------------------------


def test_dropout_keeps_some_first_scales_of_each_map():
    vq = MultiScaleVQ(DIM, SIZE, SCALES, dropout=StageDropout(cutoff=1, per_sample=True), codebook_dim=3)
    counts = set()
    for seed in range(10):
        out = copy.deepcopy(vq)(maps(seed=seed), freeze_codebook=True)
        assert torch.equal(vq.decode(out.indices), out.quantized)
        assert torch.isfinite(out.loss)
        assert torch.equal(vq(maps(seed=seed)).indices, out.indices)
        kept = torch.stack([(part >= 0).flatten(1).all(1) for part in vq.split(out.indices)], 1)
        dropped = torch.stack([(part < 0).flatten(1).all(1) for part in vq.split(out.indices)], 1)
        assert torch.equal(kept, ~dropped)
        assert torch.equal(kept, kept.sort(1, descending=True).values)
        counts |= set(kept.sum(1).tolist())
    assert counts == {2, 3, 4}
    assert int((vq.eval().encode(maps()) < 0).sum()) == 0


def test_the_loss_of_a_cut_step_is_the_mean_over_the_scales_it_kept():
    vq, x = MultiScaleVQ(DIM, SIZE, SCALES, dropout=StageDropout()), maps()
    cut = 0
    for _ in range(6):
        whole = copy.deepcopy(vq)
        whole.dropout = None
        out = vq(x)
        some = (out.indices >= 0).all(0)
        sums = [whole.eval().decode(torch.where(some, out.indices, -1)[:, :end]) for end in (1, 5, 14, 30)]
        kept = len(vq.split(out.indices[:, some]))
        expected = sum(1.25 * F.mse_loss(f_hat, x) for f_hat in sums[:kept]) / kept
        torch.testing.assert_close(out.loss, expected)
        cut += kept < 4
    assert cut > 0


# --- keeping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: MultiScale(VectorQuantize(DIM, SIZE, revive=ReplaceStale(0.5)), SCALES, estimator=Rotation()),
        lambda: MultiScale([VectorQuantize(DIM, 8), VectorQuantize(DIM, 16)], ((1, 2), (4, 4)), interpolation="linear"),
        lambda: MultiScale(ResidualVQ(DIM, 2, 8), SCALES, dropout=StageDropout(0.5)),
        lambda: MultiScaleVQ(DIM, (4, 8, 8, 8), SCALES, decay=0.9, commitment_weight=0.5, size=(4, 4)),
        lambda: HierarchicalVQ(dim=DIM, codebook_size=8, scales=SCALES, accept_image_fmap=True, nested_dropout=0.5),
    ],
)
def test_a_config_builds_the_same_quantizer(make):
    first = make()
    second = build(first.config)
    assert type(second) is type(first)
    assert second.config == first.config
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.eval()(maps()).quantized, first.eval()(maps()).quantized)
    assert first.beta == second.beta


@pytest.mark.parametrize("training", [False, True])
def test_one_graph(training: bool):
    vq = fitted(dropout=StageDropout() if training else None).train(training)
    compiled = torch.compile(copy.deepcopy(vq), backend="eager", fullgraph=True)
    for seed in range(2):
        ours, theirs = vq(maps(seed=seed)), compiled(maps(seed=seed))
        assert torch.equal(ours.indices, theirs.indices)
        assert torch.equal(ours.quantized, theirs.quantized)


def table(dim: int = DIM, **options: Any) -> VectorQuantize:
    return VectorQuantize(dim, SIZE, **options)


BAD = [
    (lambda: MultiScale("vq", SCALES), "quantizer: expected a vqkit quantizer"),
    (lambda: MultiScale([table()] * 2, (1, 2)), "quantizer: expected one, or a different one for each of 2 scales"),
    (lambda: MultiScale([table()], (1, 2)), "quantizer: expected one, or a different one"),
    (lambda: MultiScale([table(), table(5)], (1, 2)), "quantizer: expected one width"),
    (lambda: MultiScale(MultiScale(table(), (1, 2)), (1, 2)), "quantizer: expected one that quantizes each row"),
    (lambda: MultiScale(ImplicitVQ(DIM, SIZE), (1, 2)), "quantizer: expected one that quantizes each row"),
    (lambda: MultiScale(table(), 4), "scales: expected a sequence of sizes"),
    (lambda: MultiScale(table(), ()), "scales: expected at least one"),
    (lambda: MultiScale(table(), (1, 0)), "scales: expected an int >= 1"),
    (lambda: MultiScale(table(), (2, 1)), r"scales: expected sizes that grow.*\(2, 2\) before \(1, 1\)"),
    (lambda: MultiScale(table(), (1, 4), size=3), r"scales: expected sizes that grow to at most \(3, 3\)"),
    (lambda: MultiScale(table(), ((1, 2), (2, 2, 2))), "spatial_axes: expected 1, 2 or 3"),
    (lambda: MultiScale(table(), (1, 2), spatial_axes=4), "spatial_axes: expected 1, 2 or 3"),
    (lambda: MultiScale(table(), (1, 2), quant_resi=1.5), r"quant_resi: expected a number in \[0, 1\]"),
    (lambda: MultiScale(table(), (1, 2), share_quant_resi=-1), "share_quant_resi: expected an int >= 0"),
    (lambda: MultiScale(table(), (1, 2), interpolation="area"), "interpolation: expected one of 'cubic', 'linear'"),
    (lambda: MultiScale(table(), (1, 2), commitment_weight=-1), "commitment_weight"),
    (lambda: MultiScale(table(), (1, 2), fit_weight="1"), "fit_weight"),
    (lambda: MultiScale(table(), (1, 2), estimator="rotation"), "estimator: expected an estimator"),
    (lambda: MultiScale(table(), (1, 2), dropout=0.5), "dropout: expected a StageDropout"),
    (lambda: MultiScale(table(), (1, 2), dropout=StageDropout(cutoff=2)), "expected less than the 2 stages"),
    (lambda: MultiScale(table(), (1, 2), channel_dim=4), "channel_dim: expected an axis of 4"),
    (lambda: MultiScale(table(), (1, 2), channel_dim=None), "channel_dim: expected an int"),
    (lambda: MultiScaleVQ(DIM, SIZE, (1, 2), rotation_trick=True), "rotation_trick: expected estimator="),
    (lambda: MultiScaleVQ(DIM, SIZE, (1, 2), accept_image_fmap=True), "accept_image_fmap: expected channel_dim="),
    (lambda: MultiScaleVQ(DIM, SIZE, (1, 2), decai=0.9), "did you mean 'decay'"),
    (lambda: HierarchicalVQ(dim=DIM, codebook_size=(4, 8), scales=(1, 2)), "codebook_size: expected one size"),
    (
        lambda: HierarchicalVQ(dim=4, codebook_size=4, scales=(1, 2), accept_image_fmap=True, accept_3d_fmap=True),
        "accept_image_fmap, accept_3d_fmap",
    ),
]


@pytest.mark.parametrize(("make", "match"), BAD, ids=[match for _, match in BAD])
def test_bad_options(make, match: str):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        make()
    assert isinstance(caught.value, VqkitError)
