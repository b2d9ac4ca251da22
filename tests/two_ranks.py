"""Two processes on gloo, for the tests of what ranks share."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

RANKS = 2


@contextmanager
def process_group(rank: int, port: int) -> Iterator[None]:
    """Within, this process is one of the ranks; on one thread, as all of them share the machine."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    yield
    dist.destroy_process_group()


def on_two_ranks(worker: Callable[[int, int, str], None], folder: Path) -> list[Any]:
    """What ``worker(rank, port, folder)`` saved as ``folder/rank.pt``, rank by rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(worker, (port, str(folder)), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]
