from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from vqkit.errors import bad_value


class StepSampler(Sampler[list[int]]):
    """The micro-batches of a run, from any step on, without end; the order of the images hangs on seed and epoch alone.

    Each epoch is a new permutation; the images left over after its last whole batch wait for another. A step's batch is
    divided among the processes, and each share into micro-batches, so the batch is the same however it is split.

    Args:
        images: how many there are.
        batch_size: images a step, over all processes and micro-batches.
        seed: of the permutations; at least 0.
        first_step: the step to begin with.
        accumulate: micro-batches a step.
        rank, world_size: this process among all.

    Raises:
        ArgumentError: fewer images than a batch, or a batch that cannot be divided.

    Examples:
        >>> sampler = iter(StepSampler(images=5, batch_size=2, seed=0))
        >>> first_epoch = next(sampler) + next(sampler)
        >>> len(set(first_epoch))
        4
        >>> next(iter(StepSampler(images=5, batch_size=2, seed=0, first_step=1))) == first_epoch[2:]
        True
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        *,
        seed: int,
        first_step: int = 0,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ):
        if batch_size > images:
            raise bad_value("train.batch_size", f"at most the {images} images of the training split", batch_size)
        if batch_size % (accumulate * world_size):
            raise bad_value(
                "train.batch_size", f"a multiple of {world_size} processes x {accumulate} micro-batches", batch_size
            )
        self.images, self.batch_size, self.seed, self.first_step = images, batch_size, seed, first_step
        self.accumulate, self.rank = accumulate, rank
        self.share = batch_size // world_size
        self.steps_per_epoch = images // batch_size

    def __iter__(self) -> Iterator[list[int]]:
        epoch, batch = divmod(self.first_step, self.steps_per_epoch)
        while True:
            order = self.permutation(epoch)
            for start in range(batch * self.batch_size, self.steps_per_epoch * self.batch_size, self.batch_size):
                share = order[start + self.rank * self.share : start + (self.rank + 1) * self.share]
                size = self.share // self.accumulate
                yield from (share[i : i + size] for i in range(0, self.share, size))
            epoch, batch = epoch + 1, 0

    def permutation(self, epoch: int) -> list[int]:
        """The order of the images in an epoch."""
        # mixed, for torch's generator looks at 32 bits of its seed only, and neighbouring seeds are to be unrelated
        seed = int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0])
        return torch.randperm(self.images, generator=torch.Generator().manual_seed(seed)).tolist()
