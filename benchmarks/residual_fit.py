"""Residual quantization of image patches, fitted here and by faiss in turn: test error, and the time to fit.

``python -m benchmarks.residual_fit --data FOLDER`` takes a folder of images in class folders under ``train`` and
``test``, and prints a table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import faiss
import numpy as np
import torch
from torch import Tensor

from vqkit import ResidualVQ
from vqkit.data import load_images

TRAIN, TEST, SIDE, SIZE, BEAM = 65_536, 20_000, 4, 256, 5


def patches(folder: Path, split: str, rows: int) -> Tensor:
    """``rows`` random patches of SIDE × SIDE pixels, (rows, 3·SIDE²) in [0, 1]."""
    images = load_images(str(folder), split)
    x = torch.cat([images.batch(part) for part in torch.arange(len(images)).split(1000)])
    low, span = images.spec.low, images.spec.span
    tiles = x.unfold(2, SIDE, SIDE).unfold(3, SIDE, SIDE).permute(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * SIDE**2)
    drawn = torch.randperm(len(tiles), generator=torch.Generator().manual_seed(0))[:rows]
    return ((tiles[drawn] - low) / span).contiguous()


def ours(train: Tensor, test: Tensor, stages: int) -> tuple[float, float]:
    """Seconds to fit, and test error Σ_D (x − q)², the mean over rows."""
    rvq = ResidualVQ(train.shape[1], stages, SIZE, eval_beam_size=BEAM)
    start = time.perf_counter()
    rvq.fit([train], rows_per_code=TRAIN // SIZE)
    seconds = time.perf_counter() - start
    return seconds, (test - rvq.eval()(test).quantized).square().sum(1).mean().item()


def theirs(train: Tensor, test: Tensor, stages: int) -> tuple[float, float]:
    quantizer = faiss.ResidualQuantizer(train.shape[1], stages, SIZE.bit_length() - 1)
    quantizer.max_beam_size = BEAM
    start = time.perf_counter()
    quantizer.train(train.numpy())
    seconds = time.perf_counter() - start
    decoded = quantizer.decode(quantizer.compute_codes(test.numpy()))
    return seconds, float(((test.numpy() - decoded) ** 2).sum(1, dtype=np.float64).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    faiss.omp_set_num_threads(torch.get_num_threads())
    train, test = patches(options.data, "train", TRAIN), patches(options.data, "test", TEST)
    ResidualVQ(train.shape[1], 2, SIZE).fit([train[:1024]])  # what is loaded on first use is not fitting
    print(
        f"| stages × codes | test MSE, ours | test MSE, faiss | fit, ours | fit, faiss | faiss / ours |\n|{'---|' * 6}"
    )
    for stages in (4, 8):
        runs = [(ours(train, test, stages), theirs(train, test, stages)) for _ in range(options.repeats)]
        mine, peers = (statistics.median(run[i][0] for run in runs) for i in (0, 1))
        errors = f"{runs[0][0][1]:.5f} | {runs[0][1][1]:.5f}"
        print(f"| {stages} × {SIZE} | {errors} | {mine:.1f} s | {peers:.1f} s | **{peers / mine:.2f}** |", flush=True)


if __name__ == "__main__":
    main()
