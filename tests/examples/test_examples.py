"""Each example is run as a newcomer runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vqkit.models import load

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_mnist_vqvae(tmp_path):
    shown = run("mnist_vqvae.py", "--quiet", "--epochs", "25", cwd=tmp_path)
    found = re.search(r"test mse (\d\.\d+), usage (\d+)%", shown)
    assert found, shown
    assert float(found[1]) < 0.03
    assert int(found[2]) >= 95
    out = tmp_path / "runs" / "mnist_vqvae"
    assert {"reconstructions.png", "samples.png"} <= set(os.listdir(out / "pictures"))
    assert load(out / "model").latent_shape == (16,)


def test_vqvae_from_scratch(tmp_path):
    shown = run("vqvae_from_scratch.py", "--epochs", "10", "--out", "pictures", cwd=tmp_path)
    usage = dict(re.findall(r"^(.*): usage (\d+)%", shown, flags=re.MULTILINE))
    assert int(usage["from scratch"]) < 10
    assert int(usage["vqkit"]) > 80
    assert sorted(os.listdir(tmp_path / "pictures")) == ["from_scratch.png", "vqkit.png"]


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("autoencoder*.py")))
def test_autoencoders(name: str, tmp_path):
    shown = run(name, "--epochs", "6", cwd=tmp_path)
    found = re.search(r"test mse (\d\.\d+), usage ([\d%, ]+)", shown)
    assert found, shown
    assert float(found[1]) < 0.04  # the digits' variance is 0.14
    assert max(int(share) for share in re.findall(r"\d+", found[2])) >= 25
    prefixes = [float(mse) for mse in re.findall(r"^\d of \d .*: mse (\d\.\d+)", shown, flags=re.MULTILINE)]
    assert prefixes == sorted(prefixes, reverse=True)
