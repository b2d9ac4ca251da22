"""Configurations as JSON: what every config dataclass of models and training shares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from vqkit.data.spec import ImageSpec
from vqkit.errors import bad_type, bad_value

T = TypeVar("T")


@dataclass(frozen=True)
class VQVAEConfig:
    """What every autoencoder's config holds; the classes below it add their architecture.

    Args:
        quantizer: the quantizer's own config, ``{"type": "VectorQuantize", "dim": 64, ...}``, as
            ``quantizer.config`` gives it and ``vqkit.quantizers.build`` takes it.
        spec: shape and value range of the images; None only until the data are known (training fills it in).

    Raises:
        ArgumentTypeError, ArgumentError: a field of the wrong type or value.
    """

    model_type: ClassVar[str] = "VQVAE"

    quantizer: Mapping[str, Any] = field(default_factory=dict)
    spec: ImageSpec | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.quantizer, Mapping):
            raise bad_type("quantizer", "a mapping such as {'type': 'VectorQuantize', ...}", self.quantizer)
        if self.spec is not None and not isinstance(self.spec, ImageSpec):
            raise bad_type("spec", "an ImageSpec or None", self.spec)
        object.__setattr__(self, "quantizer", dict(self.quantizer))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict, the model's class under ``type``."""
        values: dict[str, Any] = {"type": self.model_type}
        for f in fields(self):
            values[f.name] = getattr(self, f.name)
        values["spec"] = None if self.spec is None else self.spec.to_dict()
        values["quantizer"] = dict(self.quantizer)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Any:
        """The config :meth:`to_dict` wrote.

        Raises:
            ArgumentError: an unknown key, or the ``type`` of another model.
        """
        rest = dict(values)
        kind = rest.pop("type", cls.model_type)
        if kind != cls.model_type:
            raise bad_value("model.type", repr(cls.model_type), repr(kind))
        if isinstance(rest.get("spec"), Mapping):
            rest["spec"] = ImageSpec.from_dict(rest["spec"])
        return build_dataclass(cls, rest, "model")


def build_dataclass(cls: type[T], values: object, name: str) -> T:
    """Make the dataclass ``cls`` from a mapping of its fields; those left out take their defaults.

    Args:
        cls: the dataclass; it checks its own values.
        values: the mapping, usually parsed from JSON.
        name: what the mapping is called in errors.

    Raises:
        ArgumentTypeError: ``values`` is no mapping.
        ArgumentError: an unknown key; the message names it and the known ones.

    Examples:
        >>> build_dataclass(ImageSpec, {"channels": 1, "height": 8, "width": 8}, "spec").shape
        (1, 8, 8)
    """
    if not isinstance(values, Mapping):
        raise bad_type(name, "a mapping of keys to values", values)
    known = [f.name for f in fields(cls)]  # pyright: ignore[reportArgumentType]
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        raise bad_value(name, f"keys among {', '.join(known)}", f"unknown {', '.join(map(repr, unknown))}")
    return cls(**values)


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """The dotted keys at which two nested mappings differ, with both values.

    A key on one side only counts as ``"(absent)"`` on the other; values are compared as JSON, so (1, 2) equals [1, 2].

    Examples:
        >>> differences({"model": {"hidden": 64}, "seed": 0}, {"model": {"hidden": 128}, "seed": 0})
        {'model.hidden': (64, 128)}
    """
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        a, b = ours.get(key, "(absent)"), theirs.get(key, "(absent)")
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found.update(differences(a, b, f"{prefix}{key}."))
        elif json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True):
            found[f"{prefix}{key}"] = (a, b)
    return found


def differences_text(found: Mapping[str, tuple[Any, Any]], ours: str, theirs: str) -> str:
    """``model.hidden is 64 in <ours> and 128 in <theirs>; …``"""
    return "; ".join(f"{key} is {a!r} in {ours} and {b!r} in {theirs}" for key, (a, b) in found.items())
