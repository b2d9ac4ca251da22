from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from vqkit.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from vqkit.training.image_metrics import ImageMetrics, mse, psnr, ssim, ssim_window


def pair(batch=6, channels=1, height=16, width=16, low=0.0, span=1.0):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, channels, height, width, generator=generator)
    y = (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    return x * span + low, y * span + low


def ssim_by_hand(x: np.ndarray, y: np.ndarray, span: float, radius: int) -> float:
    """Eq. 13 of Wang et al. 2004 with SciPy's Gaussian, over the pixels whose window lies inside the image."""

    def blur(image):
        return gaussian_filter(image, sigma=0.3 * radius, radius=radius)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    values = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return values[radius:-radius, radius:-radius].mean()


@pytest.mark.parametrize(("height", "width", "window"), [(16, 20, 11), (11, 11, 11), (10, 12, 9), (8, 8, 7), (3, 3, 3)])
@pytest.mark.parametrize(("low", "span"), [(0.0, 1.0), (-0.5, 1.0), (0.0, 255.0)])
def test_ssim_equals_the_formula(height, width, window, low, span):
    assert ssim_window(height, width) == window
    x, y = pair(2, 3, height, width, low, span)
    expected = [
        np.mean([ssim_by_hand(x[b, c].double().numpy(), y[b, c].double().numpy(), span, window // 2) for c in range(3)])
        for b in range(2)
    ]
    np.testing.assert_allclose(ssim(x, y, span).numpy(), expected, atol=1e-9)


def test_mse_and_psnr_equal_numpy():
    x, y = pair(low=-0.5)
    errors = ((x.double() - y.double()) ** 2).numpy().mean(axis=(1, 2, 3))
    np.testing.assert_allclose(mse(x, y).numpy(), errors)
    np.testing.assert_allclose(psnr(x, y, 1.0).numpy(), -10 * np.log10(errors))
    np.testing.assert_allclose(psnr(x * 255, y * 255, 255.0).numpy(), -10 * np.log10(errors), rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 4, 6])
def test_figures_do_not_depend_on_the_batches(batch):
    x, y = pair()
    metrics = ImageMetrics(1.0)
    for images, reconstructions in zip(x.split(batch), y.split(batch), strict=True):
        metrics.update(images, reconstructions)
    scores = metrics.compute()
    assert scores.images == 6
    assert scores.mse == pytest.approx(mse(x, y).mean().item(), rel=1e-12)
    assert scores.psnr == pytest.approx(-10 * math.log10(scores.mse), rel=1e-12)
    assert scores.psnr_per_image == pytest.approx(psnr(x, y, 1.0).mean().item(), rel=1e-12)
    assert scores.ssim == pytest.approx(ssim(x, y, 1.0).mean().item(), rel=1e-12)
    assert scores.ssim_window == 11


def test_low_precision_images_are_measured_in_double():
    x, y = pair()
    assert mse(x.bfloat16(), y.bfloat16()).dtype == torch.float64


def test_tiny_images_have_no_ssim():
    x, y = pair(height=2)
    metrics = ImageMetrics(1.0)
    metrics.update(x, y)
    scores = metrics.compute()
    assert math.isnan(scores.ssim)
    assert scores.ssim_window == 0
    with pytest.raises(ArgumentError, match="at least 3 pixels"):
        ssim(x, y, 1.0)


def test_bad_arguments_are_named():
    x, y = pair()
    metrics = ImageMetrics(1.0)
    with pytest.raises(ArgumentError, match="at least one image"):
        metrics.compute()
    with pytest.raises(ArgumentError, match="y: expected shape"):
        metrics.update(x, y[:, :, :8])
    with pytest.raises(ArgumentTypeError, match="x: expected a floating-point tensor"):
        mse((x * 255).byte(), y)
    metrics.update(x, y)
    with pytest.raises(ArgumentError, match="images: expected shape"):
        metrics.update(x[:, :, :8], y[:, :, :8])
    for span in (0.0, -1.0, math.nan):
        with pytest.raises(ArgumentError, match="span"):
            ImageMetrics(span)


def test_without_torchmetrics(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(MissingExtraError, match="torchmetrics"):
        ssim(*pair(), 1.0)
