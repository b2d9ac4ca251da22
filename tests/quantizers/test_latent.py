from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit import LatentQuantize, codebook_warmup
from vqkit.codebook import EvenlySpaced
from vqkit.errors import ArgumentError, ArgumentTypeError, VqkitError
from vqkit.quantizers import build


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=11), st.integers(0, 2**20), st.data())
def test_codes_are_their_own_code_whatever_the_values(counts: list[int], seed: int, data: st.DataObject):
    quantizer = LatentQuantize(counts, dim=len(counts), channel_dim=-1).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for book in quantizer.books:
            book.vectors.copy_(torch.randn_like(book.vectors))  # in no order
    size = math.prod(counts)
    indices = torch.tensor([0, size - 1, *data.draw(st.lists(st.integers(0, size - 1)))])
    codes = quantizer.decode(indices)
    assert torch.equal(quantizer.encode(codes), indices)
    assert torch.equal(quantizer(codes).quantized, codes)


def test_rows_take_the_nearest_value_of_each_coordinate():
    torch.manual_seed(0)
    quantizer = LatentQuantize([5, 2, 8], dim=3)
    x = torch.randn(200, 3)
    out = quantizer(x)
    levels = quantizer.indices_to_level_indices(out.indices)
    for i, table in enumerate(quantizer.tables):
        nearest = (x[:, i, None] - table).abs().argmin(1)
        assert torch.equal(levels[:, i], nearest)
        assert torch.equal(out.quantized[:, i], table[nearest])
    assert torch.equal(out.indices, levels[:, 0] + 5 * levels[:, 1] + 10 * levels[:, 2])


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9])
def test_values_begin_evenly_spaced_with_zero_among_them(size: int):
    values = EvenlySpaced().initial(2, size, 1)
    assert values.shape == (2, size, 1)
    assert torch.equal(values[0], values[1])
    flat = values[0, :, 0]
    assert flat[0] == -0.5
    assert size == 1 or 0 in flat
    assert float(flat.max()) <= 0.5
    torch.testing.assert_close(flat.diff(), torch.full((size - 1,), 1 / max(1, size - size % 2)))
    with pytest.raises(ArgumentError, match="dim: expected 1"):
        EvenlySpaced().initial(1, 4, 2)


def test_both_terms_and_where_their_gradients_go():
    torch.manual_seed(0)
    quantizer = LatentQuantize([5, 8], 2, commitment_loss_weight=0.3, quantization_loss_weight=0.7)
    x = torch.randn(50, 2, requires_grad=True)
    out = quantizer(x)
    error = x.detach() - out.quantized.detach()
    torch.testing.assert_close(out.loss, error.square().mean(), rtol=1e-5, atol=1e-7)
    out.loss.backward()
    torch.testing.assert_close(x.grad, 0.3 * 2 * error / error.numel())
    levels = quantizer.indices_to_level_indices(out.indices)
    for i, book in enumerate(quantizer.books):
        expected = torch.zeros(len(quantizer.tables[i])).index_add_(0, levels[:, i], -0.7 * 2 * error[:, i] / 100)
        torch.testing.assert_close(book.vectors.grad[0, :, 0], expected)


def test_the_tasks_gradient_goes_straight_through_and_leaves_the_values():
    quantizer = LatentQuantize([5, 8], 2)
    x, weights = torch.randn(50, 2, requires_grad=True), torch.randn(50, 2)
    (quantizer(x).quantized * weights).sum().backward()
    assert torch.equal(x.grad, weights)
    assert all(p.grad is None for p in quantizer.parameters())


def test_losses_are_those_of_the_coordinates_not_of_the_input():
    torch.manual_seed(0)
    quantizer = LatentQuantize([5, 5, 8], 16)
    x = torch.randn(2, 9, 16)
    z = quantizer.projections.inward(x.reshape(-1, 16))
    values = quantizer.values(quantizer.round(z[:, None]))[:, 0]
    torch.testing.assert_close(quantizer(x).loss, 0.2 * (z - values).square().mean())


@pytest.mark.parametrize("in_place", [False, True])
def test_values_learn_where_the_rows_are(in_place: bool):
    """Rows at ±3 and ±1, far from where the values begin: the error falls to nearly nothing."""
    torch.manual_seed(0)
    options = {"in_place_codebook_optimizer": partial(torch.optim.SGD, lr=1.0)} if in_place else {}
    quantizer = LatentQuantize(4, 1, **options)
    optimizer = None if in_place else torch.optim.Adam(quantizer.parameters(), lr=0.03)
    x = torch.tensor([-3.0, -1, 1, 3]).repeat(20)[:, None]
    before = float((quantizer.eval()(x).quantized - x).square().mean())
    quantizer.train()
    for _ in range(300):
        loss = quantizer(x).loss
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    quantizer.eval()
    out = quantizer(x)
    assert float((out.quantized - x).square().mean()) < 0.25 * before
    assert torch.equal(quantizer.decode(out.indices), out.quantized)


def test_fixed_values_are_no_parameters():
    quantizer = LatentQuantize([5, 8], 2, optimize_values=False)
    assert not list(quantizer.parameters())
    before = [t.clone() for t in quantizer.tables]
    x = torch.randn(30, 2, requires_grad=True)
    quantizer(x).loss.backward()
    assert x.grad.any()
    assert all(torch.equal(a, b) for a, b in zip(before, quantizer.tables, strict=True))


def test_one_level_count_for_all():
    assert LatentQuantize(4, 6).levels == (4,) * 6
    assert LatentQuantize(4, 6, num_codebooks=2).levels == (4,) * 3
    assert LatentQuantize(4, 16, codebook_dim=3).levels == (4,) * 3
    assert LatentQuantize(4, 16, codebook_dim=3, num_codebooks=2).index_sizes == (64, 64)


def test_warm_up_places_the_values_on_the_data():
    torch.manual_seed(0)
    quantizer = LatentQuantize([3, 4], 2)
    batches = [torch.stack([torch.randint(0, 3, (64,)) * 7.0, torch.randint(0, 4, (64,)) * -2.0], 1) for _ in range(3)]
    codebook_warmup(quantizer, batches)
    assert quantizer.tables[0].sort().values.tolist() == [0, 7, 14]
    assert quantizer.tables[1].sort().values.tolist() == [-6, -4, -2, 0]


def test_config_builds_the_same_quantizer():
    quantizer = LatentQuantize([5, 8], 7, 0.2, 0.3, num_codebooks=2)
    again = build(quantizer.config)
    assert again.config == quantizer.config
    again.load_state_dict(quantizer.state_dict())
    x = torch.randn(3, 7)
    assert torch.equal(again.eval()(x).quantized, quantizer.eval()(x).quantized)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"levels": [5, 1]}, ArgumentError, "levels: expected an int >= 2, got 1"),
        ({"levels": 2.5}, ArgumentTypeError, "levels"),
        ({"levels": [64] * 11}, ArgumentError, "levels"),
        ({"codebook_dim": 3}, ArgumentError, "codebook_dim: expected 2, the number of levels"),
        ({"levels": 4, "num_codebooks": 4}, ArgumentError, "codebook_dim: expected an int, where num_codebooks"),
        ({"commitment_loss_weight": -1}, ArgumentError, "commitment_loss_weight"),
        ({"quantization_loss_weight": "1"}, ArgumentTypeError, "quantization_loss_weight"),
        (
            {"optimize_values": False, "in_place_codebook_optimizer": torch.optim.SGD},
            ArgumentError,
            "in_place_codebook_optimizer: expected None",
        ),
    ],
    ids=str,
)
def test_bad_options_are_named(options: dict, error: type, match: str):
    with pytest.raises(error, match=match) as caught:
        LatentQuantize(**{"levels": [5, 8], "dim": 6, **options})
    assert isinstance(caught.value, VqkitError)
