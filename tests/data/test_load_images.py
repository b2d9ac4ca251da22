from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vqkit.data import load_images
from vqkit.errors import ArgumentError, ArgumentTypeError, DataError

REAL = Path(__file__).parents[3] / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real data sets in {REAL}")


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ArgumentError, match="source: expected digits, hf:NAME, or a path that exists, got 'digit'"):
        load_images("digit", "train")


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ArgumentTypeError, match="source"):
        load_images(3, "train")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match="split"):
        load_images("digits", "training")
    with pytest.raises(ArgumentError, match="value_range"):
        load_images("digits", "train", value_range=(1.0, 0.0))
    with pytest.raises(ArgumentTypeError, match="value_range"):
        load_images("digits", "train", value_range="01")
    with pytest.raises(ArgumentError, match=r"those digits takes \(none\), got layout"):
        load_images("digits", "train", layout="NHWC")
    (tmp_path / "it.txt").write_text("?")
    with pytest.raises(DataError, match=r"it\.txt: not a data set"):
        load_images(tmp_path / "it.txt", "train")


def test_importing_vqkit_reads_no_heavy_package():
    heavy = ("PIL", "sklearn", "matplotlib", "torchmetrics", "typer", "datasets", "scipy")
    code = f"import sys, vqkit.data; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.data
@needs_real_data
def test_the_real_mnist():
    splits = [load_images(REAL / "mnist", split) for split in ("train", "valid", "test")]
    assert [len(split) for split in splits] == [54000, 6000, 10000]
    assert splits[2].mean() == pytest.approx(0.1325, abs=1e-4)


@pytest.mark.data
@needs_real_data
def test_the_real_cifar10_as_pictures():
    test = load_images(REAL / "cifar10", "test", value_range=(-0.5, 0.5))
    assert len(test) == 1000
    assert test.batch(range(32)).shape == (32, 3, 32, 32)
    assert torch.equal(test[7], load_images(REAL / "cifar10", "test", value_range=(-0.5, 0.5))[7])
