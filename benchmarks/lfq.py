"""When LFQ collapses: settings of its loss in the examples' autoencoder on digits, here and in vector-quantize-pytorch.

``python -m benchmarks.lfq`` prints a table: test mean squared error and usage, medians over seeds and the worst seed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
import vector_quantize_pytorch as peer
from torch import Tensor, nn
from torch.nn import functional as F

from vqkit import LFQ
from vqkit.data import load_images
from vqkit.functional import usage
from vqkit.functional.usage import count_codes
from vqkit.quantizers import Quantized

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from digits_autoencoder import DIM, Autoencoder

CODES, BATCH, EPOCHS = 256, 128, 30
# entropy_loss_weight, commitment_loss_weight, inv_temperature
SETTINGS = [
    (0.1, 0.0, 100.0),
    (0.02, 0.0, 100.0),
    (0.1, 0.25, 100.0),
    (0.1, 0.05, 100.0),
    (0.1, 0.0, 10.0),
    (0.1, 0.25, 10.0),
    (0.1, 0.05, 10.0),
    (0.02, 0.01, 10.0),
    (0.02, 0.01, 3.0),
    (0.02, 0.01, 1.0),
]


class Peer(nn.Module):
    """The peer's LFQ, which takes its temperature by the call."""

    def __init__(self, inv_temperature: float, **options: Any):
        super().__init__()
        self.lfq, self.inv_temperature = peer.LFQ(**options), inv_temperature

    def forward(self, x: Tensor) -> Quantized:
        return Quantized(*self.lfq(x, inv_temperature=self.inv_temperature))


class Result(NamedTuple):
    mse: float
    used: float


def trained(kind: type[nn.Module], options: dict[str, Any], seed: int, train: Tensor, test: Tensor) -> Result:
    torch.manual_seed(seed)
    model = Autoencoder(kind(codebook_size=CODES, dim=DIM, **options))
    optimizer, order = torch.optim.Adam(model.parameters(), lr=2e-3), torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(train), generator=order)[: len(train) // BATCH * BATCH].split(BATCH):
            reconstruction, loss = model(train[rows])
            optimizer.zero_grad()
            (F.mse_loss(reconstruction, train[rows]) + loss).backward()
            optimizer.step()
    with torch.no_grad():
        out = model.eval().quantizer(model.encoder(test))
        mse = F.mse_loss(model.decoder(out.quantized), test).item()
    return Result(mse, usage(count_codes(out.indices.reshape(-1), CODES)).item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    splits = (load_images("digits", split) for split in ("train", "test"))
    train, test = (images.batch(range(len(images))) for images in splits)
    print("| weight | commitment | T | | MSE | worst | usage | worst |\n|---|---|---|---|---|---|---|---|", flush=True)
    for weight, commitment, sharpness in SETTINGS:
        options = {"entropy_loss_weight": weight, "commitment_loss_weight": commitment, "inv_temperature": sharpness}
        for name, kind in (("vqkit", LFQ), ("peer", Peer)):
            results = [trained(kind, options, seed, train, test) for seed in seeds]
            mse, used = zip(*results, strict=True)
            print(
                f"| {weight:g} | {commitment:g} | {sharpness:g} | {name} | {statistics.median(mse):.4f} "
                f"| {max(mse):.4f} | {statistics.median(used):.0%} | {min(used):.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
