"""How close reconstructions come to their images: mean squared error, PSNR and SSIM, exact over a whole data set."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.errors import MissingExtraError, bad_value
from vqkit.shapes import check_float, check_number, check_shape

# Wang et al. 2004: a Gaussian window of 11 pixels, sigma 1.5, so 0.3 per pixel of radius.
SSIM_WINDOW = 11
SIGMA_PER_RADIUS = 0.3


class ImageScores(NamedTuple):
    """Figures over a set of images.

    Attributes:
        images: how many there were.
        mse: mean squared error over all values, in units of the value range squared.
        psnr: peak signal-to-noise ratio of that ``mse`` in dB; infinite for perfect reconstructions.
        psnr_per_image: mean over the images of each one's own PSNR, in dB: the figure most papers print.
        ssim: mean over the images of the structural similarity, at most 1; NaN when images are under 3 pixels wide.
        ssim_window: side of its Gaussian window in pixels; 0 when there is no SSIM.
    """

    images: int
    mse: float
    psnr: float
    psnr_per_image: float
    ssim: float
    ssim_window: int


def mse(x: Tensor, y: Tensor) -> Tensor:
    """The mean squared error of each image: two (B, C, H, W) tensors to (B,) float64.

    Raises:
        ArgumentError, ArgumentTypeError: when they are not float images of one shape.

    >>> mse(torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.5))
    tensor([0.2500, 0.2500], dtype=torch.float64)
    """
    _check_pair(x, y)
    return (x.double() - y.double()).square().mean(dim=(1, 2, 3))


def psnr(x: Tensor, y: Tensor, span: float) -> Tensor:
    """The peak signal-to-noise ratio of each image, ``10 log10(span² / mse)``, in dB: (B,) float64.

    Args:
        x, y: (B, C, H, W) floats.
        span: peak-to-peak range of the values, such as 1.0 for images in [-0.5, 0.5].

    >>> psnr(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.1), span=1.0)
    tensor([20.0000], dtype=torch.float64)
    """
    check_number("span", span, 0, open_low=True)
    return 10 * (span**2 / mse(x, y)).log10()


def ssim(x: Tensor, y: Tensor, span: float) -> Tensor:
    """The structural similarity of each image (Wang et al. 2004, mean over pixels and channels): (B,) float64.

    The window is Gaussian, 11 pixels wide with sigma 1.5, and lies wholly inside the image, as in scikit-image with
    ``gaussian_weights=True, use_sample_covariance=False``; for smaller images see :func:`ssim_window`.

    Args:
        x, y: (B, C, H, W) floats.
        span: peak-to-peak range of the values.

    Raises:
        ArgumentError: for images under 3 pixels wide, or shapes that differ.
        MissingExtraError: without torchmetrics.

    >>> x = torch.rand(2, 3, 16, 16)
    >>> ssim(x, x, span=1.0)
    tensor([1., 1.], dtype=torch.float64)
    """
    _check_pair(x, y)
    check_number("span", span, 0, open_low=True)
    window = ssim_window(x.shape[2], x.shape[3])
    if window == 0:
        raise bad_value("x", "images at least 3 pixels high and wide", f"shape {tuple(x.shape)}")
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure
    except ImportError as error:
        raise MissingExtraError("torchmetrics", "train") from error
    radius = window // 2
    # torchmetrics derives the window from sigma, as int(3.5 sigma + 0.5) pixels to each side, and pads the border.
    _, pixels = structural_similarity_index_measure(
        x.double(),
        y.double(),
        sigma=SIGMA_PER_RADIUS * radius,
        data_range=float(span),
        reduction="none",
        return_full_image=True,
    )
    return pixels[:, :, radius:-radius, radius:-radius].mean(dim=(1, 2, 3))


def ssim_window(height: int, width: int) -> int:
    """The side of SSIM's window: 11, or the largest odd number that fits the image; 0 when that is under 3.

    The Gaussian shrinks with it: sigma is 0.3 times the window's radius.

    >>> ssim_window(32, 32), ssim_window(8, 8), ssim_window(2, 40)
    (11, 7, 0)
    """
    side = min(height, width, SSIM_WINDOW)
    side -= 1 - side % 2
    return side if side >= 3 else 0


class ImageMetrics:
    """Collects figures batch by batch; the result does not depend on how the images were batched.

    Args:
        span: peak-to-peak range of the values; ``spec.span`` of a data set.

    >>> metrics = ImageMetrics(span=1.0)
    >>> for batch in torch.rand(12, 1, 8, 8).split(5):
    ...     metrics.update(batch, batch)
    >>> scores = metrics.compute()
    >>> scores.images, scores.mse, scores.psnr, round(scores.ssim, 6), scores.ssim_window
    (12, 0.0, inf, 1.0, 7)
    """

    def __init__(self, span: float):
        self.span = check_number("span", span, 0, open_low=True)
        self._shape: tuple[int, ...] | None = None
        self._mse: list[Tensor] = []
        self._ssim: list[Tensor] = []

    def update(self, images: Tensor, reconstructions: Tensor) -> None:
        """Add a batch of (B, C, H, W) images and their reconstructions.

        Raises:
            ArgumentError, ArgumentTypeError: for shapes that differ, from each other or from an earlier batch.
        """
        _check_pair(images, reconstructions)
        if self._shape is None:
            self._shape = tuple(images.shape[1:])
        check_shape("images", images, ("B", *self._shape))
        if len(images) == 0:
            return
        self._mse.append(mse(images, reconstructions).cpu())
        if ssim_window(*self._shape[1:]):
            self._ssim.append(ssim(images, reconstructions, self.span).cpu())

    def compute(self) -> ImageScores:
        """The figures of everything added so far.

        Raises:
            ArgumentError: when nothing was.
        """
        if self._shape is None or not self._mse:
            raise bad_value("images", "at least one image", "none")
        errors = torch.cat(self._mse)
        mean = errors.mean().item()
        return ImageScores(
            images=len(errors),
            mse=mean,
            psnr=10 * math.log10(self.span**2 / mean) if mean else math.inf,
            psnr_per_image=(10 * (self.span**2 / errors).log10()).mean().item(),
            ssim=torch.cat(self._ssim).mean().item() if self._ssim else math.nan,
            ssim_window=ssim_window(*self._shape[1:]),
        )


def _check_pair(x: Tensor, y: Tensor) -> None:
    check_shape("x", check_float("x", x), ("B", "C", "H", "W"))
    check_shape("y", check_float("y", y), tuple(x.shape))
