"""The other classes of vector-quantize-pytorch 1.32: saved after some training, loaded from a file and from a state
dict, the same indices and outputs here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import vector_quantize_pytorch as peer
from torch import Tensor, nn

from vqkit import interop
from vqkit.errors import ArgumentError, CheckpointError
from vqkit.quantizers import build

VQP = "vector-quantize-pytorch"
ROWS, IMAGE = (2, 50, 12), (2, 12, 5, 6)


@dataclass(frozen=True)
class Source:
    """A class of the peer: its arguments, the options that loading takes, and what an input looks like.

    named: its weights do not tell what it is, so the kind is given. decodes: its own decode gives what forward gave.
    """

    kind: str
    arguments: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ROWS
    named: bool = False
    decodes: bool = True

    @property
    def given(self) -> str | None:
        return f"{VQP} {self.kind}" if self.named else None

    def trained(self, steps: int = 3) -> Any:
        torch.manual_seed(0)
        module = getattr(peer, self.kind)(**self.arguments)
        parameters = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.1) if parameters else None
        for _ in range(steps):
            out = module(torch.randn(self.shape))
            loss = out[0].square().mean() + sum(part.sum() for part in out[2:3] if isinstance(part, Tensor))
            if optimizer is not None and loss.requires_grad:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return module.eval()


FSQ_LEVELS, DIM = [8, 5, 4, 3], 12


def fsq(shape: tuple[int, ...] = ROWS, *, kind: str = "FSQ", **arguments: Any) -> Source:
    """Options that no weight tells are those of the source again; what a projection tells may be left out."""
    told = ("dim", "projection_has_bias", "orthogonal_rotation", *(("num_codebooks",) if "dim" in arguments else ()))
    arguments = {"levels": FSQ_LEVELS, **arguments}
    return Source(kind, arguments, {k: v for k, v in arguments.items() if k not in told}, shape, named=True)


def residual(kind: str, shape: tuple[int, ...] = ROWS, decodes: bool = True, **arguments: Any) -> Source:
    scalar = "FSQ" in kind
    own = {"levels": [5, 4, 3], "num_quantizers": 3} if scalar else {"codebook_size": 16, "num_quantizers": 3}
    told = ("dim", "groups", "orthogonal_rotation", *(() if scalar else own))
    arguments = own | arguments
    options = {k: v for k, v in arguments.items() if k not in told}
    if arguments.get("orthogonal_rotation") and scalar:
        del options["num_quantizers"]  # which the rotations tell
    return Source(kind, arguments, options, shape, named=scalar, decodes=decodes)


def lfq(shape: tuple[int, ...] = ROWS, **arguments: Any) -> Source:
    told = ("dim", "codebook_size", "has_projections", "projection_has_bias", "orthogonal_rotation")
    options = {k: v for k, v in arguments.items() if k not in told}
    return Source("LFQ", arguments, options, shape)


def sim(kind: str, shape: tuple[int, ...] = ROWS, **arguments: Any) -> Source:
    told = ("frozen_codebook_dim", "num_quantizers")
    options = {k: v for k, v in arguments.items() if k not in told}
    return Source(kind, {"dim": 12, "codebook_size": 20, **arguments}, options, shape)


SOURCES: dict[str, Source] = {
    "fsq": fsq((2, 50, 4)),
    "fsq_codebooks": fsq(num_codebooks=3),
    "fsq_projected": fsq(dim=DIM, num_codebooks=2),
    "fsq_unbiased": fsq(dim=DIM, projection_has_bias=False),
    "fsq_symmetric": fsq(dim=DIM, levels=[2, 4, 5], preserve_symmetry=True, noise_dropout=0.5),
    "fsq_clamped": fsq(num_codebooks=3, bound_hard_clamp=True),
    "fsq_rotated": fsq(levels=[5, 5, 5], num_codebooks=4, orthogonal_rotation=True),
    "fsq_image": fsq(IMAGE, dim=DIM),
    "fsq_channel_first": fsq((2, 12, 50), dim=DIM, channel_first=True, keep_num_codebooks_dim=True),
    "residual_fsq": residual("ResidualFSQ", (2, 50, 3)),
    "residual_fsq_projected": residual("ResidualFSQ", dim=DIM, num_quantizers=5),
    "residual_fsq_rotated": residual("ResidualFSQ", dim=DIM, levels=[4, 4, 4], orthogonal_rotation=True, decodes=False),
    "residual_fsq_clamped": residual("ResidualFSQ", dim=DIM, bound_hard_clamp=False, soft_clamp_input_value=2.0),
    "residual_fsq_dropout": residual("ResidualFSQ", dim=DIM, quantize_dropout=True),
    "grouped_residual_fsq": residual("GroupedResidualFSQ", dim=DIM, groups=2),
    "grouped_residual_fsq_rotated": residual(
        "GroupedResidualFSQ", dim=DIM, groups=3, levels=[5, 5], orthogonal_rotation=True, decodes=False
    ),
    "fsp": fsq((2, 50, 4), kind="FSP"),
    "fsp_projected": fsq(kind="FSP", dim=DIM, quantize_rate=0.5, act_name="sigmoid", vector_norm="kurt"),
    "fsp_unbiased": fsq(kind="FSP", dim=DIM, projection_has_bias=False, act_name="normal", need_inv_act=True),
    "fsp_channel_first": fsq(IMAGE, kind="FSP", dim=DIM, channel_first=True, act_name="laplace"),
    "lfq": lfq(dim=DIM),
    "lfq_codebooks": lfq(codebook_size=16, num_codebooks=3),
    "lfq_projected": lfq(dim=DIM, codebook_size=16, num_codebooks=2),
    "lfq_unbiased": lfq(dim=DIM, codebook_size=16, projection_has_bias=False),
    "lfq_square": lfq(dim=DIM, has_projections=True),
    "lfq_cosine": lfq(dim=DIM, codebook_size=16, cosine_sim_project_in=True, cosine_sim_project_in_scale=1.5),
    "lfq_cosine_square": lfq(dim=DIM, has_projections=True, cosine_sim_project_in=True),
    "lfq_spherical": lfq(dim=DIM, codebook_size=16, spherical=True, codebook_scale=2.0),
    "lfq_rotated": lfq(dim=DIM, codebook_size=16, orthogonal_rotation=True, soft_clamp_input_value=3.0),
    "lfq_commitment": lfq(dim=DIM, commitment_loss_weight=0.25, entropy_loss_weight=0.0, diversity_gamma=2.0),
    "lfq_image": lfq(IMAGE, dim=DIM, codebook_size=16),
    "lfq_image_last": lfq((2, 50, 12), dim=DIM, codebook_size=16, channel_first=False, keep_num_codebooks_dim=True),
    "residual_lfq": residual("ResidualLFQ", dim=DIM, codebook_size=2**DIM),
    "residual_lfq_image": residual("ResidualLFQ", IMAGE, dim=DIM, codebook_size=2**DIM, decodes=False),
    "residual_lfq_projected": residual("ResidualLFQ", dim=DIM, soft_clamp_input_value=2.0),
    "residual_lfq_spherical": residual("ResidualLFQ", dim=DIM, spherical=True, decodes=False),
    "residual_lfq_rotated": residual("ResidualLFQ", dim=DIM, orthogonal_rotation=True, decodes=False),
    "grouped_residual_lfq": residual("GroupedResidualLFQ", dim=DIM, groups=2, num_quantizers=4),
    "latent": Source("LatentQuantize", {"levels": [5, 8, 4], "dim": 3}, shape=(2, 3, 50)),
    "latent_projected": Source("LatentQuantize", {"levels": [5, 8, 4], "dim": 12, "num_codebooks": 2}, shape=IMAGE),
    "latent_codebooks": Source(
        "LatentQuantize", {"levels": [5, 8], "dim": 4, "num_codebooks": 2}, {"num_codebooks": 2}, (2, 4, 5, 6)
    ),
    "latent_one_number": Source("LatentQuantize", {"levels": 5, "dim": 12, "codebook_dim": 3}, shape=(2, 12, 4, 3, 2)),
    "latent_fixed": Source(
        "LatentQuantize",
        {"levels": [5, 4], "dim": 12, "optimize_values": False},
        {"levels": [5, 4]},
        IMAGE,
        named=True,
    ),
    "sim": sim("SimVQ"),
    "sim_narrow": sim("SimVQ", frozen_codebook_dim=5, rotation_trick=False, commitment_weight=2.0),
    "sim_channel_first": sim("SimVQ", IMAGE, channel_first=True),
    "residual_sim": sim("ResidualSimVQ", num_quantizers=4),
    "residual_sim_narrow": sim("ResidualSimVQ", num_quantizers=3, frozen_codebook_dim=5, rotation_trick=False),
    "residual_sim_channel_first": sim("ResidualSimVQ", IMAGE, num_quantizers=3, channel_first=True),
    "residual_sim_dropout": sim("ResidualSimVQ", num_quantizers=3, quantize_dropout=True),
}


def saved(module: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(module.state_dict())


@pytest.fixture(params=SOURCES, ids=str)
def source(request: pytest.FixtureRequest) -> Source:
    return SOURCES[request.param]


def test_the_same_indices_and_outputs(source: Source, tmp_path: Path):
    module = source.trained()
    torch.save(module.state_dict(), tmp_path / "peer.pt")
    loaded = interop.load(tmp_path / "peer.pt", source.given, **source.options)
    x = torch.randn(source.shape, generator=torch.Generator().manual_seed(5))
    expected, indices, *_ = module(x)
    out = loaded(x)
    assert not loaded.training
    assert torch.equal(out.indices, indices.long())
    torch.testing.assert_close(out.quantized, expected, rtol=1e-5, atol=2e-6)
    assert torch.equal(loaded.decode(out.indices), out.quantized)
    again = interop.load(module.state_dict(), source.given, **source.options)
    assert torch.equal(again(x).quantized, out.quantized)


def test_the_peers_decode_gives_the_same_or_is_wrong(source: Source):
    """Where it is wrong there, decode gives what forward gave here (``docs/interop.md``)."""
    module = source.trained()
    x = torch.randn(source.shape)
    expected, indices, *_ = module(x)
    decode = getattr(module, "get_output_from_indices", None) or module.indices_to_codes
    own = decode(indices)
    if source.decodes:
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
    else:
        assert own.shape != expected.shape or not torch.allclose(own, expected, atol=1e-2)
    decoded = interop.load(saved(module), source.given, **source.options).decode(indices.long())
    torch.testing.assert_close(decoded, expected, rtol=1e-4, atol=1e-5)


def test_what_is_loaded_says_how_to_build_it_again(source: Source):
    loaded = interop.load(saved(source.trained()), source.given, **source.options)
    rebuilt = build(loaded.config)
    rebuilt.load_state_dict(loaded.state_dict())
    x = torch.randn(source.shape)
    assert torch.equal(rebuilt.eval()(x).quantized, loaded(x).quantized)


def test_options_may_repeat_what_the_weights_tell(source: Source):
    """So the arguments that the source was made with do."""
    loaded = interop.load(saved(source.trained()), source.given, **source.arguments)
    x = torch.randn(source.shape)
    plain = interop.load(saved(source.trained()), source.given, **source.options)
    assert torch.equal(loaded(x).indices, plain(x).indices)


def test_every_tensor_is_needed_and_no_other(source: Source):
    state = saved(source.trained())
    with pytest.raises(CheckpointError, match=r"no place in vqkit for surplus\.weight"):
        interop.load({**state, "surplus.weight": torch.zeros(1)}, source.given, **source.options)
    for name in state:
        left = {key: value for key, value in state.items() if key != name}
        if left and "bias" not in name:
            with pytest.raises((CheckpointError, ArgumentError)):
                interop.load(left, source.given, **{**source.arguments, **source.options})


# --- images, of which the peer says several things --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ResidualFSQ", "GroupedResidualFSQ", "GroupedResidualLFQ"])
def test_channels_first(kind: str):
    """There a channel-first ``ResidualFSQ`` gives indices (B, Q, ...), which it cannot decode; here stages are last."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"dim": 12, "num_quantizers": 3}
    arguments |= {"levels": [5, 4, 3], "is_channel_first": True} if "FSQ" in kind else {"codebook_size": 64}
    arguments |= {"groups": 2, "accept_image_fmap": True} if "Grouped" in kind else {}
    module = getattr(peer, kind)(**arguments).eval()
    loaded = interop.load(saved(module), f"{VQP} {kind}", **arguments)
    x = torch.randn(IMAGE)
    expected, indices, *_ = module(x)
    out = loaded(x)
    torch.testing.assert_close(out.quantized, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(loaded.decode(out.indices), out.quantized)
    first = indices.ndim - 3 if "FSQ" in kind else -1
    assert torch.equal(out.indices, indices.movedim(first, -1).long())


# --- values that moved, maps of the caller's own ----------------------------------------------------------------------


def test_latent_values_that_moved():
    """There indices and decode go on as if they had not: outputs are the same, indices and decode are right here."""
    module = peer.LatentQuantize([5, 8, 4], 3)
    with torch.no_grad():
        for values in module.values_per_latent:
            values.mul_(1.7).add_(0.1 * torch.randn(len(values), generator=torch.Generator().manual_seed(0)))
    loaded = interop.load(saved(module))
    x = torch.randn(2, 3, 50)
    expected, indices, _ = module.eval()(x)
    out = loaded(x)
    torch.testing.assert_close(out.quantized, expected)
    assert torch.equal(loaded.decode(out.indices), out.quantized)
    assert not torch.allclose(module.indices_to_codes(indices), expected, atol=1e-2)


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 12))


def test_sim_vq_with_a_transform_of_the_callers():
    torch.manual_seed(0)
    module = peer.SimVQ(12, 20, codebook_transform=_mlp(), frozen_codebook_dim=6).eval()
    x = torch.randn(ROWS)
    expected, indices, _ = module(x)
    out = interop.load(saved(module), codebook_transform=_mlp(), dim=12)(x)
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.quantized, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ArgumentError, match="dim: expected that of the source"):
        interop.load(saved(module), codebook_transform=_mlp())
    with pytest.raises(CheckpointError, match=r"missing code_transform\.weight"):
        interop.load(saved(module))


def test_a_stage_of_sim_vq_with_a_transform_of_the_callers_is_named():
    module = peer.ResidualSimVQ(
        dim=12, num_quantizers=2, codebook_size=20, codebook_transform=_mlp(), frozen_codebook_dim=6
    )
    with pytest.raises(CheckpointError, match=r"missing layers\.0\.code_transform\.weight"):
        interop.load(saved(module))


# --- no weights -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("FSQ", {"levels": [8, 5, 5]}),
        ("ResidualFSQ", {"levels": [8, 5, 5], "num_quantizers": 2}),
        ("GroupedResidualFSQ", {"levels": [8, 5, 5], "num_quantizers": 2, "dim": 6, "groups": 2}),
        ("FSP", {"levels": [8, 5, 5]}),
        ("BinaryMapper", {"bits": 4, "deterministic_on_eval": True}),
    ],
)
def test_those_that_may_have_no_weights(kind: str, arguments: dict[str, Any], tmp_path: Path):
    module = getattr(peer, kind)(**arguments).eval()
    assert not module.state_dict()
    torch.save(module.state_dict(), tmp_path / "peer.pt")
    loaded = interop.load(tmp_path / "peer.pt", f"{VQP} {kind}", **arguments)
    x = torch.randn(2, 40, arguments.get("dim", arguments.get("bits", 3)))
    torch.testing.assert_close(loaded(x)[0], module(x)[0])
    with pytest.raises(CheckpointError, match="expected a state dict"):
        interop.load({})
    if kind != "BinaryMapper":  # of which bits is one where it is left out
        groups = {"groups": 2} if "Grouped" in kind else {}
        with pytest.raises(ArgumentError, match="levels: expected that of the source, since no weight tells it, got"):
            interop.load({}, f"{VQP} {kind}", **groups)


# --- random projections -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("num_codebooks", [1, 4])
def test_random_projection(num_codebooks: int, norm: bool):
    """Its several codebooks have a trainable projection with offsets behind the random ones; labels stay the same."""
    torch.manual_seed(0)
    arguments = {"dim": 20, "codebook_size": 50, "codebook_dim": 6, "num_codebooks": num_codebooks, "norm": norm}
    module = peer.RandomProjectionQuantizer(**arguments)
    loaded = interop.load(saved(module), norm=norm)
    x = torch.randn(2, 200, 20) * 3 + 1
    assert torch.equal(loaded(x), module(x))
    assert torch.equal(interop.load(saved(module), **arguments)(x), module(x))
    assert not list(loaded.parameters())
    rebuilt = build(loaded.config)
    rebuilt.load_state_dict(loaded.state_dict())
    assert torch.equal(rebuilt(x), loaded(x))


def test_random_projections_that_do_not_fit():
    state = saved(peer.RandomProjectionQuantizer(dim=20, codebook_size=50, codebook_dim=6, num_codebooks=2))
    with pytest.raises(
        CheckpointError, match=r"vq\.project_in\.weight has shape \(24, 12\), expected shape \(24, 10\)"
    ):
        interop.load({**state, "rand_projs": torch.zeros(2, 20, 5)})
    one = saved(peer.RandomProjectionQuantizer(dim=20, codebook_size=50, codebook_dim=6))
    with pytest.raises(
        CheckpointError, match=r"rand_projs as matrices has shape \(3, 20, 6\), expected shape \(1, 20, 6\)"
    ):
        interop.load({**one, "rand_projs": torch.zeros(3, 20, 6)})


def test_random_projection_whose_codes_are_not_there_yet():
    module = peer.RandomProjectionQuantizer(dim=20, codebook_size=50, codebook_dim=6, kmeans_init=True)
    with pytest.raises(CheckpointError, match=r"vq\._codebook\.initted is false"):
        interop.load(module.state_dict())


# --- a pyramid --------------------------------------------------------------------------------------------------------

PYRAMIDS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "image": ({"scales": (1, 2, 4), "accept_image_fmap": True}, (4, 4)),
    "own_phis": ({"scales": (1, 2, 3, 4), "accept_image_fmap": True, "share_quant_resi": -1}, (4, 4)),
    "some_phis": ({"scales": (1, 2, 3, 4), "accept_image_fmap": True, "share_quant_resi": 2}, (4, 4)),
    "phis_elsewhere": ({"scales": (1, 2, 3, 4, 5, 6), "accept_image_fmap": True, "share_quant_resi": 4}, (6, 6)),
    "own_tables": (
        {"scales": (1, 3, 5), "accept_image_fmap": True, "shared_codebook": False, "quant_resi": 0.3},
        (5, 5),
    ),
    "own_sizes": (
        {"scales": (1, 3, 5), "accept_image_fmap": True, "shared_codebook": False, "codebook_size": (8, 16, 24)},
        (5, 5),
    ),
    "sequence": ({"scales": (1, 4, 9), "threshold_ema_dead_code": 0}, (9,)),
    "volume": ({"scales": (1, 2, (2, 3, 4)), "accept_3d_fmap": True, "quant_resi": 0.0}, (2, 3, 4)),
    "one_scale": ({"scales": (4,), "accept_image_fmap": True, "share_quant_resi": 0}, (4, 4)),
    "channels_last": ({"scales": (1, 2, 4), "accept_image_fmap": True, "channel_first": False}, (4, 4)),
}
PYRAMID_OPTIONS = ("scales", "quant_resi", "channel_first", "threshold_ema_dead_code")


@pytest.mark.parametrize("name", PYRAMIDS)
def test_hierarchical(name: str):
    torch.manual_seed(0)
    given, size = PYRAMIDS[name]
    arguments = {"dim": 6, "codebook_size": 24, **given}
    module = peer.HierarchicalVQ(**arguments)

    def batch() -> Tensor:
        x = torch.randn(6, 6, *size)
        return x.movedim(1, -1) if given.get("channel_first") is False else x

    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    for _ in range(4):
        quantized, _, loss = module(batch())
        optimizer.zero_grad()
        (quantized.square().mean() + loss).backward()
        optimizer.step()
    loaded = interop.load(saved(module), **{k: v for k, v in given.items() if k in PYRAMID_OPTIONS})
    x = batch()
    expected, indices, _ = module.eval()(x)
    out = loaded(x)
    assert all(torch.equal(mine, other) for mine, other in zip(loaded.split(out.indices), indices, strict=True))
    torch.testing.assert_close(out.quantized, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(loaded.decode(out.indices), out.quantized)
    again = interop.load(saved(module), **arguments)
    assert torch.equal(again(x).quantized, out.quantized)


# --- what only the caller knows ---------------------------------------------------------------------------------------


def _state(kind: str, **arguments: Any) -> dict[str, Tensor]:
    return saved(getattr(peer, kind)(**arguments))


FSQ_STATE = {"levels": [5, 5, 5], "dim": 12}
PYRAMID = {"dim": 6, "codebook_size": 8, "scales": (1, 2), "accept_image_fmap": True}
BAD: list[tuple[str, Callable[[], dict[str, Tensor]], dict[str, Any], str]] = [
    ("FSQ", lambda: _state("FSQ", **FSQ_STATE), {}, "levels: expected that of the source"),
    ("FSQ", lambda: _state("FSQ", **FSQ_STATE), {"levels": 5}, "levels"),
    (
        "FSQ",
        lambda: _state("FSQ", **FSQ_STATE),
        {"levels": [5, 5]},
        r"project_in\.weight has shape \(3, 12\), expected",
    ),
    ("FSQ", lambda: _state("FSQ", **FSQ_STATE), {"levels": [5, 5, 5], "dim": 9}, "dim: expected 12, as the weights"),
    ("FSQ", dict, {"levels": [5, 5], "dim": 9}, r"missing project_in\.weight"),
    ("ResidualFSQ", dict, {"levels": [5, 5]}, "num_quantizers: expected that of the source"),
    (
        "ResidualFSQ",
        dict,
        {"levels": [5, 5], "num_quantizers": 2, "bound_hard_clamp": False},
        "soft_clamp_input_value: expected a number beside bound_hard_clamp=False",
    ),
    ("GroupedResidualFSQ", dict, {"levels": [5, 5], "num_quantizers": 2}, "groups: expected that of the source"),
    (
        "GroupedResidualFSQ",
        lambda: _state("GroupedResidualFSQ", dim=12, groups=2, num_quantizers=2, levels=[5, 5]),
        {"levels": [5, 5], "num_quantizers": 2, "groups": 3},
        "groups: expected 2, as the weights have it",
    ),
    (
        "ResidualFSQ",
        lambda: _state("ResidualFSQ", levels=[5, 4], num_quantizers=2, orthogonal_rotation=True),
        {"levels": [5, 4]},
        "levels: expected one number of levels for all coordinates, where they are rotated",
    ),
    ("FSP", dict, {}, "levels: expected that of the source"),
    (
        "LatentQuantize",
        lambda: _state("LatentQuantize", levels=[5, 4], dim=12, optimize_values=False),
        {},
        "levels: expected that of the source",
    ),
    (
        "LatentQuantize",
        lambda: _state("LatentQuantize", levels=[5, 4], dim=12),
        {"levels": [5, 5]},
        r"levels: expected \[5, 4\]",
    ),
    ("LFQ", lambda: _state("LFQ", dim=12, codebook_size=16), {"codebook_size": 8}, "codebook_size: expected 16"),
    ("LFQ", lambda: _state("LFQ", dim=12, codebook_size=16), {"num_codebooks": 2}, "num_codebooks: expected 1"),
    (
        "ResidualLFQ",
        lambda: _state("ResidualLFQ", dim=12, codebook_size=16, num_quantizers=2),
        {"num_quantizers": 3},
        "num_quantizers: expected 2",
    ),
    ("HierarchicalVQ", lambda: _state("HierarchicalVQ", **PYRAMID), {}, "scales: expected that of the source"),
    ("HierarchicalVQ", lambda: _state("HierarchicalVQ", **PYRAMID), {"scales": 4}, "scales: expected a sequence"),
    (
        "HierarchicalVQ",
        lambda: _state("HierarchicalVQ", **PYRAMID),
        {"scales": (1, 2), "accept_3d_fmap": True},
        "accept_3d_fmap: expected False",
    ),
]


@pytest.mark.parametrize(("kind", "make", "options", "match"), BAD, ids=[f"{b[0]}-{b[3][:30]}" for b in BAD])
def test_what_is_missing_or_contradicts_is_named(kind: str, make: Callable, options: dict[str, Any], match: str):
    with pytest.raises((ValueError, TypeError, CheckpointError), match=match):
        interop.load(make(), f"{VQP} {kind}", **options)


def test_a_quantizer_within_a_model_and_one_of_bits_within_evolution():
    torch.manual_seed(0)
    model = peer.EvoLFQ(nn.Linear(7, 12), nn.Linear(12, 7), dim=12, codebook_size=16).eval()
    loaded = interop.load(model.state_dict(), prefix="lfq.")
    x = torch.randn(2, 30, 12)
    assert torch.equal(loaded(x).indices, model.lfq(x)[1].long())


def test_every_class_of_the_peer_has_a_kind():
    """But the two that are models around a quantizer: the prefix takes it out."""
    around: Sequence[str] = ("EvoLFQ", "Sequential")
    classes = {name for name in vars(peer) if isinstance(getattr(peer, name), type) and name not in around}
    kinds = {kind.removeprefix(VQP).strip() or "VectorQuantize" for kind in interop.checkpoints.KINDS if VQP in kind}
    assert kinds == classes
