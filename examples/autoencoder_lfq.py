"""An autoencoder whose latents are rounded to signs: lookup-free quantization (Yu et al. 2023).

python examples/autoencoder_lfq.py
"""

from __future__ import annotations

import torch
from digits_autoencoder import DIM, arguments, fit, report

from vqkit import LFQ


def main() -> None:
    options = arguments(__doc__)
    torch.manual_seed(0)
    # 8 signs are 256 codes. The entropies in the loss make each choice certain, and all choices together even; they
    # act near zero, so a little commitment keeps the values about ±1, within their reach.
    quantizer = LFQ(codebook_size=256, dim=DIM, entropy_loss_weight=0.02, commitment_loss_weight=0.01)
    print(report(fit(quantizer, options.epochs)))


if __name__ == "__main__":
    main()
