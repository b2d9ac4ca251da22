"""What is measured, and against whom. See README.md beside this file for how to add a case."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import faiss
import torch
import vector_quantize_pytorch as peer

from benchmarks.harness import Case
from vqkit import ProductQuantize, VectorQuantize
from vqkit.codebook import Fixed
from vqkit.functional import kmeans, nearest

SEARCHES = [(16384, 512, 64), (16384, 1024, 256), (16384, 8192, 8), (4096, 65536, 16)]


def _distances(x: torch.Tensor, codes: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    return (x.double() - codes.double()[indices]).square().sum(1)


def searches() -> Iterator[Case]:
    """The exact nearest code against faiss's exact flat index."""
    for n, k, d in SEARCHES:
        generator = torch.Generator().manual_seed(0)
        x, codes = torch.randn(n, d, generator=generator), torch.randn(k, d, generator=generator)
        index = faiss.IndexFlatL2(d)
        index.add(codes.numpy())

        def theirs(index=index, x=x) -> torch.Tensor:
            return torch.from_numpy(index.search(x.numpy(), 1)[1][:, 0])

        def ours(x=x, codes=codes) -> torch.Tensor:
            return nearest(x, codes)

        def check(ours=ours, theirs=theirs, x=x, codes=codes) -> None:
            # faiss rounds in float32: it may err where two codes are nearly as far; we may never be farther.
            gap = _distances(x, codes, ours()) - _distances(x, codes, theirs())
            if bool((gap > 0).any()):
                raise AssertionError(f"nearest: farther than faiss by up to {gap.max():.3g}")

        yield Case(f"nearest N={n} K={k} D={d}", f"faiss {faiss.__version__} IndexFlatL2", check, ours, theirs)


def _steps(n: int, options: dict) -> tuple[VectorQuantize, peer.VectorQuantize, torch.Tensor]:
    torch.manual_seed(0)
    ours = VectorQuantize(**options, threshold_ema_dead_code=0)
    theirs = peer.VectorQuantize(**options)
    codes = torch.randn_like(ours.codebook)
    ours.codebook = codes
    theirs._codebook.embed.data.copy_(codes[None])
    theirs._codebook.embed_avg.data.copy_(codes[None])
    return ours, theirs, torch.randn(1, n, options["dim"])


def training_steps() -> Iterator[Case]:
    """Forward and backward with EMA against vector-quantize-pytorch."""
    for name, n, options in (
        ("rotation", 8192, {"dim": 256, "codebook_size": 512, "rotation_trick": True}),
        ("straight-through", 8192, {"dim": 256, "codebook_size": 512, "rotation_trick": False}),
        ("straight-through", 8192, {"dim": 512, "codebook_size": 1024, "rotation_trick": False}),
    ):
        ours, theirs, x = _steps(n, options)

        def step(module, x=x) -> object:
            rows = x.clone().requires_grad_()
            out = module(rows)
            (out[0].sum() + out[2].sum()).backward()
            return out

        def check(ours=ours, theirs=theirs, step=step) -> None:
            first, second = step(ours), step(theirs)
            differing = (first[1] != second[1]).float().mean()
            if differing > 1e-3:
                raise AssertionError(f"VectorQuantize: {differing:.2%} of the indices differ")

        label = f"VectorQuantize step, {name}, d={options['dim']} K={options['codebook_size']} N={n}"
        yield Case(
            label,
            "vector-quantize-pytorch 1.32.0",
            check,
            lambda m=ours, s=step: s(m),
            lambda m=theirs, s=step: s(m),
        )


def clusterings() -> Iterator[Case]:
    """k-means against faiss, the same iterations on the same rows."""
    x, k = torch.randn(8192, 64, generator=torch.Generator().manual_seed(0)), 256

    def ours() -> float:
        return kmeans(x, k, iters=10).distortion.item()

    def theirs() -> float:
        trained = faiss.Kmeans(64, k, niter=10, min_points_per_centroid=1, max_points_per_centroid=10**9)
        trained.train(x.numpy())
        return float(trained.index.search(x.numpy(), 1)[0].mean())

    def check() -> None:
        first, second = ours(), theirs()
        if first > 1.01 * second:
            raise AssertionError(f"kmeans: distortion {first:.4f}, faiss {second:.4f}")

    yield Case(f"kmeans N=8192 K={k} D=64, 10 iterations", f"faiss {faiss.__version__} Kmeans", check, ours, theirs)


def product_quantizers() -> Iterator[Case]:
    """PQ and OPQ, fitted on the same rows: never more than 2 % worse than faiss."""
    generator = torch.Generator().manual_seed(0)
    n, d, heads, bits = 8192, 32, 8, 6
    x = torch.randn(n, d, generator=generator) @ torch.randn(d, d, generator=generator)

    def ours(rotation: str | None) -> float:
        pq = ProductQuantize(d, heads, 2**bits, rotation, update=Fixed(), revive=None)
        pq.fit([x], iters=25, rows_per_code=256).eval()
        return (pq(x).quantized - x).square().sum(1).mean().item()

    def theirs(rotation: str | None) -> float:
        turned = x.numpy()
        if rotation:
            rotate = faiss.OPQMatrix(d, heads)
            rotate.pq = faiss.ProductQuantizer(d, heads, bits)
            rotate.train(turned)
            turned = rotate.apply(turned)
        pq = faiss.ProductQuantizer(d, heads, bits)
        pq.train(turned)
        return torch.from_numpy(pq.decode(pq.compute_codes(turned)) - turned).square().sum(1).mean().item()

    for rotation, peer_name in ((None, "ProductQuantizer"), ("learned", "OPQMatrix, ProductQuantizer")):

        def check(rotation: str | None = rotation) -> None:
            first, second = ours(rotation), theirs(rotation)
            if first > 1.02 * second:
                raise AssertionError(f"ProductQuantize {rotation}: error {first:.4f}, faiss {second:.4f}")

        label = f"ProductQuantize.fit{' rotated' if rotation else ''} N={n} K={2**bits} H={heads} D={d}"
        against = f"faiss {faiss.__version__} {peer_name}"
        yield Case(label, against, check, partial(ours, rotation), partial(theirs, rotation))


def all_cases() -> Iterator[Case]:
    yield from searches()
    yield from training_steps()
    yield from clusterings()
    yield from product_quantizers()
