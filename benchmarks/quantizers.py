"""Every quantizer in one autoencoder on MNIST: the same steps, 9 to 10 bits a code.

``python -m benchmarks.quantizers --data FOLDER`` prints a table. FOLDER holds MNIST's idx files. A step's time is a
ratio: after its training, each model takes turns with one of ``VectorQuantize``, step by step.
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


class Trainee:
    """One autoencoder, its optimizer, and its own order of MNIST's images."""

    def __init__(self, name: str, train: Any, seed: int):
        torch.manual_seed(seed)
        quantizer = {"type": name.split(",")[0], "dim": DIM, **CONFIGS[name]}
        self.name, self.images = name, train
        self.model = MLPVQVAE(MLPVQVAEConfig(spec=train.spec, codes=CODES, hidden=300, quantizer=quantizer))
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        self.order = torch.Generator().manual_seed(seed)

    def step(self) -> float:
        """One training step, and the seconds it took without the loading of its images."""
        x = self.images.batch(torch.randint(len(self.images), (BATCH,), generator=self.order))
        start = time.perf_counter()
        out = self.model.train()(x)
        loss = (out.reconstruction - x).square().mean() + out.loss
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return time.perf_counter() - start

    def judged(self, test: Any) -> Row:
        """What the model makes of the test images."""
        quantizer, squared, drawn = self.model.quantizer, 0.0, []
        with torch.no_grad():
            for rows in torch.arange(len(test)).split(1000):
                x = test.batch(rows)
                out = self.model.eval()(x)
                squared += (out.reconstruction - x).square().mean().item() * len(rows)
                drawn.append(quantizer.columns(out.indices.movedim(0, quantizer.batch_axis))[0])
        sizes = quantizer.index_sizes
        counts = [count_codes(column, size) for column, size in zip(torch.cat(drawn).t(), sizes, strict=True)]
        used = statistics.mean(usage(c).item() for c in counts)
        even = statistics.mean(perplexity(c).item() / len(c) for c in counts)
        return Row(self.name, sum(math.log2(size) for size in sizes), squared / len(test), used, even)


def times_slower(trainee: Trainee, base: Trainee, turns: int) -> float:
    """The median step's time over that of ``base``, taken in turns. Trains both on."""
    pairs = [(trainee.step(), base.step()) for _ in range(turns)]
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return mine / theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of MNIST's idx files")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=50, help="timed steps, one by one with VectorQuantize's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[""], help="the quantizers whose name holds one of these")
    options = parser.parse_args()
    train, test = (load_images(options.data, split) for split in ("train", "test"))
    base = Trainee("VectorQuantize", train, options.seed)
    print("| quantizer | bits a code | test MSE | usage | perplexity / K | step / VectorQuantize's |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in CONFIGS:
        if any(part in name for part in options.only):
            trainee = Trainee(name, train, options.seed)
            for _ in range(options.steps):
                trainee.step()
            row = trainee.judged(test)
            ratio = times_slower(trainee, base, options.turns)
            print(
                f"| {row.name} | {row.bits:.1f} | {row.mse:.4f} | {row.used:.0%} | {row.even:.2f} | {ratio:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
