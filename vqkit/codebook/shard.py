"""Vectors that learn by gradient under FSDP2: each rank keeps a shard of them, and a forward sees the whole.

The whole is lent for the forward alone, so what a step writes (revival, k-means, frozen codes put back) has to reach
the shard as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def sharded(value: object) -> bool:
    """Whether it is a parameter of which this rank holds a part (a ``DTensor``)."""
    return hasattr(value, "placements") and hasattr(value, "full_tensor")


def whole(vectors: Tensor) -> Tensor:
    """All of them: gathered from the ranks where they are sharded, which all ranks must do."""
    return vectors.full_tensor() if sharded(vectors) else vectors  # pyright: ignore[reportAttributeAccessIssue]


class ShardedVectors(nn.Module):
    """Owner of ``vectors``: remembers its shard of them, and writes to both."""

    vectors: Tensor

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "vectors" and sharded(value):  # FSDP puts it here before the first forward, and after each
            self.__dict__["_shard"] = value
        super().__setattr__(name, value)

    @property
    def in_shards(self) -> bool:
        """Whether this rank keeps a part of them alone."""
        return self.__dict__.get("_shard") is not None

    @torch.no_grad()
    def store_(self, vectors: Tensor) -> None:
        """Write all vectors (H, K, D)."""
        if not sharded(self.vectors):
            self.vectors.copy_(vectors)
        shard = self.__dict__.get("_shard")
        if shard is not None:
            from torch.distributed.tensor import DTensor, Replicate

            mesh = shard.device_mesh
            alike = DTensor.from_local(vectors.to(shard.dtype), mesh, [Replicate()] * mesh.ndim, run_check=False)
            shard.to_local().copy_(alike.redistribute(mesh, shard.placements).to_local())
