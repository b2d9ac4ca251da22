"""What the ``autoencoder_*.py`` examples share: a small autoencoder around any quantizer, trained on 8x8 digits."""

from __future__ import annotations

import argparse
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vqkit.data import load_images

DIM = 32  # channels of the 4x4 map that is quantized


class Autoencoder(nn.Module):
    """Images (B, 1, 8, 8) to maps (B, DIM, 4, 4), through the quantizer, and back."""

    def __init__(self, quantizer: nn.Module):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 64, kernel_size=3, padding=1),
            nn.GELU(),
            nn.Conv2d(64, 64, kernel_size=4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(64, DIM, kernel_size=1),
        )
        self.quantizer = quantizer
        self.decoder = nn.Sequential(
            nn.Conv2d(DIM, 64, kernel_size=3, padding=1),
            nn.GELU(),
            nn.ConvTranspose2d(64, 64, kernel_size=4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(64, 1, kernel_size=3, padding=1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The reconstruction, and the quantizer's loss; some have several terms, some none."""
        out = self.quantizer(self.encoder(x))
        loss = out.loss.sum() if hasattr(out, "loss") else x.new_zeros(())
        return self.decoder(out.quantized), loss

    @torch.no_grad()
    def rebuilt(self, x: Tensor) -> Tensor:
        """The same from indices alone, as a program would that stores or models them."""
        indices = self.quantizer.encode(self.encoder(x))
        return self.decoder(self.quantizer.decode(indices))


def fit(quantizer: nn.Module, epochs: int) -> Autoencoder:
    """Train on the digits of the training split."""
    model = Autoencoder(quantizer)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(load_images("digits", "train"), batch_size=128, shuffle=True, drop_last=True)
    for _ in range(epochs):
        for x in loader:
            reconstruction, loss = model(x)
            optimizer.zero_grad()
            (F.mse_loss(reconstruction, x) + loss).backward()
            optimizer.step()
    return model.eval()


def report(model: Autoencoder) -> str:
    """The error on digits it has not seen, and the share of codes in use."""
    test = load_images("digits", "test")
    x = test.batch(range(len(test)))
    usage = ", ".join(f"{share:.0%}" for share in model.quantizer.usage().reshape(-1).tolist())
    return f"test mse {F.mse_loss(model.rebuilt(x), x):.4f}, usage {usage}"


def arguments(description: str | None) -> Any:
    """``--epochs``, and what the script's first line says for ``--help``."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30, help="passes over 1,437 images; 30 by default")
    return parser.parse_args()
