"""The flat argument names of the literature's libraries, as sugar for policies: one table."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypedDict

import torch
from torch import nn

from vqkit.codebook.affine import Affine, RunningAffine
from vqkit.codebook.in_place import InPlace
from vqkit.codebook.init import Init, KMeansInit, Uniform
from vqkit.codebook.revive import ReplaceRare, ReplaceStale, Revive
from vqkit.codebook.update import EMA, Fixed, Gradient, Update
from vqkit.errors import ArgumentError, ArgumentTypeError, bad_value
from vqkit.quantizers.estimators import (
    DiVeQ,
    Estimator,
    GumbelStraightThrough,
    NoGradient,
    Rotation,
    StraightThrough,
    check_estimator,
)
from vqkit.quantizers.flags import check_details, check_flags
from vqkit.quantizers.objectives import (
    Commitment,
    CrossEntropyCommitment,
    Diversity,
    Objective,
    Orthogonal,
    check_objectives,
)
from vqkit.shapes import check_number


class FlatOptions(TypedDict, total=False):
    """What ``VectorQuantize`` takes by flat name; the policy each stands for is beside it in ``POLICY_OF``."""

    decay: float
    eps: float
    ema_update: bool | None
    manual_ema_update: bool
    learnable_codebook: bool | None
    in_place_codebook_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None
    manual_in_place_optimizer_update: bool
    codebook_weight: float
    kmeans_init: bool
    kmeans_iters: int
    threshold_ema_dead_code: float
    use_cosine_sim: bool
    affine_param: bool
    affine_param_batch_decay: float
    affine_param_codebook_decay: float
    vq_bridge: nn.Module | None
    rotation_trick: bool | None
    straight_through: bool
    directional_reparam: bool
    directional_reparam_variance: float
    route_gradients_to_input: bool
    commitment_weight: float
    commitment: float
    commitment_use_cross_entropy_loss: bool
    orthogonal_reg_weight: float
    orthogonal_reg_max_codes: int | None
    orthogonal_reg_active_codes_only: bool
    codebook_diversity_loss_weight: float
    codebook_diversity_temperature: float
    channel_last: bool
    accept_image_fmap: bool
    accept_3d_fmap: bool


_SUGAR_FOR: Mapping[str, tuple[str, ...]] = {
    "update": (
        "decay",
        "eps",
        "ema_update",
        "manual_ema_update",
        "learnable_codebook",
        "in_place_codebook_optimizer",
        "manual_in_place_optimizer_update",
        "codebook_weight",
    ),
    "init": ("kmeans_init", "kmeans_iters"),
    "revive": ("threshold_ema_dead_code",),
    "metric": ("use_cosine_sim",),
    "affine": ("affine_param", "affine_param_batch_decay", "affine_param_codebook_decay"),
    "bridge": ("vq_bridge",),
    "estimator": (
        "rotation_trick",
        "straight_through",
        "directional_reparam",
        "directional_reparam_variance",
        "route_gradients_to_input",
    ),
    "objectives": (
        "commitment_weight",
        "commitment",
        "commitment_use_cross_entropy_loss",
        "orthogonal_reg_weight",
        "orthogonal_reg_max_codes",
        "orthogonal_reg_active_codes_only",
        "codebook_diversity_loss_weight",
        "codebook_diversity_temperature",
    ),
    "channel_dim": ("channel_last", "accept_image_fmap", "accept_3d_fmap"),
}
# What waits for which, and its default.
_DETAILS: Mapping[str, tuple[str, Any]] = {
    "kmeans_iters": ("kmeans_init", 10),
    "affine_param_batch_decay": ("affine_param", 0.99),
    "affine_param_codebook_decay": ("affine_param", 0.9),
    "manual_in_place_optimizer_update": ("in_place_codebook_optimizer", False),
    "directional_reparam_variance": ("directional_reparam", 5e-3),
    "orthogonal_reg_max_codes": ("orthogonal_reg_weight", None),
    "orthogonal_reg_active_codes_only": ("orthogonal_reg_weight", False),
    "codebook_diversity_temperature": ("codebook_diversity_loss_weight", 100.0),
    "sample_codebook_temp": ("stochastic_sample_codes", 1.0),
}
POLICY_OF: Mapping[str, str] = {flat: policy for policy, names in _SUGAR_FOR.items() for flat in names}
"""The flat name, and the argument it is sugar for."""


class Policies(NamedTuple):
    """What a ``VectorQuantize`` is composed of."""

    metric: str
    init: Init
    update: Update
    revive: Revive | None
    affine: Affine | None
    bridge: nn.Module | None
    estimator: Estimator
    objectives: tuple[Objective, ...]
    channel_dim: int


def resolve(flat: Mapping[str, Any], given: Mapping[str, Any]) -> Policies:
    """Every policy of a ``VectorQuantize``: the one given, or what its flat names stand for, or the default.

    ``given`` holds the policies passed as such, None where not; for ``revive``, where None means none, ``"default"``.

    Raises:
        ArgumentTypeError: an unknown name.
        ArgumentError: a flat name beside the policy it stands for, or two that exclude each other.
    """
    check_flags(FlatOptions.__annotations__, flat)
    for name in flat:
        if name not in POLICY_OF:
            near = difflib.get_close_matches(name, [*POLICY_OF, *given], 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ArgumentTypeError(f"{name}: expected an argument of VectorQuantize, got an unknown name{hint}")
        policy = POLICY_OF[name]
        absent = "default" if policy == "revive" else None
        if given[policy] != absent:
            raise ArgumentError(f"{name}: expected either it or {policy}=…, got both")

    check_details(_DETAILS, {**given, **flat})

    def pick(policy: str, make: Callable[[Mapping[str, Any]], Any], default: Any = None) -> Any:
        if given[policy] is not None:
            return given[policy]
        made = make(flat)
        return default if made is None else made

    if given["estimator"] is not None:
        check_estimator("estimator", given["estimator"])
    if given["objectives"] is not None:
        check_objectives("objectives", given["objectives"])
    update, bridge = pick("update", _update), pick("bridge", lambda f: f.get("vq_bridge"))
    _check_update_details(flat, update)
    revive = given["revive"]
    if revive == "default":
        # Nothing can be placed behind a bridge, and codes that never learn stay where they are.
        movable = bridge is None and not isinstance(update, Fixed)
        revive = _revive(flat) if "threshold_ema_dead_code" in flat else ReplaceRare() if movable else None
    return Policies(
        metric=pick("metric", lambda f: "cosine" if f.get("use_cosine_sim") else None, "euclidean"),
        init=pick("init", _init, Uniform()),
        update=update,
        revive=revive,
        affine=pick("affine", _affine),
        bridge=bridge,
        estimator=pick("estimator", _estimator, StraightThrough()),
        objectives=tuple(pick("objectives", _objectives, (Commitment(),))),
        channel_dim=pick("channel_dim", _channel_dim, -1),
    )


def _only_one(flat: Mapping[str, Any], *names: str) -> None:
    chosen = [name for name in names if flat.get(name)]
    if len(chosen) > 1:
        raise ArgumentError(f"{', '.join(chosen)}: expected at most one of them, got {len(chosen)}")


def _update(flat: Mapping[str, Any]) -> Any:
    _only_one(flat, "ema_update", "learnable_codebook")
    _only_one(flat, "ema_update", "directional_reparam")
    _only_one(flat, "ema_update", "vq_bridge")
    _only_one(flat, "ema_update", "orthogonal_reg_weight")
    if flat.get("in_place_codebook_optimizer"):
        _only_one(flat, "in_place_codebook_optimizer", "ema_update", "learnable_codebook")
        manual = flat.get("manual_in_place_optimizer_update", False)
        return InPlace(flat["in_place_codebook_optimizer"], manual)
    # What needs a gradient to act at all brings it along.
    wants = "learnable_codebook", "directional_reparam", "vq_bridge", "orthogonal_reg_weight"
    if any(flat.get(name) for name in wants):
        return Gradient(flat.get("codebook_weight", 1.0))
    if flat.get("ema_update") is False:
        return Fixed()
    return EMA(flat.get("decay", 0.8), flat.get("eps", 1e-5), manual=flat.get("manual_ema_update", False))


def _check_update_details(flat: Mapping[str, Any], update: Update) -> None:
    """Raise for what only another kind of update than this one does; averages' ``decay`` and ``eps`` may stand idle."""
    if flat.get("manual_ema_update") and not isinstance(update, EMA):
        raise bad_value("manual_ema_update", "False beside codes that are no averages", f"True beside {update}")
    if flat.get("codebook_weight", 1.0) != 1.0 and not isinstance(update, Gradient):
        raise bad_value("codebook_weight", "1 beside codes that learn by no gradient", f"{flat['codebook_weight']}")


def _init(flat: Mapping[str, Any]) -> Any:
    return KMeansInit(flat.get("kmeans_iters", 10)) if flat.get("kmeans_init") else None


def _revive(flat: Mapping[str, Any]) -> Any:
    threshold = check_number("threshold_ema_dead_code", flat.get("threshold_ema_dead_code", 0), 0)
    return ReplaceStale(float(threshold), flat.get("decay", 0.8)) if threshold else None


def _affine(flat: Mapping[str, Any]) -> Any:
    if not flat.get("affine_param"):
        return None
    return RunningAffine(flat.get("affine_param_batch_decay", 0.99), flat.get("affine_param_codebook_decay", 0.9))


def _estimator(flat: Mapping[str, Any]) -> Any:
    _only_one(flat, "straight_through", "rotation_trick", "directional_reparam")
    if flat.get("route_gradients_to_input") is False:
        if flat.get("straight_through") or flat.get("rotation_trick") or flat.get("directional_reparam"):
            raise ArgumentError("route_gradients_to_input: expected True beside an estimator that routes, got False")
        return NoGradient()
    if flat.get("directional_reparam"):
        return DiVeQ(flat.get("directional_reparam_variance", 5e-3))
    if flat.get("straight_through"):
        return GumbelStraightThrough(noise=False)
    if flat.get("rotation_trick") is None:
        return None
    return Rotation() if flat["rotation_trick"] else StraightThrough()


def _objectives(flat: Mapping[str, Any]) -> Any:
    if not any(POLICY_OF[name] == "objectives" for name in flat) and not flat.get("directional_reparam"):
        return None
    terms: list[Any] = []
    if {"commitment", "commitment_weight"} <= flat.keys():
        raise ArgumentError("commitment: expected either it or commitment_weight, its later name, got both")
    # DiVeQ's distance already pulls x and code together.
    default = 0.0 if flat.get("directional_reparam") else 1.0
    weight = flat.get("commitment_weight", flat.get("commitment", default))
    told = {"commitment", "commitment_weight"} & flat.keys()
    if flat.get("commitment_use_cross_entropy_loss") and not weight and not told:
        raise bad_value("commitment_use_cross_entropy_loss", "a commitment_weight beside directional_reparam", True)
    if weight:
        terms.append((CrossEntropyCommitment if flat.get("commitment_use_cross_entropy_loss") else Commitment)(weight))
    if flat.get("orthogonal_reg_weight"):
        max_codes, active = flat.get("orthogonal_reg_max_codes"), flat.get("orthogonal_reg_active_codes_only", False)
        terms.append(Orthogonal(flat["orthogonal_reg_weight"], max_codes, active))
    if flat.get("codebook_diversity_loss_weight"):
        sharpness = flat.get("codebook_diversity_temperature", 100.0)
        terms.append(Diversity(flat["codebook_diversity_loss_weight"], sharpness))
    return tuple(terms)


def _channel_dim(flat: Mapping[str, Any]) -> Any:
    return channel_of(flat)[0]


def channel_of(flat: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The channel axis that the flat names of layouts ask for, and the rank they insist on; None for neither."""
    _only_one(flat, "accept_image_fmap", "accept_3d_fmap")
    rank = 4 if flat.get("accept_image_fmap") else 5 if flat.get("accept_3d_fmap") else None
    return (1, rank) if rank or flat.get("channel_last") is False else (None, None)
