from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from vqkit import VectorQuantize
from vqkit.codebook import EMA, Gradient, KMeansInit, OnlineClustering, ReplaceRare, ReplaceStale
from vqkit.errors import ArgumentError
from vqkit.functional import nearest
from vqkit.quantizers import (
    Commitment,
    CrossEntropyCommitment,
    DiVeQ,
    Diversity,
    GumbelStraightThrough,
    NoGradient,
    Orthogonal,
    Rotation,
    StraightThrough,
    build,
)

WORKED_CODES = torch.tensor(
    [
        [0.15801739, 0.71236613, 0.34401087, 0.31100241, 0.19731029, 0.75124264],
        [0.17008199, 0.76689422, 0.82562077, 0.17558232, 0.82136028, 0.84026041],
        [0.89155776, 0.92834241, 0.56760302, 0.72009988, 0.43676168, 0.94838489],
        [0.38546037, 0.75875292, 0.90014871, 0.17816013, 0.06095272, 0.69844905],
    ]
)
WORKED_VECTORS = torch.tensor(
    [
        [
            [0.16, 0.75, 0.81, 0.12, 0.81, 0.90],
            [0.41, 0.76, 0.82, 0.17, 0.01, 0.72],
            [0.15, 0.70, 0.33, 0.30, 0.21, 0.76],
        ],
        [
            [0.50, 0.72, 0.35, 0.13, 0.98, 0.52],
            [0.61, 0.54, 0.73, 0.28, 0.76, 0.57],
            [0.67, 0.12, 0.36, 0.55, 0.73, 0.71],
        ],
    ]
)


def test_the_worked_example_of_the_course():
    quantizer = VectorQuantize(dim=6, codebook_size=4).eval()
    quantizer.codebook = WORKED_CODES
    quantized, indices, _ = quantizer(WORKED_VECTORS)
    assert indices.tolist() == [[1, 3, 0], [1, 1, 2]]
    assert torch.equal(quantized, WORKED_CODES[indices])


def test_the_flat_names_are_sugar_for_policies():
    def policies(**flat):
        quantizer = VectorQuantize(8, 16, **flat)
        return quantizer.book, quantizer

    assert policies()[0].update == EMA(0.8)
    assert policies()[0].revive == ReplaceRare()
    assert policies(decay=0.9, eps=1e-3)[0].update == EMA(0.9, 1e-3)
    assert policies(kmeans_init=True, kmeans_iters=3)[0].init == KMeansInit(3)
    assert policies(threshold_ema_dead_code=2, decay=0.9)[0].revive == ReplaceStale(2.0, 0.9)
    assert policies(threshold_ema_dead_code=0)[0].revive is None
    assert policies(learnable_codebook=True, codebook_weight=0.5)[0].update == Gradient(0.5)
    assert policies(orthogonal_reg_weight=10)[0].update == Gradient()
    assert policies(use_cosine_sim=True)[0].metric == "cosine"
    assert policies()[1].estimator == StraightThrough()
    assert policies(rotation_trick=True)[1].estimator == Rotation()
    assert policies(rotation_trick=False)[1].estimator == StraightThrough()
    assert policies(straight_through=True)[1].estimator == GumbelStraightThrough(noise=False)
    assert policies(directional_reparam=True, directional_reparam_variance=0.01)[1].estimator == DiVeQ(0.01)
    assert policies(route_gradients_to_input=False)[1].estimator == NoGradient()
    assert policies(commitment_weight=0.25)[1].objectives == (Commitment(0.25),)
    assert policies(commitment=0.25)[1].objectives == (Commitment(0.25),)
    assert policies(commitment_use_cross_entropy_loss=True)[1].objectives == (CrossEntropyCommitment(1.0),)
    terms = policies(orthogonal_reg_weight=10, orthogonal_reg_max_codes=4, orthogonal_reg_active_codes_only=True)[1]
    assert terms.objectives[:2] == (Commitment(1.0), Orthogonal(10, 4, True))
    assert policies(codebook_diversity_loss_weight=0.1)[1].objectives[1] == Diversity(0.1, 100.0)
    assert policies(channel_last=False)[1].channel_dim == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decay": 0.99, "commitment_weight": 0.25},
        {"revive": None},
        {"update": EMA(0.99, debias=True), "revive": OnlineClustering("closest"), "estimator": DiVeQ()},
        {"init": KMeansInit(), "objectives": (Commitment(0.5), Diversity(0.1))},
        {"heads": 2, "codebook_dim": 3, "accept_image_fmap": True},
    ],
    ids=str,
)
def test_a_config_builds_the_same_quantizer_again(options: dict):
    quantizer = VectorQuantize(8, 16, **options)
    again = build(json.loads(json.dumps(quantizer.config)))
    assert again.config == quantizer.config
    assert again.extra_repr() == quantizer.extra_repr()
    assert (again.book.init, again.book.update, again.book.revive) == (
        quantizer.book.init,
        quantizer.book.update,
        quantizer.book.revive,
    )
    assert (again.estimator, again.objectives) == (quantizer.estimator, quantizer.objectives)


def test_a_module_has_no_config():
    quantizer = VectorQuantize(8, 16, vq_bridge=nn.Linear(8, 8))
    with pytest.raises(ArgumentError, match="vq_bridge: expected a value with a JSON form"):
        _ = quantizer.config


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("topk", [1, 3])
def test_topk_gives_candidates_nearest_first(heads: int, separate: bool, image: bool, training: bool, topk: int):
    quantizer = VectorQuantize(
        8, 16, codebook_dim=4, heads=heads, separate_codebook_per_head=separate, accept_image_fmap=image
    ).train(training)
    x = torch.randn(2, 8, 3, 4) if image else torch.randn(2, 5, 8)
    before = quantizer.codebook.clone()
    out = quantizer(x, topk=topk)
    plain = quantizer.encode(x)
    first = out.indices[..., 0, :] if heads > 1 else out.indices[..., 0]
    assert torch.equal(first, plain)
    assert torch.equal(quantizer.decode(out.indices), out.quantized)
    assert out.loss.shape == (*plain.shape[: x.ndim - 1], topk)
    assert bool((out.loss.diff(dim=-1) >= -1e-6).all())
    assert torch.equal(quantizer.codebook, before)


def test_given_indices_make_the_loss_a_cross_entropy():
    torch.manual_seed(0)
    quantizer = VectorQuantize(8, 16, revive=None)
    x = torch.randn(2, 5, 8, requires_grad=True)
    targets = torch.randint(16, (2, 5))
    targets[0, 0] = -1
    codes = quantizer.codebook.clone()
    out = quantizer(x, targets, return_loss_breakdown=True)
    scores = -(x[:, :, None] - codes).square().sum(-1)
    expected = torch.nn.functional.cross_entropy(scores.reshape(10, 16), targets.reshape(10), ignore_index=-1)
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(out.loss_breakdown.cross_entropy, expected)
    assert torch.equal(out.indices, nearest(x, codes))


def test_the_breakdown_adds_up_to_the_loss():
    weights = {"commitment_weight": 0.5, "orthogonal_reg_weight": 2.0, "codebook_diversity_loss_weight": 0.1}
    quantizer = VectorQuantize(8, 16, codebook_weight=0.7, **weights)
    out = quantizer(torch.randn(2, 5, 8), return_loss_breakdown=True)
    b = out.loss_breakdown
    total = 0.5 * b.commitment + 2.0 * b.orthogonal_reg + 0.1 * b.codebook_diversity + 0.7 * b.codebook
    torch.testing.assert_close(out.loss, total)
    assert bool((torch.stack(b[:4]) != 0).all())


def test_sampling_is_for_training_alone():
    torch.manual_seed(0)
    quantizer = VectorQuantize(8, 16, stochastic_sample_codes=True, sample_codebook_temp=5.0, ema_update=False)
    x = torch.randn(200, 8)
    nearest_indices = quantizer.encode(x)
    drawn = quantizer(x).indices
    assert not torch.equal(drawn, nearest_indices)
    assert torch.equal(quantizer(x, sample_codebook_temp=0.0).indices, nearest_indices)
    assert torch.equal(quantizer.eval()(x).indices, nearest_indices)


def test_ema_update_false_learns_nothing_this_step():
    quantizer = VectorQuantize(8, 16)
    before = quantizer.codebook.clone()
    quantizer(torch.randn(50, 8), ema_update=False)
    assert torch.equal(quantizer.codebook, before)


def test_every_tensor_of_a_step_has_a_shape_known_beforehand():
    """No value is read on the host in a training step: what compile and CUDA graphs need."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = str(func)
            if "vqkit" not in name:
                seen.append(name)
            return func(*args, **(kwargs or {}))

    seen: list[str] = []
    quantizer = VectorQuantize(8, 16)
    quantizer(torch.randn(50, 8))
    with Reads():
        quantizer(torch.randn(50, 8, requires_grad=True)).quantized.sum().backward()
    reads = [name for name in seen if "_local_scalar_dense" in name or "nonzero" in name or "item" in name]
    # The exact search is one opaque op whose inside is its own business.
    assert not [r for r in reads if "nonzero" not in r], reads


def test_codes_from_indices_stop_before_the_projection():
    quantizer = VectorQuantize(8, 16, codebook_dim=3, heads=2)
    indices = quantizer.encode(torch.randn(2, 5, 8))
    codes = quantizer.get_codes_from_indices(indices)
    assert codes.shape == (2, 5, 6)
    torch.testing.assert_close(quantizer.slices.project_out(codes), quantizer.get_output_from_indices(indices))


@pytest.mark.parametrize("separate", [False, True])
def test_each_row_may_have_codes_of_its_own(separate: bool):
    torch.manual_seed(0)
    heads = {"heads": 2, "codebook_dim": 4, "separate_codebook_per_head": True} if separate else {}
    quantizer = VectorQuantize(8, 16, learnable_codebook=True, revive=None, **heads)
    x = torch.randn(2, 5, 8)

    def same(codes):
        return codes[:, None, None].expand(-1, 2, 5, -1, -1)

    plain, own = quantizer(x), quantizer(x, codebook_transform_fn=same)
    assert torch.equal(plain.indices, own.indices)
    assert torch.equal(plain.quantized, own.quantized)
    torch.testing.assert_close(plain.loss, own.loss)
    layer = nn.Linear(quantizer.codebook_dim, quantizer.codebook_dim)
    quantizer(x, codebook_transform_fn=lambda codes: same(layer(codes))).loss.backward()
    assert bool(layer.weight.grad.any())


@pytest.mark.parametrize(
    ("options", "transform", "match"),
    [
        ({}, lambda codes: codes, "learn by gradient"),
        (
            {"learnable_codebook": True},
            lambda codes: codes,
            r"expected shape \(1, 2, 5, 16, 8\)",
        ),
        ({"learnable_codebook": True, "heads": 2, "codebook_dim": 4}, lambda codes: codes, "one head, or separate"),
    ],
)
def test_a_transform_that_cannot_be(options: dict, transform, match: str):
    with pytest.raises(ArgumentError, match=match):
        VectorQuantize(8, 16, **options)(torch.randn(2, 5, 8), codebook_transform_fn=transform)


@pytest.mark.parametrize("update", [EMA(0.5), Gradient()], ids=str)
def test_direction_chooses_codes_that_keep_their_lengths(update):
    torch.manual_seed(0)
    quantizer = VectorQuantize(4, 16, metric="cosine", unit_codes=False, update=update, revive=None)
    codes = torch.randn(16, 4) * torch.logspace(-2, 2, 16)[:, None]
    quantizer.codebook = codes
    x = 5 * torch.randn(100, 4)
    x.requires_grad_()
    unit_x, unit_codes = (nn.functional.normalize(t, dim=1) for t in (x, codes))
    out = quantizer(x)
    assert torch.equal(out.indices, (unit_x @ unit_codes.T).argmax(1))
    assert torch.equal(out.quantized, codes[out.indices])
    weight = 1 if isinstance(update, EMA) else 2
    torch.testing.assert_close(out.loss, weight * (x - codes[out.indices]).square().mean())
    weights = torch.randn(100, 4)
    (gradient,) = torch.autograd.grad((out.quantized * weights).sum(), x)
    assert torch.equal(gradient, weights)
    if isinstance(update, EMA):
        hit = torch.bincount(out.indices, minlength=16) > 0
        assert (quantizer.codebook.norm(dim=1)[hit] > 1.5).any()


def test_lengths_are_for_the_cosine_metric():
    with pytest.raises(ArgumentError, match="unit_codes: expected True unless metric is 'cosine'"):
        VectorQuantize(4, 8, unit_codes=False)
