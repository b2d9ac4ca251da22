"""The flat names of residual and grouped quantizers, sorted into what they are options of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqkit.errors import ArgumentError, bad_value
from vqkit.quantizers.flags import check_details, check_flags
from vqkit.quantizers.flat import channel_of
from vqkit.quantizers.stage_dropout import StageDropout
from vqkit.shapes import MOST_COLUMNS, check_flag, check_int, check_number

_LAYOUT = ("channel_dim", "channel_last", "channel_first", "is_channel_first", "accept_image_fmap", "accept_3d_fmap")
_DROPOUT = {
    "quantize_dropout_cutoff_index": "cutoff",
    "quantize_dropout_multiple_of": "multiple_of",
    "quantize_dropout_per_sample": "per_sample",
    "quantize_dropout_rate": "rate",
}
_DETAILS = {
    "quantize_dropout_cutoff_index": ("quantize_dropout", 0),
    "quantize_dropout_multiple_of": ("quantize_dropout", 1),
    "quantize_dropout_per_sample": ("quantize_dropout", False),
    "quantize_dropout_rate": ("quantize_dropout", 1.0),
}
_RESIDUAL = ("dropout", "beam_size", "eval_beam_size", "loss_weights")
FLAT_STAGE_OPTIONS = ("quantize_dropout", *_DROPOUT, *_RESIDUAL)
"""What a residual quantizer takes by flat name, beside the layout's."""


def sorted_options(options: Mapping[str, Any], *, layout_only: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of ``options`` is for the wrapper, as its arguments, and what is left for the quantizers within.

    ``layout_only``: for a wrapper of residuals, which takes the layout alone.
    """
    left = dict(options)
    outer = _layout({name: left.pop(name) for name in _LAYOUT if name in left})
    if layout_only:
        return outer, left
    outer |= {name: left.pop(name) for name in _RESIDUAL if name in left}
    on = left.pop("quantize_dropout", None)
    if on is not None:
        check_flag("quantize_dropout", on)
    details = {field: _checked(name, left.pop(name)) for name, field in _DROPOUT.items() if name in left}
    check_details(_DETAILS, options)
    if on and "dropout" in outer:
        raise ArgumentError("quantize_dropout: expected either it or dropout=…, got both")
    return outer | ({"dropout": StageDropout(**details)} if on else {}), left


def _checked(name: str, value: Any) -> Any:
    """An option of quantizer dropout, or an error by its flat name."""
    if name == "quantize_dropout_rate":
        return check_number(name, value, 0, 1)
    if name == "quantize_dropout_per_sample":
        return check_flag(name, value)
    return check_int(name, value, 0 if name == "quantize_dropout_cutoff_index" else 1)


def _layout(given: Mapping[str, Any]) -> dict[str, Any]:
    check_flags(dict.fromkeys(_LAYOUT[1:], "bool"), given)
    if "channel_dim" in given:
        if len(given) > 1:
            raise ArgumentError(f"channel_dim: expected either it or its flat names, got {sorted(given)}")
        return {"channel_dim": given["channel_dim"]}
    first = {"channel_last": False} if given.get("channel_first") or given.get("is_channel_first") else {}
    axis, rank = channel_of({**given, **first})
    return ({} if axis is None else {"channel_dim": axis}) | ({} if rank is None else {"rank": rank})


def per_stage(name: str, value: Any, stages: int) -> list[Any]:
    """One value for each stage: a sequence as it is, anything else repeated."""
    if not isinstance(value, (list, tuple)):
        return [value] * stages
    if len(value) != stages:
        raise bad_value(name, f"{stages} values, one a stage", f"{len(value)}")
    return list(value)


def group_width(dim: int, groups: int) -> int:
    """The width of one of ``groups`` equal slices of ``dim`` channels."""
    if check_int("dim", dim) % check_int("groups", groups, maximum=MOST_COLUMNS):
        raise bad_value("groups", f"a divisor of the {dim} channels", groups)
    return dim // groups
