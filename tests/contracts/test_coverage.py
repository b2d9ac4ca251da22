"""Every public quantizer, in every option it has, is in a case: a new class or option fails here until one has it."""

from __future__ import annotations

import functools
import inspect
from collections import defaultdict
from typing import Any

import pytest

import vqkit.quantizers
from tests.contracts.cases import FAMILIES
from vqkit.quantizers import Quantizer
from vqkit.quantizers.flat import FlatOptions
from vqkit.quantizers.stage_options import FLAT_STAGE_OPTIONS

PUBLIC: dict[str, type[Quantizer]] = {
    name: value
    for name, value in vars(vqkit.quantizers).items()
    if isinstance(value, type) and issubclass(value, Quantizer) and value is not Quantizer
}
# Options that no case of the suite can have, and why.
ELSEWHERE = {
    "IBQ.estimator": "takes None alone",
    "GumbelQuantize.estimator": "takes None alone",
    "SQVAE.estimator": "takes None alone",
    "FSQ.return_indices": "without indices there is nothing to decode: tests/quantizers/test_fsq.py",
}
MORE = {"VectorQuantize": tuple(FlatOptions.__annotations__), "ResidualVQ": FLAT_STAGE_OPTIONS}


def options_of(cls: type[Quantizer]) -> dict[str, Any]:
    """The names that ``cls`` is constructed by, and their defaults."""
    named = inspect.signature(cls).parameters.values()
    found = {p.name: p.default for p in named if p.kind is not p.VAR_KEYWORD}
    return found | dict.fromkeys(MORE.get(cls.__name__, ()), inspect.Parameter.empty)


@pytest.fixture(scope="module")
def built() -> dict[str, dict[str, list[Any]]]:
    """What every case's quantizers, and those within them, were made of: values by class and option."""
    seen: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))

    def recording(cls: type[Quantizer]) -> Any:
        original, signature = cls.__init__, inspect.signature(cls.__init__)

        @functools.wraps(original)
        def init(self: Quantizer, *args: Any, **kwargs: Any) -> None:
            arguments = signature.bind(self, *args, **kwargs).arguments
            for name, value in {**arguments, **arguments.get("options", {}), **arguments.get("flat", {})}.items():
                seen[cls.__name__][name].append(value)
            original(self, *args, **kwargs)

        return init

    with pytest.MonkeyPatch.context() as patch:
        for cls in PUBLIC.values():
            patch.setattr(cls, "__init__", recording(cls))
        for family in FAMILIES.values():
            for case in family():
                case.build()
    return seen


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_option_of_every_public_quantizer_is_in_a_case(name: str, built: dict[str, dict[str, list[Any]]]):
    assert name in built, f"no case builds a {name}"
    idle = [
        option
        for option, default in options_of(PUBLIC[name]).items()
        if f"{name}.{option}" not in ELSEWHERE and all(_same(v, default) for v in built[name][option])
    ]
    assert not idle, f"no case gives {name} another value than the default for {idle}"


def test_nothing_is_excused_that_is_not_there():
    assert {e.split(".")[1] in options_of(PUBLIC[e.split(".")[0]]) for e in ELSEWHERE} == {True}


def _same(value: Any, default: Any) -> bool:
    return value is default or (
        type(value) is type(default) and isinstance(value, (int, float, str)) and value == default
    )
