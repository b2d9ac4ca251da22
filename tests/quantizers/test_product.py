from __future__ import annotations

import pytest
import torch

from vqkit import ProductQuantize, VectorQuantize
from vqkit.codebook import Fixed
from vqkit.errors import ArgumentError, VqkitError
from vqkit.quantizers import Residual, build

PLACED = {"update": Fixed(), "revive": None}


def correlated(n: int = 2000, d: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=generator) @ torch.randn(d, d, generator=generator)


def error(pq: ProductQuantize, x: torch.Tensor) -> float:
    return (pq.decode(pq.encode(x)) - x).square().mean().item()


def test_it_is_a_codebook_for_every_slice():
    torch.manual_seed(0)
    pq = ProductQuantize(8, 4, 16).eval()
    x = torch.randn(50, 8)
    for head, part in enumerate(x.split(2, 1)):
        alone = VectorQuantize(2, 16).eval()
        alone.codebook = pq.codebook[head]
        assert torch.equal(alone(part).indices, pq(x).indices[:, head])
        assert torch.equal(alone(part).quantized, pq(x).quantized[:, 2 * head : 2 * head + 2])


@pytest.mark.parametrize("rotation", [None, "random", "learned"])
def test_what_it_decodes_is_the_nearest_of_all_combinations(rotation: str | None):
    torch.manual_seed(0)
    x = torch.randn(200, 4)
    pq = ProductQuantize(4, 2, 6, rotation, **PLACED).fit([x]).eval()
    every = pq.decode(torch.cartesian_prod(torch.arange(6), torch.arange(6)))
    distance = (x[:, None] - every).square().sum(-1)
    torch.testing.assert_close((pq(x).quantized - x).square().sum(1), distance.amin(1), rtol=1e-4, atol=1e-5)


def test_a_learned_rotation_loses_less_on_correlated_data():
    x = correlated()
    errors = {r: error(ProductQuantize(8, 4, 16, r, **PLACED).fit(x.split(500)).eval(), x) for r in (None, "learned")}
    assert errors["learned"] < 0.8 * errors[None]


def test_the_gradient_crosses_the_rotation_and_back():
    torch.manual_seed(0)
    pq = ProductQuantize(8, 4, 16, "random")
    x, weights = torch.randn(10, 8, requires_grad=True), torch.randn(10, 8)
    gradient = torch.autograd.grad((pq(x).quantized * weights).sum(), x)[0]
    torch.testing.assert_close(gradient, weights, rtol=1e-5, atol=1e-5)


def test_fitting_again_starts_from_the_rows_themselves():
    x = correlated()
    once = ProductQuantize(8, 4, 16, "learned", **PLACED).fit([x])
    twice = ProductQuantize(8, 4, 16, "learned", **PLACED).fit([x + 100]).fit([x])
    torch.testing.assert_close(error(once, x), error(twice, x), rtol=0.05, atol=0)


def test_a_fit_does_not_depend_on_how_the_rows_were_batched():
    x = correlated()
    first, second = (ProductQuantize(8, 4, 16, "learned", **PLACED).fit(x.split(n)) for n in (250, 2000))
    torch.testing.assert_close(first.codebook, second.codebook)
    torch.testing.assert_close(first.slices.matrix.values, second.slices.matrix.values)


def test_fit_changes_nothing_where_it_fails():
    pq = ProductQuantize(8, 4, 16, "learned", **PLACED)
    before = {k: v.clone() for k, v in pq.state_dict().items()}
    with pytest.raises(ArgumentError, match="loader: expected at least 16 rows"):
        pq.fit([torch.randn(10, 8)])
    with pytest.raises(ArgumentError, match="method: expected one of 'kmeans'"):
        pq.fit([torch.randn(100, 8)], method="data")
    assert pq.training
    assert all(torch.equal(v, before[k]) for k, v in pq.state_dict().items())


def test_config_builds_it_again():
    for rotation in (None, "random", "learned"):
        pq = ProductQuantize(8, 4, 16, rotation, decay=0.9, channel_dim=1)
        again = build(pq.config)
        again.load_state_dict(pq.state_dict())
        x = torch.randn(2, 8, 5)
        assert torch.equal(again.eval()(x).quantized, pq.eval()(x).quantized)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_codebooks": 3}, "num_codebooks: expected a divisor of dim 8, got 3"),
        ({"num_codebooks": 0}, "num_codebooks"),
        ({"codebook_size": 0}, "codebook_size"),
        ({"rotation": "optimal"}, "rotation: expected one of 'random', 'learned'"),
        ({"rotation": "learned", "metric": "cosine"}, "rotation: expected metric 'euclidean'"),
        ({"heads": 2}, "heads: num_codebooks says"),
        ({"codebook_dim": 2}, "codebook_dim: num_codebooks says"),
        ({"comitment_weight": 1.0}, "did you mean 'commitment_weight'"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_options_are_named(options, match):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        ProductQuantize(**{"dim": 8, "num_codebooks": 4, "codebook_size": 16, **options})
    assert isinstance(caught.value, VqkitError)


def test_a_rotation_is_learned_as_a_stage_too():
    x = torch.randn(600, 8, generator=torch.Generator().manual_seed(0)) @ torch.randn(8, 8)
    errors = {}
    for rotation in (None, "learned"):
        stages = [VectorQuantize(8, 4), ProductQuantize(8, 4, 16, rotation=rotation)]
        residual = Residual(stages).fit([x]).eval()
        errors[rotation] = (residual(x).quantized - x).square().mean().item()
        assert torch.equal(residual.decode(residual.encode(x)), residual(x).quantized)
    assert errors["learned"] < errors[None]
    turned = residual.members[1].slices.matrix.values
    torch.testing.assert_close(turned @ turned.t(), torch.eye(8), atol=1e-5, rtol=0)
    assert not torch.allclose(turned, torch.eye(8), atol=1e-2)
    still = Residual([ProductQuantize(8, 4, 16, rotation="learned")]).fit([x], method="data").members[0]
    assert torch.equal(still.slices.matrix.values, torch.eye(8))
