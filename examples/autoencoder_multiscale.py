"""An autoencoder whose latents are a pyramid of maps of codes, coarse to fine (VAR, Tian et al. 2024).

python examples/autoencoder_multiscale.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from digits_autoencoder import DIM, arguments, fit, report

from vqkit import MultiScaleVQ
from vqkit.codebook import KMeansInit
from vqkit.data import load_images


def main() -> None:
    options = arguments(__doc__)
    torch.manual_seed(0)
    # 1 + 4 + 9 + 16 codes an image, all of one table of 128. Each scale rounds what the coarser ones left over, and has
    # a convolution of its own that refines what it adds.
    quantizer = MultiScaleVQ(dim=DIM, codebook_size=128, scales=(1, 2, 3, 4), share_quant_resi=0, init=KMeansInit())
    model = fit(quantizer, options.epochs)
    print(report(model))

    test = load_images("digits", "test")
    x = test.batch(range(len(test)))
    with torch.no_grad():
        indices = quantizer.encode(model.encoder(x))
        for scales in range(1, 5):
            some = quantizer.join(quantizer.split(indices)[:scales])
            y = model.decoder(quantizer.decode(some))
            print(f"{scales} of 4 scales, {some.shape[1]} codes an image: mse {F.mse_loss(y, x):.4f}")
        # A transformer that predicts scale after scale reads the sum of the scales before, at the size of the next.
        print(f"inputs of a next-scale transformer: {tuple(quantizer.teacher_forcing(indices).shape)}")


if __name__ == "__main__":
    main()
