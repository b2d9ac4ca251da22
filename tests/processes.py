"""Two processes (or more) on gloo, for the tests of what ranks share."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

RANKS = 2


@contextmanager
def process_group(rank: int, port: int, ranks: int = RANKS, seconds: float = 600) -> Iterator[None]:
    """Within, this process is one of the ranks; on one thread, as all of them share the machine."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=ranks, timeout=timedelta(seconds=seconds))
    yield
    dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_ranks(worker: Callable[[int, int, str], None], folder: Path, ranks: int = RANKS) -> list[Any]:
    """What ``worker(rank, port, folder)`` saved as ``folder/rank.pt``, rank by rank."""
    mp.spawn(worker, (free_port(), str(folder)), nprocs=ranks)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]
