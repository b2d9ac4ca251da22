"""What residual stages must agree on, checked before anything is built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from vqkit import distributed
from vqkit.codebook import KMeansInit
from vqkit.errors import bad_type, bad_value
from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.estimators import Estimator, StraightThrough
from vqkit.quantizers.vector import VectorQuantize
from vqkit.shapes import check_int, check_number

MOST_STAGES = 4096


def quantizers_in(name: str, value: object) -> list[Quantizer]:
    """``value`` as a list of quantizers that others can be built of."""
    made: list[Any] = list(value) if isinstance(value, Iterable) else []
    if not made or not all(isinstance(quantizer, Quantizer) for quantizer in made):
        raise bad_type(name, "a vqkit quantizer, or a sequence of them", value)
    for quantizer in made:
        if not quantizer.row_wise:
            raise bad_value(
                name, "one that quantizes each row by itself, into a vector of its space", type(quantizer).__name__
            )
    return made


def check_count(num_quantizers: object) -> int:
    """How many stages there are to be: no file may ask for so many that listing them fills the memory."""
    return check_int("num_quantizers", num_quantizers, maximum=MOST_STAGES)


def check_stages(value: object, shared: bool, num_quantizers: int | None) -> list[Quantizer]:
    """The stages, if they are different quantizers of one width, and their number is known."""
    stages = quantizers_in("stages", value)
    if shared and num_quantizers is None:
        raise bad_value("num_quantizers", "how many stages share the one quantizer", None)
    if not shared and num_quantizers is not None and check_int("num_quantizers", num_quantizers) != len(stages):
        raise bad_value("num_quantizers", f"the {len(stages)} stages given, or None", num_quantizers)
    widths = sorted({stage.dim for stage in stages})
    if len(widths) > 1:
        raise bad_value("stages", "stages of one width", f"widths {widths}")
    if len({id(stage) for stage in stages}) < len(stages):
        raise bad_value("stages", "different quantizers; pass one and num_quantizers to share it", "one of them twice")
    return stages


def check_beam(name: str, width: object, stages: Sequence[Quantizer]) -> int:
    """Return ``width`` if a search can follow so many sums of these stages' codes."""
    if check_int(name, width) > 1:
        for stage in stages:
            if not stage.proposes:
                raise bad_value(name, f"1, since {type(stage).__name__} does not search one table", width)
            if getattr(stage, "stochastic", False):
                raise bad_value(name, "1 beside stochastic_sample_codes, since a search draws nothing", width)
    return check_int(name, width)


def common_estimator(stages: list[Quantizer]) -> Estimator:
    """The estimator of all stages; those that each cross their own projection may differ."""
    found = [getattr(stage, "estimator", None) or StraightThrough() for stage in stages]
    if any(estimator != found[0] for estimator in found) and all(stage.straight for stage in stages):
        raise bad_value("estimator", "one for all stages, or stages that agree", f"{found}")
    return found[0]


def all_frozen(stages: Iterable[Quantizer]) -> bool:
    """Whether none of them learns, as constructed."""
    return all(getattr(stage, "freeze_codebook", False) for stage in stages)


def check_first_rows(quantizer: Quantizer, valid: Tensor, frozen: bool | None) -> None:
    """Raise, before any table within is placed, if one of them waits for more rows than a first batch has (N,) valid.

    Over all ranks. A batch without a single row leaves them waiting.
    """
    waiting = [
        (vq, vq.book.init)
        for vq in quantizer.modules()
        if isinstance(vq, VectorQuantize) and not (vq.freeze_codebook if frozen is None else frozen)
    ]
    for vq, init in waiting:
        if isinstance(init, KMeansInit) and not bool(vq.book.initialised):
            (rows,) = distributed.summed([valid.sum()]) if vq.book.sync else [valid.sum()]
            if rows > 0:  # of which a table shared by heads sees one a head
                init.check(int(rows) * vq.heads // vq.book.heads, vq.codebook_size)


def checked_weights(weights: Sequence[float] | None, stages: int) -> tuple[float, ...] | None:
    """One weight of at least zero for each stage, or None."""
    if weights is None:
        return None
    if not isinstance(weights, Sequence) or isinstance(weights, str):
        raise bad_type("loss_weights", "a sequence of numbers, one a stage", weights)
    if len(weights) != stages:
        raise bad_value("loss_weights", f"{stages}, one a stage", f"{len(weights)}")
    return tuple(check_number("loss_weights", weight, 0) for weight in weights)


def check_options(stages: list[Quantizer], options: dict[str, Any]) -> None:
    """Raise if a stage cannot take one of the options of this call."""
    if "temperature" in options:
        temperature = check_number("sample_codebook_temp", options["temperature"], 0)
        if not any(getattr(stage, "stochastic", False) for stage in stages):
            raise bad_value("sample_codebook_temp", "None without stochastic_sample_codes", temperature)
    names = {"temperature": "sample_codebook_temp", "targets": "indices"}
    for option in options:
        for stage in stages:
            if option not in stage.step_options:
                raise bad_value(names[option], f"None, since {type(stage).__name__} does not take it", "a value")
