"""Exercise 1: train a VQ-VAE of fully connected layers, look at its reconstructions, and at images from random codes.

    python examples/mnist_vqvae.py                        # scikit-learn's 8x8 digits: no download, about 20 seconds
    python examples/mnist_vqvae.py --data FOLDER          # MNIST's idx files in FOLDER: 5 epochs, about a minute

The pictures are OUT/pictures/reconstructions.png and OUT/pictures/samples.png.
"""

from __future__ import annotations

import argparse

import torch.nn.functional as F

from vqkit.training import evaluate, presets, train


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help="the folder of MNIST's idx files; without it, scikit-learn's digits")
    parser.add_argument("--epochs", type=int, help="passes over the images; by default 80 for digits, 5 for MNIST")
    parser.add_argument("--out", default="runs/mnist_vqvae", help="where the model and the pictures go")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)

    # 784-300-300-512, 16 codes of width 32 from a codebook of 512, and back; Adam 1e-3, batches of 128
    run = presets.get("mnist-mlp")
    if options.data:
        run = run.override([f"data.source={options.data}"])
    else:
        # 24 times fewer images: as many more epochs, and a codebook they can fill
        run = run.override(["data.source=digits", "train.epochs=80", "model.quantizer.codebook_size=128"])
    if options.epochs:
        run = run.override([f"train.epochs={options.epochs}"])

    model = train(run, options.out, overwrite=True, progress=not options.quiet)

    test = evaluate(model, run.data.load("test"), F.mse_loss, batch_size=128)
    print(f"test mse {test.mse:.4f}, usage {test.dataset_usage:.0%}, perplexity {test.dataset_perplexity:.0f}")
    print(f"pictures in {options.out}/pictures")


if __name__ == "__main__":
    main()
