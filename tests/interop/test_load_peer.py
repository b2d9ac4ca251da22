"""Weights of vector-quantize-pytorch 1.32: the same indices and outputs here, and the same learning from there on."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import vector_quantize_pytorch as peer
from torch import nn

from vqkit import interop
from vqkit.codebook import EMA, Fixed, Gradient
from vqkit.errors import ArgumentError, CheckpointError

D, K = 12, 20
SGD = partial(torch.optim.SGD, lr=0.1)

# What both constructors take; and what both forwards are then given.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cosine": {"use_cosine_sim": True},
    "straight_through": {"rotation_trick": False},
    "projected": {"codebook_dim": 5},
    "layernorm": {"codebook_dim": 5, "layernorm_after_project_in": True},
    "heads": {"heads": 3, "codebook_dim": 4},
    "heads_projected": {"heads": 2, "codebook_dim": 5},
    "heads_apart": {"heads": 3, "codebook_dim": 4, "separate_codebook_per_head": True},
    "heads_apart_cosine": {
        "heads": 2, "codebook_dim": 5, "separate_codebook_per_head": True, "use_cosine_sim": True,
    },
    "image": {"accept_image_fmap": True},
    "channel_first": {"channel_last": False},
    "kmeans": {"kmeans_init": True},
    "kmeans_cosine": {"kmeans_init": True, "use_cosine_sim": True},
    "learnable": {"learnable_codebook": True, "ema_update": False},
    "fixed": {"ema_update": False},
    "in_place": {"in_place_codebook_optimizer": SGD, "ema_update": False, "learnable_codebook": True},
    "manual": {"manual_ema_update": True},
    "decay": {"decay": 0.5, "eps": 1e-3},
    "stale": {"threshold_ema_dead_code": 2},
    "orthogonal": {"orthogonal_reg_weight": 1.0},
    "cross_entropy": {"commitment_use_cross_entropy_loss": True},
    "diversity": {"codebook_diversity_loss_weight": 0.1},
    "gumbel": {"straight_through": True, "rotation_trick": False},
    "diveq": {"directional_reparam": True, "threshold_ema_dead_code": 2},
    "no_route": {"route_gradients_to_input": False, "rotation_trick": False},
    "sync": {"sync_update_v": 0.3, "learnable_codebook": True, "ema_update": False},
    "stochastic": {"stochastic_sample_codes": True, "sample_codebook_temp": 0.5},
}  # fmt: skip
TOLD = ("codebook_dim", "heads", "separate_codebook_per_head", "layernorm_after_project_in", "kmeans_init")


def theirs(name: str, steps: int, dim: int = D) -> Any:
    torch.manual_seed(0)
    module = peer.VectorQuantize(dim=dim, codebook_size=K, **OPTIONS[name])
    if "kmeans" not in name:  # its own start is too small to tell codes apart
        codes = torch.randn_like(module._codebook.embed)
        codes = nn.functional.normalize(codes, dim=-1) if module.use_cosine_sim else codes
        module._codebook.embed.data.copy_(codes)
        module._codebook.embed_avg.data.copy_(codes)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad] or [torch.zeros(1)], lr=0.1)
    for step in range(steps):
        x = batch(name, 50 + step).requires_grad_()
        quantized, _, loss = module(x)
        optimizer.zero_grad()
        (quantized.square().mean() + loss.sum()).backward()
        optimizer.step()
    return module


def batch(name: str, seed: int = 0) -> torch.Tensor:
    x = torch.randn(2, 60, D, generator=torch.Generator().manual_seed(seed))
    if name == "image":
        return x.movedim(-1, 1).unflatten(-1, (6, 10))
    return x.movedim(-1, 1) if name == "channel_first" else x


def ours(name: str, state: dict[str, torch.Tensor], **more: Any) -> Any:
    options = {k: v for k, v in OPTIONS[name].items() if k not in TOLD}
    if name == "heads":
        options["heads"] = OPTIONS[name]["heads"]  # no weight tells it
    if name == "in_place":
        options = {"in_place_codebook_optimizer": SGD}
    if name == "decay":  # its smoothing pulls idle codes to zero, as that of EMA does only on request
        options = {"update": EMA(options["decay"], options["eps"], hold_idle=False)}
    if name == "diveq":
        options["threshold_ema_dead_code"] = 0
    return interop.load(state, **{**options, **more})


# A k-means table has no codes before its first batch: see test_a_table_not_yet_placed.
STEPPED = [(name, steps) for name in OPTIONS for steps in (0, 3) if steps or "kmeans" not in name]


@pytest.mark.parametrize(("name", "steps"), STEPPED)
def test_the_same_indices_and_outputs(name: str, steps: int):
    module = theirs(name, steps)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    loaded = ours(name, state)
    x = batch(name)
    expected, indices, _ = module.eval()(x)
    out = loaded(x)
    assert not loaded.training
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.quantized, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(loaded.decode(out.indices), out.quantized)


LEARNING = ["plain", "cosine", "projected", "heads_apart", "image", "kmeans", "decay", "learnable"]


@pytest.mark.parametrize("name", LEARNING)
def test_learning_goes_on_alike(name: str):
    module = theirs(name, 3)
    loaded = ours(name, {key: value.clone() for key, value in module.state_dict().items()})
    for step in range(3):
        results = []
        for vq in (module.train(), loaded.train()):
            x = batch(name, 80 + step).requires_grad_()
            quantized, indices, _ = vq(x)
            vq.zero_grad()
            (quantized * torch.linspace(0, 1, x.numel()).reshape(x.shape)).sum().backward()
            results.append((indices, quantized, x.grad))
        for got, want in zip(results[1], results[0], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    codes = module.codebook
    torch.testing.assert_close(loaded.codebook, codes.reshape(loaded.codebook.shape), rtol=1e-4, atol=1e-5)


def test_averages_and_their_counts_are_taken_over():
    module = theirs("stale", 3)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    book = ours("stale", state).book
    assert torch.equal(book.ema_counts, state["_codebook.cluster_size"])
    assert torch.equal(book.ema_sums, state["_codebook.embed_avg"])
    assert torch.equal(book.revive_counts, state["_codebook.cluster_size"])
    assert bool(book.initialised)


def test_a_table_not_yet_placed():
    """Before its first batch a k-means table is all zeros; here, too, the first training batch places it."""
    state = peer.VectorQuantize(dim=D, codebook_size=K, kmeans_init=True).state_dict()
    loaded = interop.load(state).train()
    assert not loaded.book.placed
    loaded(batch("plain"))
    assert loaded.book.placed
    assert loaded.codebook.abs().min(1).values.min() > 0


@pytest.mark.parametrize("stepped", [True, False])
def test_affine(stepped: bool):
    """Its eval forward moves the statistics before it uses them, so the formula is the reference."""
    torch.manual_seed(0)
    module = peer.VectorQuantize(dim=D, codebook_size=K, affine_param=True)
    if stepped:
        for step in range(3):
            module(2 * batch("plain", step) + 5)
        codes = module._codebook
        scale = codes.batch_variance.clamp(min=1e-5).sqrt() / codes.codebook_variance.clamp(min=1e-5).sqrt()
        expected = (codes.embed - codes.codebook_mean) * scale + codes.batch_mean
    else:
        expected = module._codebook.embed
    loaded = interop.load({key: value.clone() for key, value in module.state_dict().items()})
    torch.testing.assert_close(loaded.codebook, expected[0], rtol=1e-5, atol=1e-6)
    assert bool(loaded.book.affine.seen.all()) == stepped


def test_a_bridge_is_filled():
    def bridge() -> nn.Module:
        return nn.Linear(D, D)

    torch.manual_seed(0)
    module = peer.VectorQuantize(dim=D, codebook_size=K, vq_bridge=bridge(), learnable_codebook=True)
    module._codebook.embed.data.normal_()
    state = module.state_dict()
    loaded = interop.load(state, vq_bridge=bridge(), ema_update=False)
    out = loaded(batch("plain"))
    expected, indices, _ = module.eval()(batch("plain"))
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.quantized, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ArgumentError, match="vq_bridge: expected the module"):
        interop.load(state)
    del state["_codebook.vq_bridge.bias"]
    with pytest.raises(CheckpointError, match=r"missing _codebook\.vq_bridge\.bias"):
        interop.load(state, vq_bridge=bridge(), ema_update=False)


# --- residual ---------------------------------------------------------------------------------------------------------

RESIDUAL: dict[str, dict[str, Any]] = {
    "plain": {},
    "projected": {"codebook_dim": 5},
    "sizes": {"codebook_size": (20, 10, 5)},
    "shared": {"shared_codebook": True},
    "cosine": {"use_cosine_sim": True},
    "kmeans": {"kmeans_init": True},
    "dropout": {"quantize_dropout": True, "quantize_dropout_cutoff_index": 1},
}


@pytest.mark.parametrize("name", RESIDUAL)
@pytest.mark.parametrize("groups", [None, 2])
def test_residual(name: str, groups: int | None):
    torch.manual_seed(0)
    options = {"num_quantizers": 3, "codebook_size": K, **RESIDUAL[name]}
    module = peer.ResidualVQ(dim=D, **options)
    if groups is not None:
        module = peer.GroupedResidualVQ(dim=D, groups=groups, **options)
    for vq in module.modules():
        if isinstance(vq, peer.VectorQuantize) and name != "kmeans":
            vq._codebook.embed.data.normal_()
            vq._codebook.embed_avg.data.copy_(vq._codebook.embed)
    for step in range(3):
        module(batch("plain", step))
    own = {k: v for k, v in RESIDUAL[name].items() if "dropout" in k or "cosine" in k}
    loaded = interop.load(module.state_dict(), **own)
    expected, indices, _ = module.eval()(batch("plain"))
    out = loaded(batch("plain"))
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.quantized, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(loaded.decode(out.indices), out.quantized)
    if groups is None:
        assert loaded.shared == (name == "shared")


# --- networks between stages ------------------------------------------------------------------------------------------

NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "shape": {"mlp_kwargs": {"dim_hidden": 7, "depth": 2}},
    "no_depth": {"mlp_kwargs": {"depth": 0}},
    "projected": {"codebook_dim": 5, "mlp_kwargs": {"depth": 1}},
    "sizes": {"codebook_size": (20, 10, 5), "mlp_kwargs": {"depth": 1}},
}


def implicit(name: str, kind: Any = peer.ResidualVQ, **more: Any) -> Any:
    torch.manual_seed(0)
    options = {"num_quantizers": 3, "codebook_size": K, "implicit_neural_codebook": True, **NETWORKS[name]}
    module = kind(dim=D, **options, **more)
    for vq in module.modules():
        if isinstance(vq, peer.VectorQuantize):
            vq._codebook.embed.data.normal_()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for step in range(3):
        quantized, _, loss = module(batch("plain", step))
        optimizer.zero_grad()
        (quantized.square().mean() + loss.sum()).backward()
        optimizer.step()
    return module


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("groups", [None, 2])
def test_networks_between_stages(name: str, groups: int | None):
    """Theirs has no way for the code around the mixing; the same map has the identity taken off."""
    module = implicit(name) if groups is None else implicit(name, peer.GroupedResidualVQ, groups=groups)
    loaded = interop.load(module.state_dict())
    expected, indices, _ = module.eval()(batch("plain"))
    out = loaded(batch("plain"))
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.quantized, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(loaded.decode(out.indices), out.quantized)


def test_networks_learn_on_alike():
    module = implicit("shape")
    loaded = interop.load(module.state_dict()).train()
    ours, theirs = loaded.members[2], module.train().mlps[1]
    for vq in (loaded, module):
        vq.zero_grad()
        vq(batch("plain", 9))[2][2].backward()
    for block, layer in zip(ours.net.blocks, theirs.layers, strict=True):
        torch.testing.assert_close(block[0].weight.grad, layer[0].weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"implicit_neural_codebook": False}, "implicit_neural_codebook: expected True"),
        ({"mlp_kwargs": {"depth": 3}}, "depth: expected 2, as the weights have it"),
        ({"mlp_kwargs": {"dim_hidden": 8}}, "dim_hidden: expected 7, as the weights have it"),
    ],
)
def test_options_that_contradict_the_networks(options: dict[str, Any], match: str):
    with pytest.raises(ArgumentError, match=match):
        interop.load(implicit("shape").state_dict(), **options)


def test_a_network_that_is_not_whole():
    state = implicit("shape").state_dict()
    del state["mlps.1.layers.1.2.bias"]
    with pytest.raises(CheckpointError, match=r"missing mlps\.1\.layers\.1\.2\.bias"):
        interop.load(state)
    without = {name: tensor for name, tensor in state.items() if not name.startswith("mlps.1.")}
    with pytest.raises(CheckpointError, match=r"missing mlps\.1"):
        interop.load(without)
    plain = peer.ResidualVQ(dim=D, num_quantizers=2, codebook_size=K).state_dict()
    with pytest.raises(ArgumentError, match="implicit_neural_codebook: expected False"):
        interop.load(plain, implicit_neural_codebook=True)


# --- options ----------------------------------------------------------------------------------------------------------


def test_its_defaults_stand_and_options_go_before_them():
    state = peer.VectorQuantize(dim=D, codebook_size=K).state_dict()
    plain = interop.load(state)
    assert plain.config["rotation_trick"] is True
    assert plain.book.revive is None
    assert plain.book.update == EMA(0.8)
    assert interop.load(state, update=Gradient()).book.update == Gradient()
    assert interop.load(state, ema_update=False).book.update == Fixed()
    assert interop.load(state, directional_reparam=True).estimator.stochastic
    assert interop.load(state, threshold_ema_dead_code=1).book.revive.threshold == 1


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("plain", {"dim": D}, "dim: expected it left out"),
        ("plain", {"codebook_size": K}, "codebook_size: expected it left out"),
        ("heads_projected", {"heads": 3}, "heads: expected 2"),
        ("heads_apart", {"heads": 2}, "heads: expected 3"),
        ("plain", {"decai": 0.9}, "did you mean 'decay'"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_bad_options(name: str, options: dict[str, Any], match: str):
    state = peer.VectorQuantize(dim=D, codebook_size=K, **OPTIONS[name]).state_dict()
    with pytest.raises((ValueError, TypeError), match=match):
        interop.load(state, **options)
