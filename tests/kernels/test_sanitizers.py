"""The native library under the address and undefined-behaviour sanitizers, on every instruction set there is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
COMPILER = shutil.which("g++")
FLAGS = ["-std=c++17", "-O1", "-g", "-pthread", "-ffp-contract=off", "-fPIC", "-Wno-psabi"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

# Numpy alone: torch would drown in the sanitizer's own checks. Buffers are exact, so one number too far is found.
PROGRAM = """
import ctypes, sys
import numpy as np
native = ctypes.CDLL(sys.argv[1])
native.vqkit_isa.restype = ctypes.c_char_p
at = lambda a: ctypes.c_void_p(a.ctypes.data)
long = ctypes.c_int64
draw = np.random.default_rng(0)
isas = []
while (name := native.vqkit_isa(len(isas))) is not None:
    isas.append(name)
shapes = [(1, 1, 1, 1), (37, 31, 16, 1), (5, 3, 2, 2), (33, 70, 17, 1), (100, 600, 33, 3), (40, 1030, 8, 1)]
shapes += [(9, 300, 300, 1)]
for isa in isas:
    for n, k, d, topk in shapes:
        for cosine in (0, 1):
            x, codes = draw.standard_normal((n, d), dtype=np.float32), draw.standard_normal((k, d), dtype=np.float32)
            x[0] = (np.nan, 0, 1e38)[d % 3]
            codes[k // 2:] = codes[: k - k // 2]
            index, away = np.empty((n, topk), np.int64), np.empty((n, topk))
            args = (at(x), long(n), at(codes), long(k), long(d), cosine, topk, ctypes.c_char_p(isa), 2)
            assert native.vqkit_nearest(*args, at(index), at(away)) == 0, (isa, n, k, d)
            exact = x[-1].astype(float), codes.astype(float)
            if cosine:
                exact = [v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-300) for v in exact]
            assert index[-1, 0] == ((exact[1] - exact[0]) ** 2).sum(1).argmin(), (isa, n, k, d, cosine)
            counts, sums = np.empty(k, np.int64), np.empty((k, d))
            first = np.ascontiguousarray(index[:, 0])
            native.vqkit_code_sums(at(x), at(first), long(n), long(k), long(d), 2, at(counts), at(sums))
            assert counts.sum() == (first >= 0).sum()
            out, back, finite = np.empty_like(x), np.empty_like(x), np.empty(n, bool)
            native.vqkit_pull(at(x), at(codes), at(first), ctypes.c_float(2), long(n), long(d), 2, at(out))
            native.vqkit_turned_back(at(x), long(d), at(out), at(x), long(n), long(d), 2, at(back))
            native.vqkit_finite_rows(at(x), long(n), long(d), 2, at(finite))
            row, basis = np.ones(d, np.float32), np.ones(d, np.int64)
            native.vqkit_shift(at(codes), at(row), long(k), long(d), 2, at(moved := np.empty_like(codes)))
            native.vqkit_unsquash(at(row), long(0), at(codes), at(row), long(k), long(d), 2, at(moved))
            native.vqkit_unsquash(at(codes), long(d), at(codes), at(row), long(k), long(d), 2, at(moved))
            bits, tables = np.full((k, 6, 2), 0.5, np.float32), np.empty((k, 64), np.float32)
            native.vqkit_bit_table(at(bits), long(k), long(6), ctypes.c_float(0), 2, at(tables))
            upper, lower = np.empty((k, 6), np.float32), np.empty((k, 6), np.float32)
            native.vqkit_bit_sums(at(tables), at(tables), long(k), long(6), 2, at(upper), at(lower))
            ones, levels = [at(row)] * 4, np.empty(k, np.int64)
            native.vqkit_snap_levels(at(moved), *ones, at(basis), long(k), long(d), 2, at(codes), at(levels))
print("checked", len(isas))
"""


def _library(name: str) -> str:
    found = subprocess.run([str(COMPILER), f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


@pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs g++ on Linux")
def test_no_sanitizer_complains(tmp_path: Path):
    if not Path(_library("libasan.so")).is_absolute():
        pytest.skip("the compiler has no address sanitizer")

    def build(source: Path) -> str:
        made = str(tmp_path / f"{source.stem}.o")
        subprocess.run([str(COMPILER), *FLAGS, *SANITIZERS, "-c", str(source), "-o", made], check=True)
        return made

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(build, sorted(NATIVE.glob("*.cpp"))))
    library = str(tmp_path / "native.so")
    subprocess.run([str(COMPILER), "-shared", "-pthread", *SANITIZERS, *objects, "-o", library], check=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{_library('libasan.so')} {_library('libstdc++.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, library], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.startswith("checked")
