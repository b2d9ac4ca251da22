from __future__ import annotations

from itertools import islice

import pytest

from vqkit.errors import ArgumentError
from vqkit.training.sampler import StepSampler


def take(count, **options):
    return list(islice(StepSampler(**({"images": 23, "batch_size": 4, "seed": 3} | options)), count))


def test_an_epoch_shows_every_image_at_most_once():
    epoch = take(5)
    shown = [image for batch in epoch for image in batch]
    assert [len(batch) for batch in epoch] == [4] * 5
    assert len(set(shown)) == 20
    assert set(shown) <= set(range(23))


def test_epochs_differ_and_seeds_differ():
    assert take(5) != take(10)[5:]
    assert take(5) != take(5, seed=4)
    assert take(5) == take(5)


@pytest.mark.parametrize("first", [0, 1, 4, 5, 7, 10])
def test_it_can_begin_at_any_step(first):
    assert take(4, first_step=first) == take(first + 4)[first:]


def test_processes_and_micro_batches_divide_the_same_batches():
    whole = take(6, batch_size=8, images=30)
    shares = [take(12, batch_size=8, images=30, accumulate=2, rank=r, world_size=2) for r in range(2)]
    for step, batch in enumerate(whole):
        parts = [share[2 * step + half] for share in shares for half in range(2)]
        assert all(len(part) == 2 for part in parts)
        assert [image for part in parts for image in part] == batch


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(ArgumentError, match=r"train\.batch_size: expected at most the 23 images .*, got 24"):
        take(1, batch_size=24)
    with pytest.raises(ArgumentError, match="expected a multiple of 3 processes x 1 micro-batches, got 4"):
        take(1, world_size=3)
