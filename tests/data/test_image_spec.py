from __future__ import annotations

import json
import math

import pytest

from vqkit.data import ImageSpec
from vqkit.errors import ArgumentError, ArgumentTypeError


def test_spec_survives_json():
    spec = ImageSpec(3, 16, 24, -0.5, 0.5)
    assert ImageSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.to_dict()["channel_order"] == ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((0, 8, 8), "channels"),
        ((1, -1, 8), "height"),
        ((1, 8, 8, 1.0, 0.0), "low, high"),
        ((1, 8, 8, 0.0, math.inf), "low, high"),
        ((1, 8, 8, math.nan, 1.0), "low, high"),
    ],
)
def test_impossible_values_are_named(values, names):
    with pytest.raises(ArgumentError, match=names):
        ImageSpec(*values)


@pytest.mark.parametrize("values", [(1.0, 8, 8), (True, 8, 8), ("1", 8, 8), (1, 8, 8, "0", 1.0)])
def test_wrong_types_are_named(values):
    with pytest.raises(ArgumentTypeError, match=r"channels|low, high"):
        ImageSpec(*values)


def test_another_channel_order_is_refused():
    values = ImageSpec(3, 8, 8).to_dict() | {"channel_order": ["blue", "green", "red"]}
    with pytest.raises(ArgumentError, match="channel_order"):
        ImageSpec.from_dict(values)


def test_unknown_and_missing_keys_are_refused():
    with pytest.raises(ArgumentError, match="depth"):
        ImageSpec.from_dict(ImageSpec(1, 8, 8).to_dict() | {"depth": 3})
    with pytest.raises(ArgumentError, match="image spec"):
        ImageSpec.from_dict({"channels": 1})
