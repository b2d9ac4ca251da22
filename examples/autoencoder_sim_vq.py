"""An autoencoder with SimVQ: a frozen random table seen through one learned linear map (Zhu et al. 2024).

python examples/autoencoder_sim_vq.py
"""

from __future__ import annotations

import torch
from digits_autoencoder import DIM, arguments, fit, report

from vqkit import SimVQ


def main() -> None:
    options = arguments(__doc__)
    torch.manual_seed(0)
    # A gradient at one code moves the map, and with it all 512: none is left behind.
    quantizer = SimVQ(dim=DIM, codebook_size=512, rotation_trick=False, channel_first=True)
    print(report(fit(quantizer, options.epochs)))


if __name__ == "__main__":
    main()
