"""An autoencoder whose latents are rounded coordinate by coordinate: finite scalar quantization (Mentzer et al. 2023).

python examples/autoencoder_fsq.py
"""

from __future__ import annotations

import torch
from digits_autoencoder import DIM, arguments, fit, report

from vqkit import FSQ


def main() -> None:
    options = arguments(__doc__)
    torch.manual_seed(0)
    # 8·6·5 = 240 codes on a grid of three coordinates: no table, no loss of its own, nothing that could collapse.
    quantizer = FSQ(levels=[8, 6, 5], dim=DIM, channel_first=True)
    print(report(fit(quantizer, options.epochs)))


if __name__ == "__main__":
    main()
