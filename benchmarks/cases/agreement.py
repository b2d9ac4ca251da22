"""What both sides are given, and when their results agree."""

from __future__ import annotations

from importlib.metadata import version

import faiss
import torch
from torch import Tensor

SETS = 4
PEER = f"vector-quantize-pytorch {version('vector-quantize-pytorch')}"
FAISS = f"faiss {faiss.__version__}"


def drawn(*shape: int, sets: int = SETS, seed: int = 0) -> list[Tensor]:
    """A few sets of Gaussian inputs that take turns."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(sets)]


def squared(x_ND: Tensor, codes_KD: Tensor, indices_N: Tensor) -> Tensor:
    """|x − e|² of every row and the code of its index, in float64."""
    return (x_ND.double() - codes_KD.double()[indices_N]).square().sum(1)


def require_nearest(x_ND: Tensor, codes_KD: Tensor, ours_N: Tensor, theirs_N: Tensor, slack: float = 0.0) -> None:
    """Ours is never farther than theirs, by float64, but for ``slack``: theirs may err where two codes are nearly as
    far.
    """
    gap_N = squared(x_ND, codes_KD, ours_N) - squared(x_ND, codes_KD, theirs_N)
    farther = int((gap_N > slack).sum())
    if farther:
        raise AssertionError(
            f"{farther} of {len(gap_N)} rows got a code farther than the peer's, by up to {gap_N.max():.3g}"
        )


def require_close(name: str, ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> None:
    """Equal up to ``tolerance`` times the largest value."""
    gap = (ours.double() - theirs.double()).abs().max().item() if ours.numel() else 0.0
    if not gap <= tolerance * max(theirs.abs().max().item(), 1e-6):
        raise AssertionError(f"{name} differs from the peer's by up to {gap:.3g}")


def require_most(name: str, same: Tensor, least: float = 0.999) -> None:
    """Nearly all are the same: rounding decides between codes that are as near."""
    share = same.double().mean().item()
    if share < least:
        raise AssertionError(f"{name}: {1 - share:.2%} differ from the peer's")
