"""What residual stages must agree on, checked before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vqkit.errors import bad_type, bad_value
from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.estimators import Estimator, StraightThrough
from vqkit.shapes import check_number


def check_stages(stages: list[Any], shared: bool, num_quantizers: int | None) -> None:
    """Raise unless these are different quantizers of one width, and their number is known."""
    if not stages or not all(isinstance(stage, Quantizer) for stage in stages):
        raise bad_type("stages", "a quantizer, or a sequence of them", stages)
    if shared and num_quantizers is None:
        raise bad_value("num_quantizers", "how many stages share the one quantizer", None)
    if not shared and num_quantizers not in (None, len(stages)):
        raise bad_value("num_quantizers", f"the {len(stages)} stages given, or None", num_quantizers)
    widths = sorted({stage.dim for stage in stages})
    if len(widths) > 1:
        raise bad_value("stages", "stages of one width", f"widths {widths}")
    if len({id(stage) for stage in stages}) < len(stages):
        raise bad_value("stages", "different quantizers; pass one and num_quantizers to share it", "one of them twice")


def common_estimator(stages: list[Quantizer]) -> Estimator:
    """The estimator of all stages; those that each cross their own projection may differ."""
    found = [getattr(stage, "estimator", None) or StraightThrough() for stage in stages]
    if any(estimator != found[0] for estimator in found) and all(stage.straight for stage in stages):
        raise bad_value("estimator", "one for all stages, or stages that agree", f"{found}")
    return found[0]


def checked_weights(weights: Sequence[float] | None, stages: int) -> tuple[float, ...] | None:
    """One weight of at least zero for each stage, or None."""
    if weights is None:
        return None
    if len(weights) != stages:
        raise bad_value("loss_weights", f"{stages}, one a stage", f"{len(weights)}")
    return tuple(check_number("loss_weights", weight, 0) for weight in weights)


def check_options(stages: list[Quantizer], options: dict[str, Any]) -> None:
    """Raise if a stage cannot take one of the options of this call."""
    names = {"temperature": "sample_codebook_temp", "targets": "indices"}
    for option in options:
        for stage in stages:
            if option not in stage.step_options:
                raise bad_value(names[option], f"None, since {type(stage).__name__} does not take it", "a value")
