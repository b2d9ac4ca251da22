"""Every quantizer in one autoencoder on MNIST: the same steps, 9 to 10 bits a code.

``python -m benchmarks.quantizers --data FOLDER`` prints a table. FOLDER holds MNIST's idx files.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from typing import Any, NamedTuple

import torch

from vqkit.data import load_images
from vqkit.functional import perplexity, usage
from vqkit.functional.usage import count_codes
from vqkit.models import MLPVQVAE, MLPVQVAEConfig

CODES, DIM, BATCH = 16, 32, 128
STAGES = {"num_quantizers": 2, "codebook_size": 32}
# 9 bits a code, or 10 where two stages or the levels make it so.
CONFIGS: dict[str, dict[str, Any]] = {
    "VectorQuantize": {"codebook_size": 512},
    "VectorQuantize, cosine": {"codebook_size": 512, "use_cosine_sim": True},
    "VectorQuantize, codebook_dim 8": {"codebook_size": 512, "codebook_dim": 8},
    "VectorQuantize, rotation trick": {"codebook_size": 512, "rotation_trick": True},
    "VectorQuantize, gradient": {"codebook_size": 512, "learnable_codebook": True},
    "VectorQuantize, DiVeQ": {"codebook_size": 512, "directional_reparam": True},
    "SimVQ": {"codebook_size": 512},
    "IBQ": {"codebook_size": 512},
    "GumbelQuantize": {"codebook_size": 512},
    "SQVAE": {"codebook_size": 512},
    "SinkhornVQ": {"codebook_size": 512},
    "ProductQuantize": {"num_codebooks": 2, "codebook_size": 32},
    "FSQ": {"levels": [8, 5, 5, 5]},
    "FSP": {"levels": [8, 5, 5, 5]},
    "LatentQuantize": {"levels": [8, 8, 8]},
    "LFQ": {"codebook_size": 512},
    "BSQ": {"codebook_size": 512},
    "ResidualVQ": STAGES,
    "ResidualVQ, implicit": {**STAGES, "implicit_neural_codebook": True},
    "GroupedResidualVQ": {"groups": 2, "num_quantizers": 1, "codebook_size": 32},
    "SplitResidualVQ": {**STAGES, "codebook_dim": 16},
    "ResidualSimVQ": STAGES,
    "ResidualFSQ": {"levels": [4, 3, 3], "num_quantizers": 2},
    "ResidualLFQ": STAGES,
}


class Row(NamedTuple):
    """test mean squared error, share of codes used on the test set, their perplexity over K (means over tables)."""

    name: str
    bits: float
    mse: float
    used: float
    even: float
    step_ms: float


def run(name: str, options: dict[str, Any], train: Any, test: Any, steps: int, seed: int) -> Row:
    torch.manual_seed(seed)
    quantizer = {"type": name.split(",")[0], "dim": DIM, **options}
    model = MLPVQVAE(MLPVQVAEConfig(spec=train.spec, codes=CODES, hidden=300, quantizer=quantizer))
    optimizer, order = torch.optim.Adam(model.parameters(), 1e-3), torch.Generator().manual_seed(seed)
    times = []
    for _ in range(steps):
        x = train.batch(torch.randint(len(train), (BATCH,), generator=order))
        start = time.perf_counter()
        out = model.train()(x)
        loss = (out.reconstruction - x).square().mean() + out.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    squared, drawn = 0.0, []
    with torch.no_grad():
        for rows in torch.arange(len(test)).split(1000):
            x = test.batch(rows)
            out = model.eval()(x)
            squared += (out.reconstruction - x).square().mean().item() * len(rows)
            drawn.append(model.quantizer.columns(out.indices)[0])
    sizes = model.quantizer.index_sizes
    counts = [count_codes(column, size) for column, size in zip(torch.cat(drawn).t(), sizes, strict=True)]
    even = [perplexity(c).item() / len(c) for c in counts]
    return Row(
        name,
        sum(math.log2(size) for size in sizes),
        squared / len(test),
        statistics.mean(usage(c).item() for c in counts),
        statistics.mean(even),
        statistics.median(times) * 1e3,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of MNIST's idx files")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="the quantizers whose name holds this")
    options = parser.parse_args()
    train, test = (load_images(options.data, split) for split in ("train", "test"))
    print("| quantizer | bits a code | test MSE | usage | perplexity / K | step, ms | step / VectorQuantize's |")
    print("|---|---|---|---|---|---|---|")
    first = 0.0
    for name, config in CONFIGS.items():
        if options.only in name:
            row = run(name, config, train, test, options.steps, options.seed)
            first = first or row.step_ms
            print(
                f"| {row.name} | {row.bits:.1f} | {row.mse:.4f} | {row.used:.0%} | {row.even:.2f} "
                f"| {row.step_ms:.1f} | {row.step_ms / first:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
