"""The kernels of one launch compile for a real GPU, where there is none: the interpreter takes more than a compiler.

Run as a program it compiles them all, in a process that has not been told to interpret.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

F, G, B, L, M, N = "*fp32", "*fp64", "*i1", "*i64", "*i32", "i32"
ROWS = {"D": 300, "P": 4, "CHUNK": 256}
NARROW = {"D": 4, "P": 256, "CHUNK": 4}
WRITE = {"SUMS": 8, "EPS": 1e-5, "EVERYWHERE": False, "UNIT": True}
# Module and name, the types of what comes before the constants, and these.
KERNELS: list[tuple[str, str, list[str], dict]] = [
    ("rows", "_finite_rows", [F, B, N], ROWS),
    ("rows", "_finite_rows", ["*bf16", B, N], ROWS),
    ("rows", "_pull", [F, F, L, F, F, N, N], ROWS),
    ("rows", "_turned_back", [F, F, F, F, N, N, N], ROWS),
    ("levels", "_snap_levels", [*[F] * 6, L, F, L, F, N, N, N], NARROW | {"LIBRARY": True}),
    ("levels", "_unsquash", [F, F, F, F, N, N, N], NARROW),
    ("tables", "_bit_table", [F, F, N], {"BITS": 8, "LEAST": 1e-14, "P": 4, "CHUNK": 256}),
    ("tables", "_bit_table", [F, F, N], {"BITS": 0, "LEAST": 0.0, "P": 1024, "CHUNK": 1}),
    ("averages", "_ema_step", [F, F, F, B, G, G, L, F, N], ROWS | {"SHARE": 0.2, "WEIGHED": True}),
    ("averages", "_ema_totals", [F, F, F, N, N], {"P": 1024}),
    ("averages", "_ema_write", [F, F, F, F, B, B, F, N, N], ROWS | WRITE),
    ("averages", "_ema_write", [F, F, F, F, B, B, F, N, N], NARROW | WRITE | {"EVERYWHERE": True, "UNIT": False}),
    ("averages", "_ema_moved", [F, F, F, F, B, N], ROWS | {"WEIGHT": 1.0}),
    ("places", "_fade_shares", [F, G, L, N], {"P": 256, "WINDOW": 8.0}),
    ("places", "_assigned", [B, F, G, B, L, N, N], {"P": 32, "CHUNK": 128}),
    ("places", "_overwrite", [F, B, F, N], ROWS),
    ("draws", "_count", [B, L, L, M, M, M, N], {"BITS": 16, "P": 256}),
    ("draws", "_begin", [M, M, M], {"BITS": 16, "SECTIONS": 64}),
    ("draws", "_begin", [M, M, M], {"BITS": 10, "SECTIONS": 1}),
    ("draws", "_sort_in", [B, M, M, M, M, N], {"BITS": 16, "P": 256}),
    ("draws", "_rank", [M, M, M, M, M, G, L, N, N], {"BITS": 16, "SECTIONS": 64, "P": 256}),
    ("window", "_count", [L, L, N, N], {"P": 1024}),
    ("window", "_write", [L, L, L, M, N, N], {"LENGTH": 65536, "P": 1024, "PARTS": 64}),
    ("window", "_advance", [L, L, N], {"LENGTH": 65536, "PARTS": 64}),
    ("tables", "_bit_sums", [F, F, F, F, N], {"BITS": 8, "P": 4, "CHUNK": 256, "COLUMNS": 8}),
]


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_every_kernel_compiles_for_the_gpus_it_takes():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    assert done.stdout.split() == [name for _, name, *_ in KERNELS for _ in (80, 90)]


def main() -> None:
    """Compile all of them, and print their names."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as compiled

    for module, name, types, constants in KERNELS:
        kernel = getattr(importlib.import_module(f"vqkit.kernels.triton.{module}"), name)
        signature = dict(zip(kernel.arg_names, [*types, *["constexpr"] * len(constants)], strict=True))
        places = {(kernel.arg_names.index(constant),): value for constant, value in constants.items()}
        for capability in (80, 90):
            binary = compiled(ASTSource(kernel, signature, places), target=GPUTarget("cuda", capability, 32))
            assert binary.asm["cubin"]
            print(name)


if __name__ == "__main__":
    main()
