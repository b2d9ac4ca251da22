from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from tests.fuzz.mutations import fuzzed, mutated, read_or_refuse, refusal
from vqkit.data import ImageSpec
from vqkit.interop import checkpoints
from vqkit.models import MLPVQVAE, ConvVQVAE, ConvVQVAEConfig, MLPVQVAEConfig, load
from vqkit.quantizers import VectorQuantize, build
from vqkit.training.checkpoint import read_state
from vqkit.training.random_state import random_state

QUANTIZER = VectorQuantize(4, 5, decay=0.9, kmeans_init=True).config
MLP = MLPVQVAE(MLPVQVAEConfig(quantizer=QUANTIZER, spec=ImageSpec(1, 4, 4), codes=2, hidden=3))
CONV = ConvVQVAE(ConvVQVAEConfig(quantizer=QUANTIZER, spec=ImageSpec(1, 4, 4), hidden=2, residual_hidden=1))
TAMING = {"embedding.weight": torch.randn(5, 3)}
STATE = {"step": 1, "random": [random_state()], "nested": [{"weights": torch.ones(3)}]}


def json_values(numbers: st.SearchStrategy) -> st.SearchStrategy:
    return st.recursive(
        st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=4) | st.sampled_from(POLICIES),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "a"]), inner, max_size=2),
        max_leaves=4,
    )


POLICIES = [{"type": kind} for kind in ("EMA", "KMeansInit", "ReplaceRare", "Rotation", "Commitment", "FSQ", "Nobody")]
VALUES = json_values(st.integers() | st.sampled_from([2**31, 10**12]))
SMALL = json_values(st.integers(-3, 2**16))


def torch_file(content: Any, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


FILES = {
    "training_state": ("training.pt", torch_file(STATE), read_state),
    "training_state_legacy": ("training.pt", torch_file(STATE, legacy=True), read_state),
    "peer": ("vq.pt", torch_file(TAMING), checkpoints.load),
    "peer_legacy": ("vq.ckpt", torch_file({"state_dict": TAMING}, legacy=True), checkpoints.load),
    "peer_safetensors": ("vq.safetensors", save(TAMING), checkpoints.load),
}


@pytest.mark.filterwarnings("ignore")  # torch's own
@pytest.mark.parametrize("name", FILES)
@fuzzed
@given(st.data())
def test_a_damaged_checkpoint_is_read_or_named(tmp_path: Path, name: str, data: st.DataObject):
    file, content, read = FILES[name]
    read_or_refuse(read, tmp_path / file, data.draw(mutated(content)))


@pytest.mark.parametrize("name", FILES)
def test_the_checkpoint_itself_is_read(tmp_path: Path, name: str):
    file, content, read = FILES[name]
    assert read_or_refuse(read, tmp_path / file, content)


@pytest.fixture(params=[MLP, CONV], ids=["mlp", "conv"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    request.param.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@fuzzed
@given(st.data())
def test_a_damaged_model_folder_is_read_or_named(saved: Path, file: str, data: st.DataObject):
    content = (saved / file).read_bytes()
    try:
        read_or_refuse(lambda path: load(path.parent), saved / file, data.draw(mutated(content)))
    finally:
        (saved / file).write_bytes(content)


def put(draw: st.DrawFn, config: dict[str, Any], values: st.SearchStrategy = VALUES) -> dict[str, Any]:
    """A config with a value somewhere in it that is anything JSON can hold."""
    config = copy.deepcopy(config)
    inside: Any = config
    while True:
        key = draw(st.sampled_from(sorted(inside)))
        if not isinstance(inside[key], dict) or not inside[key] or draw(st.booleans()):
            inside[key] = draw(values)
            return config
        inside = inside[key]


@pytest.mark.parametrize("model", [MLP, CONV], ids=["mlp", "conv"])
@fuzzed
@given(st.data())
def test_a_config_with_any_value_is_built_or_refused(tmp_path: Path, model, data: st.DataObject):
    # Weights without a config of their own, as another library writes them: config.json is all there is.
    (tmp_path / "model.safetensors").write_bytes(save(model.state_dict()))
    config = data.draw(st.composite(put)(model.config.to_dict()))
    read_or_refuse(lambda path: load(path.parent), tmp_path / "config.json", json.dumps(config).encode())


CONFIGS = [
    VectorQuantize(4, 5, kmeans_init=True, affine_param=True).config,
    {"type": "ResidualVQ", "dim": 4, "num_quantizers": 2, "codebook_size": 5, "quantize_dropout": True},
    {"type": "FSQ", "levels": [3, 4], "dim": 4},
    {"type": "LFQ", "codebook_size": 16, "dim": 4},
    {"type": "LatentQuantize", "levels": [3, 4], "dim": 4},
    {"type": "Residual", "stages": [{"type": "FSQ", "levels": [3, 4]}, {"type": "VectorQuantize", "dim": 2}]},
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config["type"])
@fuzzed
@given(st.data())
def test_a_quantizer_of_any_config_is_built_or_refused(config: dict[str, Any], data: st.DataObject):
    changed = data.draw(st.composite(put)(config, SMALL))
    with torch.device("meta"):
        assert refusal(lambda: build(changed)) != ""


@fuzzed
@given(
    st.dictionaries(
        st.sampled_from(["embedding.weight", "_codebook.initted", "_codebook.embed", "_codebook.cluster_size"])
        | st.sampled_from(["_codebook.embed_avg", "mask", "project_in.weight", "layers.0._codebook.embed", "inited"])
        | st.sampled_from(["layers.0._codebook.inited", "layers.0.mask", "frozen_codebook", "codebook.weight"]),
        st.tuples(st.lists(st.integers(0, 4), max_size=4), st.sampled_from([torch.float32, torch.int64, torch.bool])),
        max_size=6,
    )
)
def test_any_tensors_are_a_quantizer_or_refused(shapes: dict[str, Any]):
    state = {name: torch.zeros(shape).to(dtype) for name, (shape, dtype) in shapes.items()}
    assert refusal(lambda: checkpoints.load(state)) != ""
