"""Cases of residual and grouped quantizers that once broke a promise of the contract."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.compare import assert_same_state, flat_state, tables
from vqkit.codebook import accumulating
from vqkit.errors import ArgumentError, ArgumentTypeError, VqkitError
from vqkit.quantizers import (
    FSQ,
    LFQ,
    SQVAE,
    BinaryMapper,
    Commitment,
    Grouped,
    GumbelStraightThrough,
    ImplicitVQ,
    IndexBackpropagation,
    LatentQuantize,
    MultiScale,
    MultiScaleVQ,
    RandomProjectionQuantizer,
    Residual,
    ResidualVQ,
    Rotation,
    SplitResidualVQ,
    StageDropout,
    VectorQuantize,
    build,
)


def _implicit(**options) -> ImplicitVQ:
    torch.manual_seed(0)
    vq = ImplicitVQ(4, 16, depth=1, **options)
    with torch.no_grad():
        for parameter in vq.net.parameters():
            parameter.normal_()
    return vq


@pytest.mark.parametrize("preselect", [None, 5])
def test_an_implicit_codebook_alone_decodes_to_what_its_network_made(preselect: int | None):
    vq, x = _implicit(preselect=preselect).eval(), torch.randn(3, 5, 4)
    out = vq(x)
    assert torch.equal(vq.decode(out.indices), out.quantized)
    assert torch.equal(vq.encode(x), out.indices)
    assert torch.equal(vq.get_codes_from_indices(out.indices), out.quantized)
    table = vq.book.codes()[0]
    assert not torch.equal(out.quantized, table[out.indices])


def test_an_implicit_codebook_alone_trains_its_network_unless_frozen():
    x = torch.randn(3, 5, 4)
    for frozen in (False, True):
        vq = _implicit()
        loss = vq(x.requires_grad_(), freeze_codebook=frozen).loss
        loss.backward()
        assert all((p.grad is None) is frozen for p in [*vq.net.parameters(), vq.book.vectors])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"project": True}, "project: expected False"),
        ({"heads": 2}, "heads: expected 1"),
        ({"metric": "dot"}, "metric"),
        ({"estimator": GumbelStraightThrough()}, "estimator"),
        ({"estimator": IndexBackpropagation()}, "estimator"),
        ({"return_zeros_for_masked_padding": False}, "return_zeros_for_masked_padding"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_an_implicit_codebook_refuses_what_it_would_ignore(options: dict, match: str):
    with pytest.raises(ArgumentError, match=match):
        ImplicitVQ(4, 16, **options)


def test_an_implicit_codebook_encodes_float64_as_forward_does():
    vq = _implicit().double().eval()
    x = torch.randn(200, 4, dtype=torch.float64)
    assert torch.equal(vq.encode(x), vq(x).indices)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: LFQ(dim=4), (2, 5, 5, 8)),
        (lambda: LFQ(dim=4), (2, 4, 4, 8)),  # where the wrong axis would fit, too
        (lambda: LatentQuantize([3, 3], 4), (2, 4, 4, 8)),
        (lambda: VectorQuantize(4, 8, channel_last=False), (2, 4, 8)),
        (lambda: ResidualVQ(4, 2, 8, channel_last=False), (2, 4, 8)),
    ],
)
def test_the_channel_axis_of_a_group_does_not_matter(make, shape: tuple[int, ...]):
    torch.manual_seed(0)
    grouped, x = Grouped([make(), make()]).eval(), torch.randn(shape)
    out, rows = grouped(x), grouped(x.reshape(-1, 8))
    assert torch.equal(out.quantized, rows.quantized.reshape(shape))
    assert torch.equal(out.indices, rows.indices.reshape(out.indices.shape))
    assert torch.equal(grouped.encode(x), out.indices)
    assert torch.equal(grouped.decode(out.indices), out.quantized)


def test_all_codes_of_groups_that_have_channels_first():
    torch.manual_seed(0)
    grouped, x = Grouped([ResidualVQ(4, 2, 8, channel_dim=1) for _ in range(2)], channel_dim=1), torch.randn(2, 8, 5)
    out = grouped.eval()(x, return_all_codes=True)
    assert out.all_codes.shape == (2, 2, 2, 4, 5)
    torch.testing.assert_close(torch.cat(list(out.all_codes.sum(1)), 1), out.quantized)


def test_the_config_of_groups_keeps_their_rank():
    grouped = Grouped([VectorQuantize(4, 8), VectorQuantize(4, 8)], channel_dim=1, rank=4)
    with pytest.raises(ArgumentError, match="x: expected 4 axes"):
        build(grouped.config)(torch.zeros(2, 8, 3))


@pytest.mark.parametrize("targets", [torch.zeros(1, 3).long(), torch.zeros(3, 3).long(), 5, torch.zeros(2, 3)], ids=str)
def test_targets_of_groups_are_checked(targets: object):
    grouped = Grouped([VectorQuantize(4, 8), VectorQuantize(4, 8)])
    with pytest.raises((ArgumentError, ArgumentTypeError), match="indices: expected"):
        grouped(torch.zeros(3, 8), indices=targets)


def _pair(dim: int = 2) -> Grouped:
    return Grouped([VectorQuantize(dim, 8), VectorQuantize(dim, 8)])


@pytest.mark.parametrize(
    "stages",
    [
        lambda: [VectorQuantize(4, 8), _pair()],
        lambda: [_pair(), _pair()],
        lambda: [ResidualVQ(4, 2, 8), ResidualVQ(4, 3, 8)],
    ],
)
def test_every_stage_has_one_loss_whatever_it_is(stages):
    torch.manual_seed(0)
    rows = torch.randn(6, 4)
    plain, weighted = Residual(stages()).eval(), Residual(stages(), loss_weights=(1.0, 0.0)).eval()
    weighted.load_state_dict(plain.state_dict())
    loss = plain(rows).loss
    assert loss.shape == (2,)
    torch.testing.assert_close(weighted(rows).loss, loss * torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Residual([MultiScaleVQ(4, 8, scales=(1, 2))]), "stages: .*MultiScaleVQ"),
        (lambda: Residual([BinaryMapper(4)]), "stages: .*BinaryMapper"),
        (lambda: Residual([RandomProjectionQuantizer(4, 8, 2)]), "stages: .*RandomProjectionQuantizer"),
        (lambda: Grouped([BinaryMapper(4)]), "groups: .*BinaryMapper"),
        (lambda: Grouped([RandomProjectionQuantizer(4, 8, 2)]), "groups: .*RandomProjectionQuantizer"),
        (lambda: MultiScale(BinaryMapper(4), (1, 2)), "quantizer: .*BinaryMapper"),
        (lambda: Grouped([FSQ([3, 3], return_indices=False)]), "groups: .*return their indices"),
        (lambda: Residual([FSQ([3] * 4), FSQ([3] * 4)], beam_size=2), "beam_size: .*FSQ"),
        (lambda: Residual([VectorQuantize(4, 8, heads=2)], eval_beam_size=2), "eval_beam_size: .*VectorQuantize"),
        (lambda: ResidualVQ(4, 2, 8, beam_size=2, stochastic_sample_codes=True), "beam_size: .*draws nothing"),
        (lambda: Residual(5), "stages: expected"),
        (lambda: Grouped(5), "groups: expected"),
        (lambda: Residual([VectorQuantize(4, 8)], num_quantizers=True), "num_quantizers"),
        (lambda: Residual([VectorQuantize(4, 8)], dropout=True), "dropout: expected a StageDropout"),
        (lambda: Residual([VectorQuantize(4, 8)], loss_weights=1.0), "loss_weights: expected a sequence"),
        (lambda: Residual([VectorQuantize(4, 8)], loss_weights="a"), "loss_weights: expected a sequence"),
        (lambda: Residual([VectorQuantize(4, 8)], estimator="rotation"), "estimator: expected an estimator"),
        (lambda: Residual([VectorQuantize(4, 8)], estimator=Rotation), "estimator: expected an estimator"),
        (lambda: Residual([VectorQuantize(4, 8)], rank="4"), "rank: expected an int"),
        (lambda: VectorQuantize(4, 8, estimator=Rotation), "estimator: expected an estimator"),
        (lambda: VectorQuantize(4, 8, objectives=(Commitment,)), "objectives: expected a sequence"),
        (lambda: VectorQuantize(4, 8, objectives="ab"), "objectives: expected a sequence"),
        (lambda: MultiScale(VectorQuantize(4, 8), (1, 2), estimator=Rotation), "estimator: expected an estimator"),
        (lambda: MultiScale([VectorQuantize(4, 8)], 5), "scales: expected"),
    ],
)
def test_what_cannot_be_wrapped_is_refused_at_once(make, match: str):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=match):
        make()


@pytest.mark.parametrize(
    "call",
    [
        {"beam_size": 0},
        {"beam_size": True},
        {"beam_size": 2, "heads": 2},
        {"sample_codebook_temp": -1.0},
        {"sample_codebook_temp": float("nan")},
        {"n_quantizers": 4},
        {"indices": torch.zeros(2, 5, 2).long()},
        {"indices": torch.full((2, 5, 3), 99)},
    ],
    ids=str,
)
def test_a_bad_call_moves_neither_clock_nor_codes(call: dict):
    torch.manual_seed(0)
    heads = call.pop("heads", 1)
    rvq = ResidualVQ(4, 3, 8, quantize_dropout=True, kmeans_init=True, stochastic_sample_codes=True, heads=heads)
    before = flat_state(rvq)
    with pytest.raises(VqkitError):
        rvq(torch.randn(2, 5, 4), **call)
    assert_same_state(before, flat_state(rvq))


def test_a_beam_search_waits_until_the_first_batch_has_placed_the_codes():
    torch.manual_seed(0)
    x = torch.randn(200, 4) * 3 + 5
    errors = []
    for beam in (1, 4):
        torch.manual_seed(1)
        rvq = ResidualVQ(4, 2, 16, kmeans_init=True, beam_size=beam, decay=0.0)
        rvq(x)
        errors.append((rvq.eval()(x).quantized - x).square().mean())
    assert errors[1] < errors[0] * 1.05


class TestSplitResidualVQ:
    @pytest.mark.parametrize("dropout", [{"dropout": StageDropout()}, {"quantize_dropout": True}], ids=str)
    def test_dropout_leaves_the_semantic_stages_alone(self, dropout: dict):
        rvq = SplitResidualVQ(8, 4, 16, 4, n_semantic=2, **dropout)
        assert rvq.rvq_first.dropout is None
        assert rvq.rvq_rest.dropout is not None

    def test_dropout_per_sample_draws_once_a_sample(self):
        torch.manual_seed(0)
        rvq = SplitResidualVQ(8, 5, 16, 4, dropout=StageDropout(per_sample=True))
        kept = (rvq(torch.randn(16, 6, 8)).indices >= 0).sum(-1)
        assert bool((kept == kept[:, :1]).all())
        assert len(kept.unique()) > 1

    def test_loss_weights_are_of_all_stages(self):
        torch.manual_seed(0)
        plain = SplitResidualVQ(8, 3, 16, 4).eval()
        weighted = SplitResidualVQ(8, 3, 16, 4, loss_weights=(0.0, 1.0, 2.0)).eval()
        weighted.load_state_dict(plain.state_dict())
        x = torch.randn(9, 8)
        torch.testing.assert_close(weighted(x).loss, plain(x).loss * torch.tensor([0.0, 1.0, 2.0]))
        with pytest.raises(ArgumentError, match="loss_weights: expected 3"):
            SplitResidualVQ(8, 3, 16, 4, loss_weights=(1.0,))

    def test_stages_with_heads_have_all_their_columns(self):
        torch.manual_seed(0)
        rvq = SplitResidualVQ(8, 4, 16, 4, heads=2, n_semantic=2).eval()
        x = torch.randn(3, 5, 8)
        out = rvq(x)
        assert torch.equal(rvq.decode(out.indices), out.quantized)
        assert torch.equal(rvq.encode(x, n_quantizers=3), out.indices[..., :6])
        torch.testing.assert_close(rvq.semantic(out.indices), rvq.rvq_first(x).quantized)
        torch.testing.assert_close(rvq.decode(out.indices[..., :4]), rvq.semantic(out.indices))

    def test_semantic_keeps_the_channel_axis(self):
        torch.manual_seed(0)
        rvq, x = SplitResidualVQ(8, 4, 16, 4, accept_image_fmap=True).eval(), torch.randn(3, 8, 5, 6)
        indices = rvq.encode(x)
        assert rvq.semantic(indices).shape == x.shape
        assert torch.equal(rvq.semantic(indices), rvq.decode(indices[..., :1]))

    def test_a_pyramid_places_its_codes_from_all_scales(self):
        torch.manual_seed(0)
        rvq = MultiScale(SplitResidualVQ(8, 4, 16, 4, kmeans_init=True), (1, 2, 4))
        assert torch.isfinite(rvq(torch.randn(2, 8, 4, 4)).loss)


@pytest.mark.parametrize(
    "make",
    [lambda: SplitResidualVQ(4, 2, 8, 2), lambda: LatentQuantize([4, 4], 4), lambda: SQVAE(4, 8)],
    ids=["split", "latent", "sq_vae"],
)
def test_fit_reaches_the_tables_of_every_kind_of_stage(make):
    torch.manual_seed(0)
    rvq = Residual([make(), make()])
    before = [book.codes().clone() for book in tables(rvq)]
    rvq.fit([torch.randn(50, 4) * 5 + 20 for _ in range(3)])
    assert all(not torch.equal(old, book.codes()) for old, book in zip(before, tables(rvq), strict=True))


def test_a_loaded_state_knows_nothing_of_a_step_that_was_under_way():
    rvq, x = ResidualVQ(4, 8, 8, dropout=StageDropout(per_sample=True)), torch.randn(6, 2, 4)
    state = {name: value.clone() for name, value in rvq.state_dict().items()}
    expected = rvq(x).indices >= 0
    rvq.load_state_dict(state)
    with accumulating(rvq):
        rvq(x)
    rvq.load_state_dict(state)
    assert torch.equal(rvq(x).indices >= 0, expected)
