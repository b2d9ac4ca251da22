from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from tests.functional.test_entropy import brute_force
from vqkit import LFQ
from vqkit.errors import ArgumentError, VqkitError
from vqkit.functional import unpack_bits
from vqkit.quantizers import build


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- the code ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_the_code_is_the_signs(scale: float):
    lfq, x = LFQ(dim=6, codebook_scale=scale), rows(2, 7, 6)
    x[0, 0, 0] = 0.0
    out = lfq(x)
    assert torch.equal(out.quantized, torch.where(x > 0, scale, -scale))
    assert torch.equal(unpack_bits(out.indices, 6), x > 0)


def test_it_is_the_nearest_of_all_codes():
    lfq, x = LFQ(dim=5), rows(40, 5)
    codes = lfq.decode(torch.arange(32))
    assert torch.equal(lfq.encode(x), torch.cdist(x, codes).argmin(1))


@pytest.mark.parametrize("bits", [31, 53, 62])
def test_wide_indices_are_exact(bits: int):
    lfq, x = LFQ(dim=bits, entropy_loss_weight=0.0), rows(20, bits)
    x[0], x[1] = 1.0, -1.0
    out = lfq(x)
    assert out.indices[:2].tolist() == [2**bits - 1, 0]
    assert torch.equal(lfq.indices_to_codes(out.indices), x.sign())
    assert 0 < float(lfq.usage()) <= 20 / 2**bits
    assert math.isclose(float(lfq.perplexity()), 20, rel_tol=1e-9)


def test_spherical_codes_lie_on_their_sphere():
    lfq = LFQ(dim=8, spherical=True, codebook_scale=3.0)
    quantized = lfq(rows(10, 8)).quantized
    torch.testing.assert_close(quantized.norm(dim=-1), torch.full((10,), 3.0))
    assert torch.equal(lfq.encode(rows(10, 8)), lfq.encode(100 * rows(10, 8)))


def test_a_rotation_is_turned_back():
    lfq, x = LFQ(dim=6, orthogonal_rotation=True), rows(30, 6)
    matrix = lfq.rotation.matrix
    torch.testing.assert_close(matrix @ matrix.t(), torch.eye(6), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(lfq(x).quantized, (x @ matrix).sign() @ matrix.t())
    # The rotated grid still holds the nearest code.
    codes = lfq.decode(torch.arange(64))
    assert torch.equal(lfq.encode(x), torch.cdist(x, codes).argmin(1))


def test_codebooks_are_slices_of_the_row():
    lfq, x = LFQ(codebook_size=8, num_codebooks=3), rows(4, 5, 9)
    out = lfq(x)
    single = LFQ(dim=3)
    for c in range(3):
        part = single(x[..., 3 * c : 3 * c + 3])
        assert torch.equal(out.indices[..., c], part.indices)
        assert torch.equal(out.quantized[..., 3 * c : 3 * c + 3], part.quantized)


def test_one_codebook_of_several_may_be_missing():
    lfq = LFQ(codebook_size=8, num_codebooks=2)
    values = lfq.decode(torch.tensor([[-1, 7], [0, -1]]))
    assert values.tolist() == [[0, 0, 0, 1, 1, 1], [-1, -1, -1, 0, 0, 0]]


# --- the loss ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("codebooks", [1, 3])
@pytest.mark.parametrize("spherical", [False, True])
def test_the_loss_and_its_gradient_are_those_of_the_full_softmax(mode: str, codebooks: int, spherical: bool):
    lfq = LFQ(
        codebook_size=16,
        num_codebooks=codebooks,
        codebook_scale=0.8,
        spherical=spherical,
        entropy_loss_weight=0.3,
        diversity_gamma=0.7,
        commitment_loss_weight=0.2,
    )
    getattr(lfq, mode)()
    x, mask = rows(2, 20, lfq.dim).requires_grad_(), torch.rand(2, 20, generator=torch.Generator().manual_seed(1)) > 0.3
    out = lfq(x, 5.0, return_loss_breakdown=True, mask=mask)

    exact = x.detach().double().requires_grad_()
    slices = exact[mask].reshape(-1, codebooks, 4)
    slices = 0.8 * torch.nn.functional.normalize(slices, dim=-1) if spherical else slices
    magnitude = 0.8 / 2 if spherical else 0.8
    entropies = [brute_force(slices[:, c], magnitude, 5.0) for c in range(codebooks)]
    per_sample, batch = (torch.stack(values).mean() for values in zip(*entropies, strict=True))
    commitment = (slices - magnitude * slices.detach().sign()).square().mean()
    loss = 0.3 * (per_sample - 0.7 * batch) + 0.2 * commitment

    for got, want in zip((out.loss, *out.loss_breakdown), (loss, per_sample, batch, commitment), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-6)
    expected = torch.autograd.grad(loss, exact)[0]
    torch.testing.assert_close(torch.autograd.grad(out.loss, x)[0].double(), expected, rtol=1e-4, atol=1e-6)


def test_the_weights_say_what_they_weigh():
    x = rows(2, 20, 6)
    per_sample, batch, commitment = LFQ(dim=6)(x, 1.0, return_loss_breakdown=True).loss_breakdown
    for options, expected in (
        ({}, 0.1 * (per_sample - batch)),
        ({"entropy_loss_weight": 0.5, "diversity_gamma": 2.0}, 0.5 * (per_sample - 2 * batch)),
        ({"sample_minimization_weight": 3.0, "batch_maximization_weight": 0.5}, 0.1 * (3 * per_sample - 0.5 * batch)),
        ({"diversity_gamma": 0.0}, 0.1 * per_sample),
        ({"sample_minimization_weight": 0.0}, -0.1 * batch),
        ({"entropy_loss_weight": 0.0}, torch.zeros(())),
        ({"experimental_softplus_entropy_loss": True}, 0.1 * torch.nn.functional.softplus(per_sample - batch + 5)),
    ):
        weights = {"entropy_loss_weight": 0.1, "commitment_loss_weight": 0.0, **options}
        torch.testing.assert_close(LFQ(dim=6, **weights)(x, 1.0).loss, expected, msg=str(options))
    torch.testing.assert_close(LFQ(dim=6)(x, 1.0).loss, 0.02 * (per_sample - batch) + 0.01 * commitment)


def test_the_temperature_of_a_call_is_that_of_the_constructor():
    x = rows(2, 20, 6)
    assert torch.equal(LFQ(dim=6, inv_temperature=5.0)(x).loss, LFQ(dim=6)(x, inv_temperature=5.0).loss)
    assert not torch.equal(LFQ(dim=6)(x).loss, LFQ(dim=6)(x, inv_temperature=5.0).loss)


def test_grouped_batch_entropy_is_the_sum_over_groups_and_an_upper_bound():
    x = rows(1, 50, 12)

    def batch(size: int | None, x: torch.Tensor = x) -> float:
        lfq = LFQ(dim=12, entropy_group_size=size)
        return float(lfq(x, 2.0, return_loss_breakdown=True).loss_breakdown.batch_entropy)

    parts = [brute_force(part.double(), 1.0, 2.0)[1].item() for part in x[0].split(4, 1)]
    assert math.isclose(batch(4), sum(parts), rel_tol=1e-5)
    assert batch(None) < batch(6) < batch(3) < batch(1)
    assert math.isclose(batch(12), batch(None), rel_tol=1e-6)
    # Groups that say nothing about each other: all pairs of four rows in either half.
    left, right = rows(4, 6, seed=1), rows(4, 6, seed=2)
    pairs = torch.cat([left.repeat_interleave(4, 0), right.repeat(4, 1)], 1)[None]
    assert math.isclose(batch(6, pairs), batch(None, pairs), rel_tol=1e-5)


def test_the_per_sample_entropy_does_not_depend_on_groups():
    x = rows(1, 50, 12)
    for size in (1, 4, None):
        lfq = LFQ(dim=12, entropy_group_size=size)
        value = lfq(x, 2.0, return_loss_breakdown=True).loss_breakdown.per_sample_entropy
        torch.testing.assert_close(value.double(), brute_force(x[0].double(), 1.0, 2.0)[0], rtol=1e-5, atol=0)


def test_more_bits_than_a_table_takes_are_an_explicit_choice():
    with pytest.raises(ArgumentError, match=r"entropy_group_size: expected the size of groups.*got None with 36"):
        LFQ(dim=36)
    x = rows(1, 10, 36)
    assert LFQ(dim=36, entropy_group_size=9)(x).loss < 0
    assert LFQ(dim=36, diversity_gamma=0.0)(x).loss >= 0
    assert LFQ(dim=36, entropy_loss_weight=0.0, commitment_loss_weight=0.0)(x).loss == 0


def test_a_share_of_the_rows_estimates_both_entropies():
    alone = {"dim": 6, "commitment_loss_weight": 0.0}
    lfq, x = LFQ(**alone, frac_per_sample_entropy=0.5), rows(1, 40, 6)
    torch.manual_seed(3)
    drawn = torch.randperm(40)[:20]
    torch.manual_seed(3)
    assert torch.equal(lfq(x, 1.0).loss, LFQ(**alone)(x[:, drawn], 1.0).loss)
    assert torch.equal(lfq.eval()(x, 1.0).loss, LFQ(**alone)(x, 1.0).loss)


def test_a_diverse_batch_costs_less():
    alike, spread = torch.ones(1, 16, 4), unpack_bits(torch.arange(16), 4).float()[None] * 2 - 1
    lfq = LFQ(dim=4, entropy_loss_weight=0.1)
    torch.testing.assert_close(lfq(alike, 100.0).loss, torch.tensor(0.0))
    torch.testing.assert_close(lfq(spread, 100.0).loss, torch.tensor(-0.1 * 4 * math.log(2)))


# --- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("options", [{}, {"num_codebooks": 2, "codebook_size": 8}, {"codebook_scale": 0.5}], ids=str)
def test_straight_through_is_exactly_one(mode: str, options: dict):
    lfq = LFQ(**{"dim": 6, **options})
    getattr(lfq, mode)()
    x, weights = rows(3, 5, 6).requires_grad_(), rows(3, 5, 6, seed=1)
    (lfq(x).quantized * weights).sum().backward()
    assert lfq.straight
    assert torch.equal(x.grad, weights)


BENT = {
    "activation": ({"straight_through_activation": torch.tanh}, lambda x, g, q: g * (1 - x.tanh() ** 2)),
    "soft_clamp": ({"soft_clamp_input_value": 2.0}, lambda x, g, q: g * (1 - (x / 2).tanh() ** 2)),
    "rotation": ({"orthogonal_rotation": True}, lambda x, g, q: g),
    "spherical": (
        {"spherical": True},
        lambda x, g, q: (g - x * (x * g).sum(-1, keepdim=True) / x.square().sum(-1, keepdim=True))
        / x.norm(dim=-1, keepdim=True),
    ),
}


@pytest.mark.parametrize("name", BENT)
def test_gradients_of_bent_paths(name: str):
    options, expected = BENT[name]
    lfq, x, g = LFQ(dim=6, **options), rows(3, 5, 6), rows(3, 5, 6, seed=1)
    leaf = x.clone().requires_grad_()
    out = lfq(leaf)
    (out.quantized * g).sum().backward()
    assert not lfq.straight
    torch.testing.assert_close(leaf.grad, expected(x, g, out.quantized), rtol=1e-5, atol=1e-6)


def test_who_gets_gradient():
    lfq = LFQ(dim=6, codebook_size=16)
    for source, expected in (("quantized", (True, True)), ("loss", (True, False))):
        lfq.zero_grad()
        x = rows(2, 9, 6).requires_grad_()
        getattr(lfq(x), source).square().sum().backward()
        got = [m.weight.grad is not None and bool(m.weight.grad.any()) for m in lfq.projections.children()]
        assert tuple(got) == expected, source
        assert x.grad.any()


def test_a_zero_row_on_the_sphere_has_a_code_and_no_gradient():
    lfq, x = LFQ(dim=6, spherical=True), rows(2, 6)
    x[0] = 0
    x.requires_grad_()
    out = lfq(x)
    assert out.indices[0] == 0
    (out.quantized.sum() + out.loss).backward()
    assert not x.grad[0].any()
    assert torch.isfinite(x.grad).all()


# --- the rest ------------------------------------------------------------------------------------------------------


def test_a_frozen_forward_does_not_count():
    lfq = LFQ(dim=4)
    lfq(rows(20, 4), freeze_codebook=True)
    assert float(lfq.usage()) == 0
    lfq(rows(20, 4))
    assert float(lfq.usage()) > 0


def test_the_rotation_stays_float32():
    lfq = LFQ(dim=6, codebook_size=16, orthogonal_rotation=True).half()
    assert lfq.rotation.matrix.dtype == torch.float32
    assert lfq.projections.project_in.weight.dtype == torch.float16


@pytest.mark.parametrize(
    "options",
    [
        {"dim": 6},
        {"codebook_size": 2**40, "entropy_group_size": 8, "commitment_loss_weight": 0.5},
        {"dim": 6, "codebook_size": 16, "cosine_sim_project_in": True, "channel_first": False},
        {
            "dim": 6,
            "spherical": True,
            "orthogonal_rotation": True,
            "soft_clamp_input_value": 2.0,
            "inv_temperature": 3.0,
        },
    ],
    ids=str,
)
def test_the_config_builds_it_again(options: dict):
    lfq = LFQ(**options)
    again = build(lfq.config)
    again.load_state_dict(lfq.state_dict())
    x = rows(2, 5, lfq.dim)
    assert again.config == lfq.config
    assert all(torch.equal(a, b) for a, b in zip(lfq(x), again(x), strict=True))


BAD_OPTIONS = [
    ({}, "dim, codebook_size: expected at least one"),
    ({"dim": 0}, "dim: expected an int >= 1"),
    ({"codebook_size": 100}, "codebook_size: expected a power of two, got 100"),
    ({"codebook_size": 1}, "codebook_size: expected an int >= 2"),
    ({"dim": 63, "entropy_loss_weight": 0.0}, r"codebook_size: expected at most 2\^62.*2\^63"),
    ({"dim": 8, "num_codebooks": 0}, "num_codebooks"),
    ({"dim": 8, "num_codebooks": 2, "keep_num_codebooks_dim": False}, "keep_num_codebooks_dim: expected True with 2"),
    (
        {"dim": 8, "codebook_size": 16, "has_projections": False},
        "has_projections: expected True between widths 8 and 4",
    ),
    ({"dim": 8, "cosine_sim_project_in": True}, "cosine_sim_project_in: expected False without a projection"),
    ({"dim": 8, "codebook_scale": 0}, "codebook_scale"),
    ({"dim": 8, "codebook_scale": 2.0, "soft_clamp_input_value": 1.0}, r"soft_clamp_input_value: .*\[2, inf\], got 1"),
    ({"dim": 8, "frac_per_sample_entropy": 0.0}, r"frac_per_sample_entropy: .*\(0, 1\], got 0"),
    ({"dim": 8, "diversity_gamma": 2.0, "batch_maximization_weight": 1.0}, "expected either it or diversity_gamma"),
    ({"dim": 8, "entropy_group_size": 3}, "entropy_group_size: expected a divisor of the 8 bits, at most 24, got 3"),
    (
        {"dim": 50, "entropy_group_size": 25},
        "entropy_group_size: expected a divisor of the 50 bits, at most 24, got 25",
    ),
    ({"dim": 8, "entropy_loss_weight": -1.0}, "entropy_loss_weight"),
    ({"dim": 8, "inv_temperature": 0}, "inv_temperature"),
    ({"dim": 8, "channel_first": "yes"}, "channel_first: expected True or False"),
    ({"dim": 8, "straight_through_activation": 3}, "straight_through_activation: expected a function"),
]


@pytest.mark.parametrize(("options", "match"), BAD_OPTIONS, ids=[b[1] for b in BAD_OPTIONS])
def test_bad_options(options: dict, match: str):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        LFQ(**options)
    assert isinstance(caught.value, VqkitError)


@pytest.mark.parametrize("call", [partial(LFQ.forward, inv_temperature=-1.0), partial(LFQ.forward, inv_temperature=0)])
def test_bad_calls(call):
    lfq = LFQ(dim=4)
    with pytest.raises(ArgumentError, match="inv_temperature"):
        call(lfq, rows(3, 4))
    assert float(lfq.usage()) == 0
