"""An autoencoder whose latents are rounded in stages, each to what the one before left over (SoundStream, 2021).

python examples/autoencoder_residual.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from digits_autoencoder import DIM, arguments, fit, report

from vqkit import ResidualVQ
from vqkit.data import load_images


def main() -> None:
    options = arguments(__doc__)
    torch.manual_seed(0)
    # 16 positions an image, four stages each of 64 codes. Training sometimes stops early, so every prefix decodes well.
    quantizer = ResidualVQ(
        dim=DIM, num_quantizers=4, codebook_size=64, kmeans_init=True, quantize_dropout=True, accept_image_fmap=True
    )
    model = fit(quantizer, options.epochs)
    print(report(model))

    test = load_images("digits", "test")
    x = test.batch(range(len(test)))
    with torch.no_grad():
        indices = quantizer.encode(model.encoder(x))
        for stages in range(1, 5):
            y = model.decoder(quantizer.decode(indices[..., :stages]))
            print(f"{stages} of 4 stages, {stages * 16 * 6} bits an image: mse {F.mse_loss(y, x):.4f}")


if __name__ == "__main__":
    main()
