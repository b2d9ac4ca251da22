from __future__ import annotations

import pytest
import torch

from vqkit import VectorQuantize
from vqkit.codebook import Codebook, OnlineClustering, ReplaceRare, ReplaceStale, ReplaceUnused
from vqkit.functional import kmeans, nearest, usage

K, D = 512, 32


def test_a_revived_code_is_a_row_and_survives_the_next_update():
    torch.manual_seed(0)
    book = Codebook(8, 4, revive=ReplaceStale(threshold=1.0))
    rows = torch.randn(1, 40, 4) + 20
    book.learn_(rows, torch.zeros(1, 40, dtype=torch.int64))
    revived = book.codes()[0, 1:].clone()
    gap = (revived[:, None] - rows[0]).abs().sum(-1).amin(1)
    assert bool((gap == 0).all())
    assert len({tuple(r) for r in revived.tolist()}) == 7, "two codes on one row would be one code"
    book.learn_(rows[:, :5], torch.zeros(1, 5, dtype=torch.int64))
    still = (book.codes()[0, 1:] == revived).all(1)
    again = (book.codes()[0, 1:, None] == rows[0, :5]).all(-1).any(-1)
    assert bool((still | again).all())


def test_at_most_as_many_codes_revive_as_there_are_rows():
    book = Codebook(16, 4, revive=ReplaceStale(threshold=1.0))
    before = book.codes().clone()
    book.learn_(torch.randn(1, 3, 4), torch.zeros(1, 3, dtype=torch.int64))
    moved = (book.codes() != before).any(-1)[0]
    assert int(moved[1:].sum()) == 3


def test_stale_looks_only_every_so_many_steps():
    book = Codebook(8, 4, revive=ReplaceStale(threshold=1.0, every=3))
    moved = []
    for _ in range(6):
        before = book.codes().clone()
        book.learn_(torch.randn(1, 30, 4), torch.zeros(1, 30, dtype=torch.int64))
        moved.append(bool((book.codes() != before)[0, 1:].any()))
    assert moved == [True, False, False, True, False, False]


@pytest.mark.parametrize("batch", [8, 64, 512])
def test_what_is_rare_does_not_depend_on_the_batch_size(batch: int):
    """A code without a row dies after 2.3 windows of rows per code, however they were batched."""
    book = Codebook(16, 2, revive=ReplaceRare(share=0.1, window=4.0))
    dead_after = None
    for step in range(400):
        before = book.codes()[0, 15].clone()
        indices = torch.arange(batch)[None] % 15
        book.learn_(torch.randn(1, batch, 2), indices)
        if not torch.equal(book.codes()[0, 15], before):
            dead_after = (step + 1) * batch
            break
    assert dead_after is not None
    assert 2.3 * 4 * 16 <= dead_after <= 2.31 * 4 * 16 + batch


def test_unused_codes_are_replaced_after_so_many_steps_with_little_noise():
    book = Codebook(4, 64, revive=ReplaceUnused(after=3, noise=0.01))
    rows = torch.randn(1, 50, 64)
    for step in range(3):
        before = book.codes().clone()
        book.learn_(rows, torch.zeros(1, 50, dtype=torch.int64))
        assert bool((book.codes() != before)[0, 1:].any()) == (step == 2)
    closest = (book.codes()[0, 1:, None] - rows[0]).norm(dim=-1) / rows[0].norm(dim=-1)
    assert bool(((closest.amin(1) > 0.001) & (closest.amin(1) < 0.03)).all())


@pytest.mark.parametrize("anchor", ["random", "closest", "probability"])
def test_online_clustering_moves_unused_codes_to_rows_and_leaves_used_ones(anchor: str):
    torch.manual_seed(0)
    book = Codebook(8, 4, revive=OnlineClustering(anchor))
    rows = torch.randn(1, 200, 4) + 30
    for _ in range(20):
        book.learn_(rows, book.nearest(rows))
    assert bool((book.codes()[0].mean(1) > 20).all())
    settled = book.codes().clone()
    indices = torch.arange(200)[None] % 8
    book.learn_(book.take(indices), indices)
    assert (book.codes() - settled).abs().max() < 0.5


def stream(kind: str, rows: int, generator: torch.Generator, progress: float) -> torch.Tensor:
    fixed = torch.Generator().manual_seed(1)
    centres, drift = 2 * torch.randn(200, D, generator=fixed), torch.randn(D, generator=fixed)
    x = torch.randn(rows, D, generator=generator)
    if kind == "mixture":
        x = x + centres[torch.randint(200, (rows,), generator=generator)]
    return x * (1 + progress) + 3 * progress * drift


@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
@pytest.mark.parametrize("drifting", [False, True], ids=["stationary", "drifting"])
def test_the_defaults_keep_the_codebook_in_use(kind: str, drifting: bool):
    """Usage of at least 95 %, distortion at most 1.05 of k-means on the same data."""
    torch.manual_seed(0)
    quantizer, generator, steps = VectorQuantize(D, K), torch.Generator().manual_seed(2), 100
    for step in range(steps):
        quantizer(stream(kind, 2048, generator, step / steps if drifting else 0.0))
    end = 1.0 if drifting else 0.0
    test, train = stream(kind, 20_000, generator, end), stream(kind, 40_000, generator, end)
    reference = kmeans(train, K, iters=10, generator=torch.Generator().manual_seed(0)).centroids
    indices, distances = nearest(test, quantizer.codebook, return_distances=True)
    best = nearest(test, reference, return_distances=True)[1].mean()
    assert usage(torch.bincount(indices, minlength=K)).item() >= 0.95
    assert quantizer.usage().item() >= 0.95
    assert (distances.mean() / best).item() <= 1.05
