"""Contracts 1 to 5 at shapes, axes, masks and numbers that no example thought of, of one or two cases a family."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.contracts.cases import CASES, DIM, INDICES_ALONE, Case
from vqkit import BSQ, LFQ, GroupedResidualLFQ, MultiScaleVQ, ResidualLFQ, quantizers
from vqkit.quantizers import Quantizer

NAMES = [
    "BSQ-all_weights-rows",
    "BSQ-group_indices-rows",
    "BinaryMapper-deterministic_on_eval",
    "FSP-plain-projected",
    "FSP-sigmoid_inverse-rows",
    "FSQ-plain-2^62_codes",
    "FSQ-plain-projected",
    "FSQ-rotation-rows",
    "Grouped-of-kinds",
    "GroupedResidualFSQ-projected",
    "GroupedResidualLFQ-projected",
    "GroupedResidualVQ-plain",
    "GumbelQuantize-groups",
    "IBQ-heads_apart",
    "ImplicitVQ",
    "LFQ-plain-codebooks",
    "LFQ-spherical_rotated-projected",
    "LatentQuantize-plain-projected",
    "LatentQuantize-plain-rows",
    "ProductQuantize-fitted",
    "ProductQuantize-random",
    "Residual-of-kinds",
    "Residual-of-residuals",
    "ResidualFSQ-rotated",
    "ResidualLFQ-plain",
    "ResidualSimVQ-projected",
    "ResidualVQ-beam_eval",
    "ResidualVQ-projected_each",
    "SQVAE-gaussian",
    "SimVQ-narrow",
    "SinkhornVQ-heads",
    "SplitResidualVQ",
    "VectorQuantize-cosine-heads",
    "VectorQuantize-plain-projected",
]
REPRESENTATIVES = {case.name: case for case in CASES if case.name in NAMES}
PYRAMIDS = {"MultiScale", "MultiScaleVQ", "HierarchicalVQ"}  # whole maps, in a test of their own
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

stable = settings(derandomize=True, deadline=None, max_examples=60)


@cache
def trained(name: str) -> Quantizer:
    return REPRESENTATIVES[name].trained().eval()


class Batch(NamedTuple):
    """Positions, the channel axis among them, and what to fill them with. masked: share of rows left out, None for no
    mask at all. broken: share of rows with a NaN or inf.
    """

    positions: tuple[int, ...]
    axis: int
    dtype: torch.dtype
    spread: float
    masked: float | None
    broken: float
    seed: int

    def filled(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """The input, the mask, and which rows count (positions)."""
        torch.manual_seed(self.seed)
        last = (torch.randn(*self.positions, DIM) * self.spread).to(self.dtype)
        counts = torch.rand(self.positions) >= self.broken
        last[..., self.seed % DIM][~counts] = (torch.nan, torch.inf, -torch.inf)[self.seed % 3]
        mask = None
        if self.masked is not None:
            mask = torch.rand(self.positions) >= self.masked
            counts = counts & mask
        return last.movedim(-1, self.axis), mask, counts


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    positions = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    rank = len(positions) + 1
    return Batch(
        positions,
        draw(st.integers(-rank, rank - 1)),
        draw(st.sampled_from(DTYPES)),
        draw(st.sampled_from([0.0, 1e-3, 0.7, 30.0])),
        draw(st.sampled_from([None, 0.0, 0.5, 1.0])),
        draw(st.sampled_from([0.0, 0.0, 0.3])),
        draw(st.integers(0, 2**16)),
    )


@pytest.mark.parametrize("name", NAMES)
@stable
@given(batches())
@example(Batch((), -1, torch.float32, 0.7, None, 0.0, 0))
@example(Batch((0, 3), 0, torch.float32, 0.7, 0.5, 0.0, 0))
def test_any_batch(name: str, batch: Batch):
    case = REPRESENTATIVES[name]
    quantizer = trained(name)
    # As every constructor would set it; some have flags for it instead, some leave it out.
    quantizer.channel_dim, quantizer.rank = batch.axis, None
    x, mask, counts = batch.filled()
    out = quantizer(x, mask=mask)
    assert out.quantized.dtype == x.dtype
    last = out.quantized.movedim(batch.axis, -1)
    assert last.shape == (*batch.positions, case.width)
    assert torch.isfinite(last).all()
    assert not last[~counts].any()

    columns, _ = quantizer.columns(out.indices)
    columns = columns.reshape(*batch.positions, len(quantizer.index_sizes))
    assert out.indices.dtype == torch.int64
    assert bool((columns[~counts] == -1).all())
    assert bool((columns[counts] >= 0).all())
    assert bool((columns < torch.tensor(quantizer.index_sizes)).all())

    assert torch.equal(quantizer.encode(x, mask=mask), out.indices)
    assert torch.equal(quantizer.decode(out.indices).to(x.dtype), out.quantized)


def test_every_family_is_represented():
    public = {getattr(quantizers, name) for name in quantizers.__all__}
    kinds = {kind.__name__ for kind in public if isinstance(kind, type) and issubclass(kind, Quantizer)}
    shown = {type(case.build()).__name__ for case in (*REPRESENTATIVES.values(), *INDICES_ALONE)}
    assert kinds - {"Quantizer"} == shown | PYRAMIDS
    assert set(NAMES) == set(REPRESENTATIVES)


@pytest.mark.parametrize("case", INDICES_ALONE, ids=lambda case: case.name)
@stable
@given(batches())
def test_any_batch_of_indices_alone(case: Case, batch: Batch):
    quantizer = case.build().eval()
    quantizer.channel_dim = batch.axis
    x, mask, counts = batch.filled()
    indices = quantizer(x, mask=mask)
    columns = indices.reshape(*batch.positions, len(quantizer.index_sizes))
    assert bool((columns[~counts] == -1).all())
    assert bool(((columns[counts] >= 0) & (columns[counts] < quantizer.index_sizes[0])).all())
    assert torch.equal(quantizer.encode(x, mask=mask), indices)


@stable
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 2**16),
    st.data(),
)
def test_any_batch_of_maps(full: list[int], count: int, masked: bool, seed: int, data: st.DataObject):
    rank = len(full) + 2
    axis = data.draw(st.sampled_from([a for a in range(-rank, rank) if rank > 3 or a % rank]))
    if axis % rank == 0:
        count = max(count, 1)
    torch.manual_seed(seed)
    coarse = [max(1, n // 2) for n in full]
    quantizer = MultiScaleVQ(DIM, 6, scales=(coarse, full), channel_dim=axis).eval()
    maps = torch.randn(count, DIM, *full)
    x = maps.movedim(1, axis)
    mask = torch.rand(count) < 0.5 if masked else None
    counts = torch.ones(count, dtype=torch.bool) if mask is None else mask
    out = quantizer(x, mask=mask)
    assert out.quantized.shape == x.shape
    assert not out.quantized.movedim(axis, 1)[~counts].any()
    assert bool((out.indices[~counts] == -1).all())
    assert bool(((out.indices[counts] >= 0) & (out.indices[counts] < 6)).all())
    assert torch.equal(quantizer.encode(x, mask=mask), out.indices)
    assert torch.equal(quantizer.decode(out.indices), out.quantized)
    assert torch.equal(quantizer.join(quantizer.split(out.indices)), out.indices)


# --- every index is that of its own code ------------------------------------------------------------------------------

ALONE = {"entropy_loss_weight": 0.0}  # whose entropy there are too many codes for
SIGNS: dict[str, Callable[[int, int], Quantizer]] = {
    "LFQ": lambda bits, count: LFQ(codebook_size=2**bits, num_codebooks=count, **ALONE),
    "LFQ-spherical": lambda bits, count: LFQ(codebook_size=2**bits, spherical=True, codebook_scale=0.3, **ALONE),
    "BSQ": lambda bits, count: BSQ(dim=bits, group_size=1),
    "BSQ-group_indices": lambda bits, count: BSQ(dim=bits, group_size=1, group_indices=True),
    "ResidualLFQ": lambda bits, count: ResidualLFQ(count, 2**bits, **ALONE),
    "GroupedResidualLFQ": lambda bits, count: GroupedResidualLFQ(
        2 * bits, 2, num_quantizers=count, codebook_size=2**bits, **ALONE
    ),
}


@pytest.mark.parametrize("name", SIGNS)
@stable
@given(bits=st.integers(1, 62), count=st.integers(1, 6), seed=st.integers(0, 2**16))
def test_signs_and_indices_are_one_to_one(name: str, bits: int, count: int, seed: int):
    """Every index is that of its own code, and no two share one."""
    quantizer = SIGNS[name](bits, count).eval()
    generator = torch.Generator().manual_seed(seed)

    def drawn(size: int) -> Tensor:
        return torch.cat([torch.randint(size, (7,), generator=generator), torch.tensor([0, size - 1])])

    columns = torch.stack([drawn(size) for size in quantizer.index_sizes], 1)
    indices = columns if quantizer.index_axis else columns[:, 0]
    if name.startswith("Grouped"):
        indices = columns.unflatten(1, (2, -1)).movedim(1, 0)
    codes = quantizer.decode(indices)
    assert torch.equal(quantizer.encode(codes), indices)
    assert torch.equal(quantizer(codes).indices, indices)
    assert len(codes.unique(dim=0)) == len(columns.unique(dim=0))
