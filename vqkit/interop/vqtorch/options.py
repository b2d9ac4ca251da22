"""vqtorch's arguments as vqkit's policies: one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypedDict

import torch
from torch import nn

from vqkit.codebook import Gradient, InPlace, KMeansInit, LearnedAffine, Normal, ReplaceUnused, RunningAffine
from vqkit.codebook.affine import Affine
from vqkit.errors import bad_value
from vqkit.interop.vqtorch.norms import OF_VECTORS, NormedCodes
from vqkit.quantizers import CodebookFit, Commitment
from vqkit.shapes import check_choice, check_int, check_number


class Options(TypedDict, total=False):
    """What every layer takes; ``VectorQuantize`` says what each is."""

    dist: str
    beta: float
    sync_nu: float
    affine_lr: float
    affine_groups: int
    use_running_statistics: bool
    replace_freq: int | None
    inplace_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None
    cb_norm: str | None
    kmeans_init: bool


def policies(
    dist: str = "euclidean",
    beta: float = 0.95,
    sync_nu: float = 0.0,
    affine_lr: float = 0.0,
    affine_groups: int = 1,
    use_running_statistics: bool = False,
    replace_freq: int | None = 0,
    inplace_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    cb_norm: str | None = "none",
    kmeans_init: bool = False,
) -> dict[str, Any]:
    """The policies of a ``vqkit.VectorQuantize`` that these options stand for.

    >>> policies(beta=0.75)["update"]
    Gradient(weight=0.75)
    """
    check_choice("dist", dist, ("euclidean", "cosine"))
    check_number("beta", beta, 0, 1)
    unused_steps = check_int("replace_freq", replace_freq or 0, 0)
    objectives: tuple[Any, ...] = (Commitment(1 - beta),)
    if check_number("sync_nu", sync_nu, 0, 1) and inplace_optimizer is not None:
        raise bad_value("sync_nu", "0 beside inplace_optimizer: its codes are out of the gradient's reach", sync_nu)
    if inplace_optimizer is not None:
        # Gradient(β) brings its codebook term along; here the term is a number to watch.
        objectives = (*objectives, CodebookFit(beta))
    return {
        "metric": dist,
        "init": KMeansInit(seeding="k-means++") if kmeans_init else Normal(),
        "update": Gradient(beta) if inplace_optimizer is None else InPlace(inplace_optimizer),
        "revive": ReplaceUnused(unused_steps) if unused_steps else None,
        "affine": _affine(dist, affine_lr, affine_groups, use_running_statistics, cb_norm or "none"),
        "objectives": objectives,
        "sync_update_v": sync_nu,
    }


def _affine(dist: str, lr: float, groups: int, running: bool, norm: str) -> Affine | None:
    """What lies between the stored vectors and the codes: their norm, then an affine map."""
    check_choice("cb_norm", norm, ("none", *OF_VECTORS))
    if check_number("affine_lr", lr, 0) and running:
        raise bad_value("affine_lr", "0 with use_running_statistics, which learns no map by gradient", lr)
    affine = LearnedAffine(lr, groups) if lr else RunningAffine(0.9, 0.9, 1e-8) if running else None
    if dist == "cosine":
        if affine is not None or norm == "l2c":
            raise bad_value(
                "dist", "'euclidean' with an affine map or cb_norm 'l2c'; cosine codes are unit vectors", dist
            )
        return None
    return affine if norm == "none" else NormedCodes(norm, affine)
