"""Exercise 2: write the quantizer yourself, see its codebook collapse, and cure it with one line.

    python examples/vqvae_from_scratch.py                 # scikit-learn's 8x8 digits: no download, under a minute
    python examples/vqvae_from_scratch.py --data FOLDER   # MNIST's idx files in FOLDER

The pictures are OUT/from_scratch.png and OUT/vqkit.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import vqkit
from vqkit.data import ImageDataset, load_images
from vqkit.models import MLPVQVAE, MLPVQVAEConfig
from vqkit.training import Evaluation, evaluate
from vqkit.training.pictures import draw_reconstructions

DIM, CODES = 32, 512


class Quantized(NamedTuple):
    quantized: Tensor
    indices: Tensor
    loss: Tensor


class PlainVectorQuantize(nn.Module):
    """The textbook's quantizer: a table of random codes, learned by gradient, and the straight-through trick."""

    def __init__(self, *, dim: int, codebook_size: int):
        super().__init__()
        self.dim, self.codebook_size = dim, codebook_size
        self.codebook = nn.Parameter(torch.rand(codebook_size, dim))

    def encode(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self.codebook).argmin(dim=-1)

    def decode(self, indices: Tensor) -> Tensor:
        return self.codebook[indices]

    def forward(self, x: Tensor) -> Quantized:
        indices = self.encode(x)
        codes = self.decode(indices)
        loss = F.mse_loss(x, codes.detach()) + F.mse_loss(codes, x.detach())
        return Quantized(x + (codes - x).detach(), indices, loss)


def fit(quantizer: nn.Module, images: ImageDataset, epochs: int) -> MLPVQVAE:
    """Train the model of document 004 around a quantizer."""
    torch.manual_seed(0)
    model = MLPVQVAE(MLPVQVAEConfig(spec=images.spec, codes=16), quantizer)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(images, batch_size=128, shuffle=True, drop_last=True)
    for _ in range(epochs):
        for x in loader:
            out = model(x)
            loss = F.mse_loss(out.reconstruction, x) + out.loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


def report(name: str, model: MLPVQVAE, test: ImageDataset, path: Path) -> Evaluation:
    """Print how good the model is on images it has not seen, and draw some of them."""
    result = evaluate(model, test, F.mse_loss, batch_size=128)
    print(f"{name}: usage {result.dataset_usage:.0%}, perplexity {result.dataset_perplexity:.1f}, mse {result.mse:.4f}")
    x = test.batch(range(16))
    with torch.no_grad():
        draw_reconstructions(x, model(x).reconstruction, test.spec, path, title=name)
    return result


def main(arguments: list[str] | None = None) -> tuple[Evaluation, Evaluation]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="digits", help="the folder of MNIST's idx files; by default, small digits")
    parser.add_argument("--epochs", type=int, help="passes over the images; by default 60 for digits, 5 otherwise")
    parser.add_argument("--out", type=Path, default=Path("runs/vqvae_from_scratch"), help="where the pictures go")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    images, test = load_images(options.data, "train"), load_images(options.data, "test")
    epochs = options.epochs or (60 if options.data == "digits" else 5)

    torch.manual_seed(0)
    quantizer = PlainVectorQuantize(dim=DIM, codebook_size=CODES)
    plain = report("from scratch", fit(quantizer, images, epochs), test, options.out / "from_scratch.png")

    # The cure, in one line. Codes become moving averages of the vectors they stand for, so they follow the encoder
    # wherever it goes, and a code that no vector chooses any more is put where vectors are.
    quantizer = vqkit.VectorQuantize(dim=DIM, codebook_size=CODES)
    cured = report("vqkit", fit(quantizer, images, epochs), test, options.out / "vqkit.png")
    return plain, cured


if __name__ == "__main__":
    main()
