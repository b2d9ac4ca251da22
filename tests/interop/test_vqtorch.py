"""vqtorch's layers in every option: round trip, gradients, state, dtypes, bad numbers, and the faults of the original
that are none here.
"""

from __future__ import annotations

import copy
import io
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from tests.contracts.compare import assert_same_state, flat_state
from vqkit.errors import ArgumentError, CodeIndexError, VqkitError
from vqkit.interop.vqtorch import (
    GroupVectorQuant,
    MaxVecPool2d,
    SoftMaxVecPool2d,
    VectorQuant,
    VectorQuantize,
    get_vq_layers,
    is_vq,
    no_vq,
)
from vqkit.interop.vqtorch.norms import capped

C, K = 32, 16
SGD = partial(torch.optim.SGD, lr=0.5, momentum=0.9)

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cosine": {"dist": "cosine"},
    "cosine_norm_kept": {"dist": "cosine", "vector_normalize": True},
    "groups": {"groups": 4},
    "groups_apart": {"groups": 4, "share": False},
    "groups_cosine_norm_kept": {"dist": "cosine", "vector_normalize": True, "groups": 4, "share": False},
    "last_axis": {"dim": -1},
    "sync": {"sync_nu": 0.5},
    "affine": {"affine_lr": 2.0, "affine_groups": 4},
    "affine_running": {"use_running_statistics": True},
    "replace": {"replace_freq": 2},
    "in_place": {"inplace_optimizer": SGD, "beta": 1.0},
    "in_place_affine": {"inplace_optimizer": SGD, "affine_lr": 1.0, "groups": 2, "share": False},
    "kmeans": {"kmeans_init": True},
    "l2": {"norm": "l2", "cb_norm": "l2"},
    "l2_groups": {"norm": "l2", "cb_norm": "l2", "groups": 4},
    "l2c": {"norm": "l2c", "cb_norm": "l2c"},
    "l2_affine": {"cb_norm": "l2", "affine_lr": 1.0},
    "l2_affine_running": {"cb_norm": "l2", "use_running_statistics": True},
    "l2_in_place": {"cb_norm": "l2", "inplace_optimizer": SGD},
    "bn": {"norm": "bn"},
    "gn": {"norm": "gn", "dim": 2},
    "in": {"norm": "in"},
    "everything": {
        "groups": 2, "share": False, "sync_nu": 0.2, "affine_lr": 10.0, "replace_freq": 2, "kmeans_init": True,
        "norm": "l2c", "cb_norm": "l2c", "beta": 0.98, "code_vector_size": C // 2,
    },
}  # fmt: skip


def make(name: str, seed: int = 0) -> VectorQuantize:
    torch.manual_seed(seed)
    return VectorQuantize(C, K, **OPTIONS[name])


def batch(name: str, seed: int = 0) -> torch.Tensor:
    dim = OPTIONS[name].get("dim", 1)
    return torch.randn(3, 4, 5, C, generator=torch.Generator().manual_seed(seed)).movedim(-1, dim)


def trained(name: str, steps: int = 3) -> VectorQuantize:
    vq = make(name)
    optimizer = torch.optim.SGD(vq.parameters(), lr=0.1)
    for step in range(steps):
        z_q, misc = vq(batch(name, 100 + step).requires_grad_())
        optimizer.zero_grad()
        (z_q.square().mean() + misc["loss"]).backward()
        optimizer.step()
    return vq


every = pytest.mark.parametrize("name", OPTIONS)


@every
def test_round_trip(name: str):
    vq = trained(name).eval()
    z = batch(name)
    z_q, misc = vq(z)
    assert z_q.shape == z.shape
    assert misc["q"].dtype == torch.int64
    assert misc["q"].min() >= 0
    assert misc["q"].max() < K
    assert torch.equal(vq.encode(z), misc["q"])
    decoded = vq.decode(misc["q"])
    if vq.preserve_norm:
        slices = [t.movedim(vq.dim, -1).unflatten(-1, (vq.groups, -1)) for t in (z, z_q, decoded)]
        torch.testing.assert_close(slices[1], slices[0].norm(dim=-1, keepdim=True) * slices[2])
    else:
        assert torch.equal(decoded, z_q)
        merged = misc["z_q"].flatten(-2).movedim(-1, vq.dim)
        assert torch.equal(merged, z_q)


@every
def test_the_nearest_code_and_its_distance(name: str):
    vq = trained(name).eval()
    _, misc = vq(batch(name))
    z, tables = misc["z"], vq.vq.book.codes().expand(vq.groups, -1, -1)
    if vq.vq.book.metric == "cosine":
        z = nn.functional.normalize(z, dim=-1)
        distances = torch.stack([1 - z[..., g, :] @ tables[g].T for g in range(vq.groups)], -2)
    else:
        distances = torch.stack([(z[..., g, None, :] - tables[g]).norm(dim=-1) for g in range(vq.groups)], -2)
    torch.testing.assert_close(misc["d"], distances.amin(-1), rtol=1e-4, atol=1e-5)


@every
def test_eval_and_encode_change_nothing(name: str):
    vq = trained(name)
    before = flat_state(vq)
    vq.eval()(batch(name, 1))
    vq.decode(vq.encode(batch(name, 2)))
    assert_same_state(before, flat_state(vq))


@every
@pytest.mark.parametrize("way", ["state dict", "weights only", "deepcopy", "pickle"])
def test_state_survives(name: str, way: str):
    first = trained(name)
    second = make(name, seed=9)
    if way == "state dict":
        second.load_state_dict(first.state_dict())
    elif way == "weights only":
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        buffer.seek(0)
        second.load_state_dict(torch.load(buffer, weights_only=True))
    else:
        second = copy.deepcopy(first) if way == "deepcopy" else pickle.loads(pickle.dumps(first))
    for mode in (True, False):
        outs = [vq.train(mode)(batch(name, 7)) for vq in (first, second)]
        assert torch.equal(outs[0][0], outs[1][0])
        assert torch.equal(outs[0][1]["q"], outs[1][1]["q"])
    assert_same_state(flat_state(first), flat_state(second))


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_dtypes(name: str, dtype: torch.dtype):
    vq = trained(name).eval()
    z = batch(name).to(dtype)
    z_q, misc = vq(z)
    assert z_q.dtype == dtype
    if OPTIONS[name].get("norm", "none") == "none":  # a norm rounds in the input's dtype
        assert torch.equal(misc["q"], vq(z.float())[1]["q"])
    cast = trained(name).to(dtype)
    assert all(v.dtype == torch.float32 for v in flat_state(cast.vq.book).values() if v.is_floating_point())
    z_q, misc = cast(z)
    assert z_q.dtype == dtype
    assert torch.isfinite(z_q).all()


# The other norms mix rows before the quantizer sees them.
ROW_BY_ROW = [name for name, options in OPTIONS.items() if options.get("norm") not in ("bn", "gn", "in")]


@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_bad_rows_touch_no_state(name: str):
    clean, dirty = trained(name), trained(name)
    for vq in (clean, dirty):
        vq.zero_grad()
    rows = torch.randn(20, C)
    spoiled = torch.cat([rows, torch.full((2, C), torch.nan)]).requires_grad_()
    inputs = [rows, spoiled] if clean.dim == 1 else [rows[None], spoiled[None]]
    expected = clean(inputs[0])[1]
    with pytest.warns(RuntimeWarning, match="2 rows"):
        z_q, misc = dirty(inputs[1])
    (z_q.square().sum() + misc["loss"]).backward()
    q, d = misc["q"].reshape(22, -1), misc["d"].reshape(22, -1)
    assert (q[20:] == -1).all()
    assert (d[20:] == torch.inf).all()
    assert torch.equal(q[:20], expected["q"].reshape(20, -1))
    assert not z_q.reshape(22, C)[20:].any()
    torch.testing.assert_close(misc["loss"], expected["loss"])
    assert torch.isfinite(spoiled.grad).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in dirty.parameters())
    assert_same_state(flat_state(clean), flat_state(dirty), 1e-5)


@pytest.mark.parametrize("shape", [(7, C), (2, C, 3), (2, C, 3, 4), (1, C, 2, 3, 2), (0, C, 3)], ids=str)
def test_any_rank(shape: tuple[int, ...]):
    vq = make("plain").eval()
    z = torch.randn(shape)
    z_q, misc = vq(z)
    assert z_q.shape == shape
    assert misc["q"].shape == (shape[0], *shape[2:], 1)
    rows = z.movedim(1, -1).reshape(-1, C)
    assert torch.equal(vq(rows)[1]["q"].flatten(), misc["q"].flatten())


# --- loss and gradients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.25, 0.95, 1.0])
def test_beta_is_the_share_of_the_codes(beta: float):
    torch.manual_seed(0)
    vq = VectorQuantize(C, K, beta=beta)
    z = torch.randn(50, C, requires_grad=True)
    loss = vq(z)[1]["loss"]
    codes = vq.vq.codebook.detach().requires_grad_()
    code = codes[vq.encode(z)[:, 0]]
    expected = (1 - beta) * (z - code.detach()).square().mean() + beta * (z.detach() - code).square().mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    wanted = torch.autograd.grad(expected, (z, codes))
    torch.testing.assert_close(z.grad, wanted[0])
    got = vq.vq.book.vectors.grad
    torch.testing.assert_close(torch.zeros_like(codes) if got is None else got[0], wanted[1])


@pytest.mark.parametrize("nu", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("groups", [1, 4])
def test_the_encoder_gets_its_gradient_once_and_the_codes_nu_times(nu: float, groups: int):
    torch.manual_seed(0)
    vq = VectorQuantize(C, K, sync_nu=nu, groups=groups, beta=0.0)
    z, weights = torch.randn(6, C, requires_grad=True), torch.randn(6, C)
    z_q, misc = vq(z)
    (z_q * weights).sum().backward()
    assert torch.equal(z.grad, weights)
    expected = torch.zeros(K, C // groups).index_add_(0, misc["q"].flatten(), nu * weights.reshape(-1, C // groups))
    got = vq.vq.book.vectors.grad
    torch.testing.assert_close(torch.zeros_like(expected) if got is None else got[0], expected)


def test_the_codes_in_misc_carry_their_gradient():
    vq = make("groups")
    misc = vq(batch("groups"))[1]
    misc["z_q"].sum().backward()
    hits = torch.bincount(misc["q"].flatten(), minlength=K)
    torch.testing.assert_close(vq.vq.book.vectors.grad[0], hits[:, None].expand(-1, C // 4).float())


def test_a_kept_norm_has_the_gradient_of_a_product():
    """|z|·e with e straight through ẑ: what is along the sphere goes through once, what is along z as e has it."""
    vq = make("cosine_norm_kept")
    z, weights = torch.randn(6, C, requires_grad=True), torch.randn(6, C)
    z_q, misc = vq(z)
    (z_q * weights).sum().backward()
    ray, code = nn.functional.normalize(z.detach(), dim=1), vq.vq.codebook[misc["q"][:, 0]].detach()
    along = (weights * ray).sum(1, keepdim=True)
    torch.testing.assert_close(z.grad, weights - along * ray + (weights * code).sum(1, keepdim=True) * ray)


def test_an_in_place_step_moves_the_codes_before_the_lookup():
    torch.manual_seed(0)
    vq = VectorQuantize(C, K, inplace_optimizer=partial(torch.optim.SGD, lr=10.0), beta=1.0)
    z, before = torch.randn(40, C), vq.vq.codebook
    z_q, misc = vq(z)
    codes = before.clone().requires_grad_()
    (codes[misc["q"][:, 0]] - z).square().mean().backward()
    torch.testing.assert_close(vq.vq.codebook, before - 10 * codes.grad, rtol=1e-4, atol=1e-5)
    assert torch.equal(z_q, vq.vq.codebook[misc["q"][:, 0]])
    torch.testing.assert_close(misc["loss"], (z - z_q).square().mean())


def test_gradients_to_the_codes_can_be_shut_off():
    vq = make("plain")
    assert vq.requires_grad
    vq.set_requires_grad(False)
    assert not vq.requires_grad
    vq(torch.randn(5, C, requires_grad=True))[1]["loss"].backward()
    assert vq.vq.book.vectors.grad is None
    in_place = make("in_place")
    in_place.set_requires_grad(True)
    assert not in_place.requires_grad


# --- options ----------------------------------------------------------------------------------------------------------


def test_groups_apart_count_on():
    vq = trained("groups_apart").eval()
    q = vq(batch("groups_apart"))[1]["q"]
    assert torch.equal(q // (K // 4), torch.arange(4).expand_as(q))
    assert vq.vq.codebook.shape == (4, K // 4, C // 4)
    assert not vq.decode(torch.full_like(q, -1)).any()


@pytest.mark.parametrize("wrong", [0, 3, 8, K, -2])
def test_an_index_of_another_group_is_named(wrong: int):
    vq = make("groups_apart")
    q = torch.tensor([[0, wrong, 8, 12]])
    with pytest.raises(CodeIndexError, match=str(wrong)):
        vq.decode(q)


def test_perplexity_is_that_of_the_batch():
    vq = make("plain").eval()
    vq.vq.codebook = torch.eye(K, C)
    misc = vq(torch.eye(K, C)[:4].repeat(3, 1))[1]
    assert misc["perplexity"].item() == pytest.approx(4)
    assert make("groups_apart")(batch("groups_apart"))[1]["perplexity"] <= K


def test_unused_codes_become_vectors_of_the_batch():
    torch.manual_seed(0)
    vq = VectorQuantize(C, K, replace_freq=3)
    z = 100 + torch.randn(60, C)
    for _ in range(5):
        misc = vq(z)[1]
    assert misc["perplexity"] > 5
    with_none = VectorQuantize(C, K, replace_freq=None)
    assert with_none.vq.book.revive is None


@pytest.mark.parametrize(("cb_norm", "longest"), [("l2", 1.0), ("l2c", 10.0)])
def test_cb_norm_means_what_norm_means(cb_norm: str, longest: float):
    """In the original the two names are swapped for codes."""
    vq = VectorQuantize(C, K, cb_norm=cb_norm)
    vq.vq.codebook = 30 * torch.randn(K, C)
    torch.testing.assert_close(vq.vq.codebook.norm(dim=1), torch.full((K,), longest))
    vq.vq.codebook = torch.full((K, C), 0.5 / C**0.5)
    torch.testing.assert_close(vq.vq.codebook.norm(dim=1), torch.full((K,), 1.0 if cb_norm == "l2" else 0.5))


@pytest.mark.parametrize(("norm", "length"), [("l2", 1.0), ("l2c", 10.0)])
def test_the_norm_is_of_each_group(norm: str, length: float):
    vq = VectorQuantize(C, K, norm=norm, groups=4)
    z = vq(100 * torch.randn(5, C))[1]["z"]
    torch.testing.assert_close(z.norm(dim=-1), torch.full((5, 4), length))


def test_a_short_vector_is_not_capped_nor_its_gradient():
    x = torch.randn(5, C, requires_grad=True)
    with torch.no_grad():
        x[0] = 0
    weights = torch.randn(5, C)
    (capped(x) * weights).sum().backward()
    assert torch.equal(capped(x), x)
    assert torch.equal(x.grad, weights)


def test_channel_norms_are_torchs():
    z = torch.randn(3, C, 4, 5)
    for norm, reference in (
        ("bn", nn.BatchNorm2d(C)),
        ("gn", nn.GroupNorm(32, C, eps=1e-6)),
        ("in", nn.InstanceNorm2d(C)),
    ):
        vq = VectorQuantize(C, K, norm=norm)
        torch.testing.assert_close(vq.norm_layer(z), reference(z))
        moved = VectorQuantize(C, K, norm=norm, dim=-1).norm_layer(z.movedim(1, -1)).movedim(-1, 1)
        torch.testing.assert_close(moved, reference(z))


def test_none_is_no_norm():
    vq, z = VectorQuant(feature_size=C, num_codes=K, norm=None, cb_norm=None), torch.randn(3, C)
    assert torch.equal(vq(z=z)[1]["z"][:, 0], z)


def test_kmeans_keeps_the_number_of_codes():
    """The original's codebook shrinks when the batch has fewer vectors than codes; here that is an error."""
    vq = make("kmeans")
    vq(torch.randn(3 * K + 1, C))
    assert vq.vq.codebook.shape == (K, C)
    with pytest.raises(ArgumentError, match="k-means needs at least 16 rows"):
        make("kmeans")(torch.randn(K - 1, C))


def test_names_of_the_source():
    assert VectorQuant(C, K)(torch.randn(2, C, 3))[1]["q"].shape == (2, 3, 1)
    group = GroupVectorQuant(C, K, 4, share=False, dim=-1)
    loss = group(torch.randn(2, 3, C))[1]["loss"]
    assert loss.shape == ()  # the original does not reduce it here
    assert (group.groups, group.share, group.dim) == (4, False, -1)


# --- no_vq ------------------------------------------------------------------------------------------------------------


def test_no_vq_returns_what_came_in_and_restores_what_was():
    model = nn.Sequential(nn.Conv2d(3, C, 1), VectorQuantize(C, K), nn.ModuleList([VectorQuantize(C, K, norm="l2")]))
    layers = get_vq_layers(model)
    assert [is_vq(m) for m in (model, *layers)] == [False, True, True]
    layers[0].enabled = False
    z = torch.randn(2, C, 3)

    def run() -> None:
        with no_vq(model):
            assert not any(layer.enabled for layer in layers)
            with no_vq([layers[1]]):
                pass
            out, misc = layers[1](z)
            assert misc == {}
            torch.testing.assert_close(out.norm(dim=1), torch.ones(2, 3))
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert [layer.enabled for layer in layers] == [False, True]


def test_no_vq_leaves_other_modules_alone():
    inside, outside = VectorQuantize(C, K), VectorQuantize(C, K)
    with no_vq(inside):
        assert outside(torch.randn(2, C))[1]
        assert not inside(torch.randn(2, C))[1]


# --- pools ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [{}, {"dilation": 2}, {"kernel_size": 2, "stride": 1, "padding": 0}], ids=str)
@pytest.mark.parametrize("soft", [False, True])
def test_pools(soft: bool, window: dict[str, int]):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 6, requires_grad=True)
    pooled = (SoftMaxVecPool2d if soft else MaxVecPool2d)(**window)(x)
    k, stride = window.get("kernel_size", 3), window.get("stride", 2)
    padding, dilation = window.get("padding", 2), window.get("dilation", 1)
    padded = nn.functional.pad(x.detach(), (padding,) * 4)
    # torch's own pooling of a map decides the size
    like = nn.functional.max_pool2d(padded, k, stride, 0, dilation)
    assert pooled.shape == like.shape
    for row in range(like.shape[2]):
        for column in range(like.shape[3]):
            top, left = row * stride, column * stride
            span = dilation * (k - 1) + 1
            vectors = padded[:, :, top : top + span : dilation, left : left + span : dilation].flatten(2)
            lengths = vectors.norm(dim=1)
            one_hot = nn.functional.one_hot(lengths.argmax(1), k * k).float()
            weights = lengths.softmax(1) if soft else one_hot
            torch.testing.assert_close(pooled[:, :, row, column].detach(), torch.einsum("bck,bk->bc", vectors, weights))
    pooled.sum().backward()
    assert torch.isfinite(x.grad).all()


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"feature_size": 0}, "feature_size"),
        ({"num_codes": 2.0}, "num_codes"),
        ({"dist": "l1"}, "dist: expected one of 'euclidean', 'cosine'"),
        ({"beta": 1.5}, r"beta: expected a number in \[0, 1\]"),
        ({"sync_nu": -1}, "sync_nu"),
        ({"sync_nu": 0.5, "inplace_optimizer": SGD}, "sync_nu: expected 0 beside inplace_optimizer"),
        ({"affine_lr": -1.0}, "affine_lr"),
        ({"affine_lr": 1.0, "use_running_statistics": True}, "affine_lr"),
        ({"affine_lr": 1.0, "affine_groups": 3}, "groups: expected a divisor of the 16 codes"),
        ({"affine_lr": 1.0, "dist": "cosine"}, "dist"),
        ({"cb_norm": "l2c", "dist": "cosine"}, "dist"),
        ({"replace_freq": -1}, "replace_freq"),
        ({"norm": "layer"}, "norm: expected one of"),
        ({"norm": "gn", "feature_size": 12}, "norm: expected another than 'gn'"),
        ({"cb_norm": "bn"}, "cb_norm: expected one of"),
        ({"groups": 5}, "groups: expected a divisor of the 32 features"),
        ({"groups": 4, "num_codes": 18, "share": False}, "num_codes: expected a multiple of the 4 groups"),
        ({"code_vector_size": 8}, "code_vector_size: expected 32"),
        ({"vector_normalize": True}, "vector_normalize"),
        ({"dim": "channels"}, "dim: expected an int"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_options(options: dict[str, Any], match: str):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        VectorQuantize(**{"feature_size": C, "num_codes": K, **options})
    assert isinstance(caught.value, VqkitError)


@pytest.mark.parametrize(
    ("z", "match"),
    [
        (torch.zeros(2, C + 1), "z: expected 32 channels along axis 1"),
        (torch.zeros(C), "z: expected 32 channels along axis 1"),
        (torch.zeros(2, C).long(), "z: expected a floating-point tensor"),
        (None, "z: expected a torch.Tensor"),
    ],
)
@pytest.mark.parametrize("norm", ["none", "l2", "bn"])
def test_bad_inputs(z: Any, match: str, norm: str):
    vq = VectorQuantize(C, K, norm=norm)
    for call in (vq, vq.encode):
        with pytest.raises((ValueError, TypeError), match=match):
            call(z)


def test_a_pool_wants_images():
    with pytest.raises(ArgumentError, match=r"x: expected shape \(B, C, H, W\)"):
        MaxVecPool2d()(torch.zeros(3, 4, 5))


@pytest.mark.parametrize("name", ["plain", "groups_cosine_norm_kept", "l2c", "sync", "replace"])
@pytest.mark.parametrize("training", [True, False])
def test_a_forward_is_one_graph(name: str, training: bool):
    vq = trained(name).train(training)
    expected = copy.deepcopy(vq)(batch(name))
    torch.compiler.reset()  # of other modules' numbers, which would else become symbols
    z_q, misc = torch.compile(vq, fullgraph=True, backend="eager")(batch(name))
    torch.testing.assert_close(z_q, expected[0])
    assert torch.equal(misc["q"], expected[1]["q"])
