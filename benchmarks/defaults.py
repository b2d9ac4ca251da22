"""Why the defaults are what they are: usage, and distortion against k-means, on seeded streams.

``python -m benchmarks.defaults`` prints the table of ``docs/defaults.md``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit import VectorQuantize
from vqkit.codebook import ReplaceRare, ReplaceStale
from vqkit.functional import kmeans, nearest, usage

K, D, ROWS, STEPS = 512, 32, 2048, 200
FIXED = torch.Generator().manual_seed(1)
CENTRES, DRIFT, MIX = (torch.randn(n, D, generator=FIXED) for n in (200, 1, 8))


def draw(kind: str, rows: int, generator: torch.Generator, progress: float) -> Tensor:
    """Rows of a stream; ``progress`` 0 to 1 doubles the scale and moves the mean, for streams that drift."""
    x = torch.randn(rows, D, generator=generator)
    if kind == "mixture":
        x = x + 2 * CENTRES[torch.randint(len(CENTRES), (rows,), generator=generator)]
    elif kind == "manifold":
        x = 0.1 * x + torch.tanh(torch.randn(rows, len(MIX), generator=generator)) @ MIX
    return x * (1 + progress) + 3 * progress * DRIFT


def score(kind: str, drifting: bool, options: dict) -> tuple[float, float]:
    """Share of codes used on fresh rows, and distortion as a multiple of k-means'."""
    torch.manual_seed(0)
    quantizer, generator = VectorQuantize(D, K, **options), torch.Generator().manual_seed(2)
    for step in range(STEPS):
        quantizer(draw(kind, ROWS, generator, step / STEPS if drifting else 0.0))
    end = 1.0 if drifting else 0.0
    test, train = draw(kind, 20_000, generator, end), draw(kind, 60_000, generator, end)
    best = kmeans(train, K, iters=20, generator=torch.Generator().manual_seed(0)).centroids
    indices, distances = nearest(test, quantizer.codebook, return_distances=True)
    reference = nearest(test, best, return_distances=True)[1].mean()
    return usage(torch.bincount(indices, minlength=K)).item(), (distances.mean() / reference).item()


CONFIGS = {
    "**the defaults**": {},
    "decay 0.99": {"decay": 0.99},
    "no revival": {"revive": None},
    "revival on the rows themselves (reach 1)": {"revive": ReplaceRare(reach=1.0)},
    "stale below 1 row a step": {"revive": ReplaceStale(1.0)},
}


def main() -> None:
    streams = [(kind, drifting) for kind in ("gaussian", "mixture", "manifold") for drifting in (False, True)]
    heads = [f"{kind}, {'drifting' if drifting else 'stationary'}" for kind, drifting in streams]
    print(f"| | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for name, options in CONFIGS.items():
        cells = [f"{used:.0%} · {ratio:.3f}" for used, ratio in (score(*stream, options) for stream in streams)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
