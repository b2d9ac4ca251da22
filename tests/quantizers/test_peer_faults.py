"""What goes wrong in vector-quantize-pytorch and is not shown elsewhere; ``docs/differences.md`` lists all of it."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest
import torch

from tests.processes import on_ranks, process_group
from vqkit import (
    LFQ,
    GroupedResidualFSQ,
    GroupedResidualLFQ,
    GroupedResidualVQ,
    LatentQuantize,
    ResidualFSQ,
    ResidualVQ,
    VectorQuantize,
)
from vqkit.quantizers import Quantizer

DIM, SIZE = 12, 16


def distances(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """From each row to the nearest of the others."""
    return (rows[:, None] - others).abs().amax(-1).amin(1)


def test_targets_go_through_groups_of_residuals():
    quantizer = GroupedResidualVQ(DIM, groups=2, num_quantizers=3, codebook_size=SIZE)
    x = torch.randn(2, 5, DIM)
    indices = quantizer.encode(x)
    loss = quantizer(x, indices=indices, freeze_codebook=True).loss
    assert loss.shape == (2, 3)
    away = quantizer(x, indices=(indices + 1) % SIZE, freeze_codebook=True).loss
    assert bool((loss < away).all())


@pytest.mark.parametrize("beams", [{"beam_size": 3}, {"eval_beam_size": 3}], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_beams_take_any_batch_without_commitment(beams: dict[str, int], training: bool):
    quantizer = ResidualVQ(DIM, 3, SIZE, commitment_weight=0.0, **beams).train(training)
    out = quantizer(torch.randn(4, 5, DIM))
    assert out.quantized.shape == (4, 5, DIM)
    assert torch.equal(out.loss, torch.zeros(3))


def test_an_in_place_optimizer_steps_a_shared_table_once():
    torch.manual_seed(0)
    sgd = partial(torch.optim.SGD, lr=1.0)
    made = {"shared_codebook": True, "in_place_codebook_optimizer": sgd, "threshold_ema_dead_code": 0}
    quantizer = ResidualVQ(DIM, 3, SIZE, **made)
    book, x = quantizer.stages[0].book, torch.randn(40, DIM)
    before = book.codes().detach().clone()
    with torch.no_grad():
        left, error = x, 0.0
        indices = quantizer.encode(x)
        codes = before[0].clone().requires_grad_()
    for stage in range(3):
        q = codes[indices[:, stage]]
        error = error + (left - q).square().mean()
        left = left - q.detach()
    # The mean over the rows of all stages.
    expected = codes - torch.autograd.grad(error / 3, codes)[0]
    quantizer(x)
    torch.testing.assert_close(book.codes()[0].detach(), expected)
    assert book.vectors.grad is None


@pytest.mark.parametrize("shared", [False, True])
def test_revived_codes_lie_on_projected_rows_of_the_whole_batch(shared: bool):
    torch.manual_seed(0)
    quantizer = ResidualVQ(DIM, 2, 64, 5, shared_codebook=shared, threshold_ema_dead_code=2)
    book, x = quantizer.stages[0].book, 5 * torch.randn(3, 20, DIM)
    before = book.codes()[0].clone()
    rows = quantizer.projections.inward(x.flatten(0, 1)).detach()
    used = quantizer.encode(x)
    seen = [rows, rows - book.take(used[..., 0].reshape(1, -1))[0]] if shared else [rows]
    quantizer(x)
    drawn = torch.bincount(used[..., : 2 if shared else 1].flatten(), minlength=64) > 0
    revived = book.codes()[0][~drawn]
    on_rows = revived[distances(revived, torch.cat(seen)) < 1e-5]
    assert len(on_rows) > 20
    assert bool((before[~drawn] != revived).any())
    # They come from all items of the batch, not from the first alone.
    items = rows.reshape(3, 20, -1)
    assert sum(bool((distances(on_rows, item) < 1e-5).any()) for item in items) == 3


def test_straight_through_alone_has_the_gradient_of_the_softmax():
    torch.manual_seed(0)
    quantizer = VectorQuantize(DIM, SIZE, straight_through=True)
    codes = quantizer.codebook.clone()
    x, weights = torch.randn(6, DIM, requires_grad=True), torch.randn(6, DIM)
    out = quantizer(x, freeze_codebook=True)
    assert torch.equal(out.quantized, codes[out.indices])
    (got,) = torch.autograd.grad((out.quantized * weights).sum(), x)
    soft = torch.softmax(-torch.cdist(x, codes).square(), 1) @ codes
    (expected,) = torch.autograd.grad((soft * weights).sum(), x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_an_orthogonal_step_of_the_optimizer_is_not_undone():
    torch.manual_seed(0)
    made = {"orthogonal_reg_weight": 10.0, "commitment_weight": 0.0, "threshold_ema_dead_code": 0}
    quantizer = VectorQuantize(DIM, SIZE, **made)
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    quantizer(torch.randn(50, DIM)).loss.backward()
    optimizer.step()
    stepped = quantizer.codebook.clone()
    quantizer(torch.randn(50, DIM))
    assert torch.equal(quantizer.codebook, stepped)


def test_codes_revived_behind_a_running_map_lie_on_rows():
    torch.manual_seed(0)
    quantizer = VectorQuantize(4, 64, affine_param=True, threshold_ema_dead_code=2)
    x = torch.randn(60, 4) + 10
    for _ in range(20):
        quantizer(x)
    assert (quantizer.codebook.mean() - 10).abs() < 1
    assert (quantizer(x).quantized - x).square().mean() < 0.5


def test_codes_that_learn_by_gradient_can_be_assigned():
    quantizer = VectorQuantize(DIM, SIZE, learnable_codebook=True)
    codes = torch.randn(SIZE, DIM)
    quantizer.codebook = codes
    assert torch.equal(quantizer.codebook, codes)
    assert quantizer.book.vectors.requires_grad


def test_candidates_go_through_the_projection():
    quantizer = VectorQuantize(DIM, SIZE, codebook_dim=5)
    x = torch.randn(2, 3, DIM)
    out = quantizer(x, topk=4)
    assert (out.quantized.shape, out.indices.shape, out.loss.shape) == ((2, 3, 4, DIM), (2, 3, 4), (2, 3, 4))
    torch.testing.assert_close(out.quantized, quantizer.decode(out.indices))


def test_a_mask_of_an_image_in_heads_by_cosine():
    quantizer = VectorQuantize(DIM, SIZE, heads=3, codebook_dim=4, use_cosine_sim=True, accept_image_fmap=True)
    x, mask = torch.randn(2, DIM, 3, 4), torch.ones(2, 3, 4, dtype=torch.bool)
    mask[0, 0] = False
    out = quantizer(x, mask=mask, freeze_codebook=True)
    assert torch.equal(out.indices[~mask], torch.full((4, 3), -1))
    kept = quantizer(x.movedim(1, -1)[mask].mT[None, ..., None], freeze_codebook=True)
    torch.testing.assert_close(out.loss, kept.loss)


@pytest.mark.parametrize(("options", "shape"), [({"accept_image_fmap": True}, (2, DIM, 3, 4)), ({}, (DIM,))])
def test_cross_entropies_take_images_and_single_vectors(options: dict, shape: tuple[int, ...]):
    quantizer = VectorQuantize(DIM, SIZE, commitment_use_cross_entropy_loss=True, **options)
    x = torch.randn(shape)
    out = quantizer(x, freeze_codebook=True)
    given = quantizer(x, out.indices, freeze_codebook=True)
    torch.testing.assert_close(out.loss, given.loss)
    assert given.indices.shape == out.indices.shape


def test_codes_placed_by_kmeans_keep_their_length_in_the_first_step():
    torch.manual_seed(0)
    quantizer = VectorQuantize(DIM, SIZE, kmeans_init=True, decay=0.99)
    quantizer(torch.randn(300, DIM) + 20)
    assert (quantizer.codebook.mean() - 20).abs() < 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_rotation_returns_the_code_itself(dtype: torch.dtype):
    quantizer = VectorQuantize(DIM, SIZE, rotation_trick=True)
    x = torch.randn(50, DIM).to(dtype).requires_grad_()
    out = quantizer(x, freeze_codebook=True)
    assert torch.equal(out.quantized, quantizer.codebook[out.indices].to(dtype))


def test_a_first_step_replaces_no_code_that_drew_its_share():
    torch.manual_seed(0)
    quantizer = VectorQuantize(DIM, SIZE, threshold_ema_dead_code=2)
    before = quantizer.codebook.clone()
    quantizer(before.repeat(4, 1))
    torch.testing.assert_close(quantizer.codebook, before)


COMPILED = {
    "vq": lambda: VectorQuantize(DIM, SIZE, rotation_trick=True, threshold_ema_dead_code=2),
    "rvq": lambda: ResidualVQ(DIM, 4, SIZE, quantize_dropout=True),
    "kmeans": lambda: VectorQuantize(DIM, SIZE, kmeans_init=True),
    "lfq": lambda: LFQ(dim=DIM),
    "latent": lambda: LatentQuantize([5, 5, 8], DIM),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", COMPILED)
def test_a_forward_is_one_graph(name: str, training: bool):
    torch.manual_seed(0)
    torch.compiler.reset()
    quantizer = COMPILED[name]()
    x = torch.randn(4, 9, DIM)
    quantizer(x)  # k-means places its codes in a first step outside the graph
    quantizer.train(training)
    got = torch.compile(quantizer, fullgraph=True, backend="eager")(x)
    assert got.quantized.shape == x.shape
    assert training or torch.equal(got.quantized, quantizer(x).quantized)


@pytest.mark.parametrize("name", COMPILED)
def test_an_eval_forward_can_be_exported(name: str):
    torch.manual_seed(0)
    quantizer = COMPILED[name]()
    x = torch.randn(4, 9, DIM)
    quantizer(x)
    quantizer.eval()
    exported = torch.export.export(quantizer, (x,)).module()
    for got, want in zip(exported(x), quantizer(x), strict=True):
        assert torch.equal(got, want)


def test_diveq_trains_codes_on_data_without_gradient():
    torch.manual_seed(0)
    quantizer = VectorQuantize(DIM, SIZE, directional_reparam=True)
    out = quantizer(torch.randn(50, DIM))
    out.quantized.square().sum().backward()
    assert bool(quantizer.book.vectors.grad.any())
    assert not torch.equal(out.quantized, quantizer.decode(out.indices)), "the step is noisy in training"


CHANNELS_FIRST = {
    "ResidualFSQ": lambda: ResidualFSQ(dim=DIM, levels=[5, 5], num_quantizers=3, is_channel_first=True),
    "GroupedResidualFSQ": lambda: GroupedResidualFSQ(DIM, 2, levels=[5, 5], num_quantizers=3, channel_first=True),
    "GroupedResidualLFQ": lambda: GroupedResidualLFQ(DIM, 2, codebook_size=4, num_quantizers=3, channel_first=True),
}


@pytest.mark.parametrize("shape", [(2, DIM, 7), (2, DIM, 3, 5), (2, DIM, 2, 3, 5)], ids=str)
@pytest.mark.parametrize("name", CHANNELS_FIRST)
def test_channels_first_keep_the_stages_last(name: str, shape: tuple[int, ...]):
    quantizer: Quantizer = CHANNELS_FIRST[name]().eval()
    quantized, indices, *_ = quantizer(torch.randn(shape))
    assert indices.shape[-1] == 3
    assert torch.equal(quantizer.decode(indices), quantized)


STEPS = 6


def _batches(rank: int) -> list[torch.Tensor]:
    """Ragged, and all masked on one rank at times."""
    generator = torch.Generator().manual_seed(rank)
    return [torch.randn(20 + 5 * rank, DIM, generator=generator) for _ in range(STEPS)]


def _mask(rank: int, step: int, rows: int) -> torch.Tensor:
    return torch.full((rows,), not (rank == 1 and step % 2))


def _built() -> VectorQuantize:
    torch.manual_seed(0)
    return VectorQuantize(DIM, SIZE, kmeans_init=True, threshold_ema_dead_code=1)


def _rank(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    quantizer = _built()
    quantizer.eval()(torch.randn(3, DIM))  # looks whether there is a group, finds none, and must not remember
    quantizer.train()
    with process_group(rank, port):
        for step, x in enumerate(_batches(rank)):
            quantizer(x, mask=_mask(rank, step, len(x)))
        if rank == 0:
            quantizer.eval()(torch.randn(3, DIM))  # a rank on its own enters no collective
        torch.save(quantizer.state_dict(), f"{folder}/{rank}.pt")


def test_a_module_built_before_the_process_group_takes_part(tmp_path):
    first, second = on_ranks(_rank, tmp_path)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    quantizer = _built()
    for step, parts in enumerate(zip(_batches(0), _batches(1), strict=True)):
        masks = [_mask(rank, step, len(part)) for rank, part in enumerate(parts)]
        quantizer(torch.cat(parts), mask=torch.cat(masks))
    torch.testing.assert_close(first["book.vectors"], quantizer.state_dict()["book.vectors"], rtol=1e-5, atol=1e-5)


MEMORY = """
import torch
from pathlib import Path
from vqkit import VectorQuantize
torch.set_num_threads(1)
def peak():  # not ru_maxrss, which a process inherits
    return int(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM:"))) * 1024
def step(rows, codes):
    vq = VectorQuantize(8, codes)
    out = vq(torch.randn(rows, 8, requires_grad=True))
    (out.quantized.sum() + out.loss).backward()
step(64, 64)
before = peak()
step(32_768, 8_192)
print(peak() - before)
"""


def test_a_training_step_holds_no_matrix_of_rows_by_codes():
    """Rows by codes would be 1 GiB, in float32, once."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 256 * 2**20
