"""An autoencoder whose latents are rounded to a learned codebook: a VQ-VAE (van den Oord et al. 2017).

python examples/autoencoder.py
"""

from __future__ import annotations

import torch
from digits_autoencoder import DIM, arguments, fit, report

from vqkit import VectorQuantize


def main() -> None:
    options = arguments(__doc__)
    torch.manual_seed(0)
    # 16 codes an image, each one of 256: 128 bits. The codes are moving averages of the vectors that choose them.
    quantizer = VectorQuantize(dim=DIM, codebook_size=256, decay=0.8, commitment_weight=1.0, accept_image_fmap=True)
    print(report(fit(quantizer, options.epochs)))


if __name__ == "__main__":
    main()
