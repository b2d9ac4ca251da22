"""``python -m benchmarks.gpu``: the kernels on a GPU, against torch, the peer and a plain matrix product.

Every case is first checked against the reference, which is exact in float64. Times are medians by CUDA events of what a
caller waits for, launches included; "busy" is the time that the GPU itself worked, by the profiler.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import triton
import vector_quantize_pytorch as peer
from torch import Tensor
from triton.testing import do_bench

import vqkit
from vqkit.kernels import ops, reference

RESULTS = Path(__file__).parent / "results"
PEER = "vector-quantize-pytorch 1.32.0"
SEARCHES = [
    (65536, 8192, 64, "euclidean", 1),
    (65536, 16384, 32, "euclidean", 1),
    (65536, 8192, 8, "cosine", 1),
    (65536, 1024, 64, "euclidean", 1),
    (16384, 8192, 128, "euclidean", 1),
    (16384, 16384, 256, "euclidean", 1),
    (16384, 1024, 512, "euclidean", 1),
    (8192, 512, 256, "euclidean", 1),
    (16384, 8192, 128, "dot", 1),
    (16384, 8192, 128, "euclidean", 4),
    (16384, 8192, 64, "cosine", 32),
]
SUMS = [(65536, 8192, 64), (65536, 1024, 64), (16384, 16384, 256), (8192, 512, 256)]
CHAINS = [(65536, 8, 1024, 128), (4096, 8, 1024, 128), (65536, 4, 1024, 64), (16384, 8, 1024, 256), (65536, 4, 256, 16)]
STEPS: list[tuple[str, int, int, dict]] = [
    ("VectorQuantize", 65536, 64, {"dim": 64, "codebook_size": 8192}),
    ("VectorQuantize", 8192, 256, {"dim": 256, "codebook_size": 512}),
    ("VectorQuantize", 8192, 256, {"dim": 256, "codebook_size": 512, "rotation_trick": False}),
    ("VectorQuantize", 65536, 256, {"dim": 256, "codebook_size": 8192, "codebook_dim": 8, "use_cosine_sim": True}),
    ("ResidualVQ", 4096, 128, {"dim": 128, "codebook_size": 1024, "num_quantizers": 8}),
    ("LFQ", 1024, 16, {"dim": 16, "codebook_size": 2**16}),
    ("FSQ", 65536, 4, {"levels": [8, 5, 5, 5]}),
]
Row = dict[str, object]


def microseconds(work: Callable[[], object]) -> float | None:
    """The median time of a call; None where the GPU has too little memory."""
    try:
        return round(float(do_bench(work, warmup=20, rep=100, return_mode="median")) * 1e3, 1)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None


def busy(work: Callable[[], object], repeats: int = 5) -> tuple[float, float]:
    """Microseconds the GPU works on a call, and how many kernels run."""
    work()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
    kernels = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    return round(sum(e.device_time for e in kernels) / repeats, 1), len(kernels) / repeats


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, device="cuda", generator=torch.Generator("cuda").manual_seed(seed))


def searches() -> Iterator[Row]:
    for n, k, d, metric, topk in SEARCHES:
        x, codes = normal(1, n, d, seed=0), normal(1, k, d, seed=1)
        found, distances = ops.nearest(x, codes, metric, topk, "triton")
        expected, expected_distances = reference.nearest(x, codes, metric, topk)
        differing = int((found != expected).sum())
        torch.testing.assert_close(distances, expected_distances, rtol=1e-12, atol=1e-14)
        if differing:
            raise AssertionError(f"nearest: {differing} indices differ from the reference")
        rows, table = (torch.nn.functional.normalize(t[0], dim=-1) if metric == "cosine" else t[0] for t in (x, codes))
        half = table.square().sum(1) / 2 if metric == "euclidean" else table.new_zeros(k)

        def eager(rows: Tensor = rows, table: Tensor = table, half: Tensor = half, topk: int = topk) -> Tensor:
            scores = (torch.addmm(-half, block, table.t()) for block in rows.split(8192))
            return torch.cat([s.argmax(1) if topk == 1 else s.topk(topk).indices for s in scores])

        has_peer = metric != "dot" and topk == 1
        module = peer.VectorQuantize(dim=d, codebook_size=k, use_cosine_sim=metric == "cosine").cuda().eval()
        a, b, out = x[0].bfloat16(), codes[0].bfloat16().t(), torch.empty(n, k, dtype=torch.bfloat16, device="cuda")
        ours = partial(ops.nearest, x, codes, metric, topk, "triton")
        work, kernels = busy(ours)
        ceiling = microseconds(lambda a=a, b=b, out=out: torch.mm(a, b, out=out))
        del out
        yield {
            "case": f"N={n} K={k} D={d} {metric}" + (f", {topk} a row" if topk > 1 else ""),
            "ours": microseconds(ours),
            "busy": work,
            "kernels": kernels,
            "torch, float32": microseconds(eager),
            "peer, eval": microseconds(torch.no_grad()(partial(module, x))) if has_peer else "has none",
            "bf16 product": ceiling,
            "product / busy": None if ceiling is None else round(ceiling / work, 2),
        }


def sums() -> Iterator[Row]:
    for n, k, d in SUMS:
        x = normal(1, n, d, seed=0)
        drawn = torch.randint(0, k, (1, n), device="cuda", generator=torch.Generator("cuda").manual_seed(1))
        for name, indices in (("uniform", drawn), ("one code", torch.zeros_like(drawn))):
            counts, total = ops.code_sums(x, indices, k, "triton")
            expected = reference.code_sums(x, indices, k)
            torch.testing.assert_close(counts, expected[0])
            torch.testing.assert_close(total, expected[1], rtol=1e-11, atol=1e-11)
            into = torch.zeros(k, d, device="cuda")
            yield {
                "case": f"N={n} K={k} D={d}, {name}",
                "ours": microseconds(lambda x=x, i=indices, k=k: ops.code_sums(x, i, k, "triton")),
                "busy": busy(lambda x=x, i=indices, k=k: ops.code_sums(x, i, k, "triton"))[0],
                "float64 atomics (reference)": microseconds(lambda x=x, i=indices, k=k: reference.code_sums(x, i, k)),
                "float32 index_add_ alone": microseconds(lambda t=into, x=x, i=indices: t.index_add_(0, i[0], x[0])),
            }


def chains() -> Iterator[Row]:
    for n, q, k, d in CHAINS:
        x = normal(n, d, seed=0)
        codes = normal(q, k, d, seed=1) * (0.8 ** torch.arange(q, device="cuda"))[:, None, None]
        if not torch.equal(ops.residual_chain(x, codes, "triton"), reference.residual_chain(x, codes)):
            raise AssertionError("residual_chain: indices differ from the reference")
        module = peer.ResidualVQ(dim=d, codebook_size=k, num_quantizers=q).cuda().eval()
        for layer, table in zip(module.layers, codes, strict=True):
            layer._codebook.embed.data.copy_(table[None])
        yield {
            "case": f"N={n} Q={q} K={k} D={d}",
            "ours": microseconds(lambda x=x, c=codes: ops.residual_chain(x, c, "triton")),
            "busy": busy(lambda x=x, c=codes: ops.residual_chain(x, c, "triton"))[0],
            "peer's ResidualVQ, eval": microseconds(torch.no_grad()(lambda m=module, x=x: m(x[None]))),
        }


def steps() -> Iterator[Row]:
    for name, n, width, options in STEPS:
        torch.manual_seed(0)
        ours, theirs = getattr(vqkit, name)(**options).cuda(), getattr(peer, name)(**options).cuda()
        x = normal(16, n // 16, width, seed=0)

        def step(module: torch.nn.Module, x: Tensor = x) -> None:
            train(module, x.clone().requires_grad_())

        step(ours)
        torch.cuda.set_sync_debug_mode("error")
        step(ours)
        torch.cuda.set_sync_debug_mode("default")
        work, kernels = busy(lambda s=step, m=ours: s(m))
        peers_work, peers_kernels = busy(lambda s=step, m=theirs: s(m))
        peers = microseconds(lambda s=step, m=theirs: s(m))
        replayed, eager = microseconds(graphed(ours, x)), microseconds(lambda s=step, m=ours: s(m))
        yield {
            "case": f"{name} N={n} " + " ".join(f"{key}={value}" for key, value in options.items()),
            "ours": eager,
            "ours, replayed as a CUDA graph": replayed,
            "busy": work,
            "kernels": kernels,
            "peer": peers,
            "peer busy": peers_work,
            "peer kernels": peers_kernels,
            "peer / ours": None if peers is None or eager is None else round(peers / eager, 2),
            "peer / replayed": None if peers is None or replayed is None else round(peers / replayed, 2),
        }


def train(module: torch.nn.Module, rows: Tensor) -> None:
    """Forward and backward, with the loss where there is one: the peer's FSQ returns none."""
    quantized, _, *loss = module(rows)[:3]
    torch.stack([t.sum() for t in (quantized, *loss)]).sum().backward()


def graphed(module: torch.nn.Module, x: Tensor) -> Callable[[], None]:
    """A training step captured once; nothing in it waits for the host, so it can be."""
    rows = x.clone().requires_grad_()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            train(module, rows)
            rows.grad = None
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        train(module, rows)
    return graph.replay


def table(rows: list[Row]) -> str:
    def text(value: object) -> str:
        return "out of memory" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return "\n".join(lines + ["| " + " | ".join(text(row[name]) for name in names) + " |" for row in rows])


def machine() -> dict[str, str]:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    versions = {"torch": torch.__version__, "triton": triton.__version__}
    return {"card": torch.cuda.get_device_name(), "driver": driver, **versions, "peer": PEER}


def main() -> None:
    about = " ".join((__doc__ or "").split("\n\n")[1].split())
    notes = ", ".join(f"{key} {value}" for key, value in machine().items())
    text = f"# On a GPU\n\n{notes}. Medians in microseconds. {about}\n"
    facts: dict[str, object] = {"machine": machine()}
    groups = {"nearest": searches, "code_sums": sums, "residual_chain": chains, "training step": steps}
    RESULTS.mkdir(exist_ok=True)
    for name, cases in groups.items():
        rows = list(cases())
        facts[name] = rows
        text += f"\n## {name}\n\n{table(rows)}\n"
        print(f"\n## {name}\n\n{table(rows)}", flush=True)
        (RESULTS / "gpu.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        (RESULTS / "gpu.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
