from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest
import torch

from vqkit.errors import CheckpointError
from vqkit.models import MLPVQVAE, ConvVQVAE, load
from vqkit.models import pretrained as pretrained_module
from vqkit.quantizers import VectorQuantize


def same_state(a, b) -> bool:
    state = b.state_dict()
    return a.state_dict().keys() == state.keys() and all(torch.equal(v, state[k]) for k, v in a.state_dict().items())


def test_round_trip_gives_the_same_model(model, images, tmp_path):
    model(images)  # so that the codebook has moved
    model.save_pretrained(tmp_path / "m")
    for loaded in (type(model).from_pretrained(tmp_path / "m"), load(str(tmp_path / "m"))):
        assert type(loaded) is type(model)
        assert loaded.config == model.config
        assert not loaded.training
        assert same_state(loaded, model)
        assert torch.equal(loaded(images).reconstruction, model.eval()(images).reconstruction)


def test_the_folder_holds_two_plain_files_that_hubs_know(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["type"] == type(model).__name__
    assert config["spec"] == model.spec.to_dict()
    assert config["quantizer"] == model.config.quantizer


def test_saving_again_replaces_only_its_own_files(model, images, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    model(images)
    model.save_pretrained(tmp_path)
    assert same_state(load(tmp_path), model)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_quantizer_of_ones_own_is_handed_in_again(model, images, plain, tmp_path):
    own = type(model)(model.config, plain).eval()
    own.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"quantizer\.type: expected one of .*'PlainQuantizer'"):
        load(tmp_path)
    loaded = load(tmp_path, quantizer=type(plain)())
    assert torch.equal(loaded(images).reconstruction, own(images).reconstruction)


def test_an_optimizer_inside_a_codebook_is_left_to_the_run(model, images, tmp_path):
    quantizer = VectorQuantize(8, 16, in_place_codebook_optimizer=lambda p: torch.optim.SGD(p, lr=1.0))
    own = type(model)(model.config, quantizer)
    own(images)
    own.eval().save_pretrained(tmp_path)
    again = VectorQuantize(8, 16, in_place_codebook_optimizer=lambda p: torch.optim.SGD(p, lr=1.0))
    assert torch.equal(load(tmp_path, quantizer=again)(images).reconstruction, own(images).reconstruction)


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["write_weights", "write_text", "commit"])
def test_a_failed_save_leaves_the_old_model(model, images, tmp_path, monkeypatch, step):
    model.save_pretrained(tmp_path)
    old = load(tmp_path)
    other = type(model)(model.config, VectorQuantize(8, 32))
    with monkeypatch.context() as patch:
        patch.setattr(pretrained_module, step, full_disk)
        with pytest.raises(OSError, match="No space left"):
            other.save_pretrained(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]
    assert same_state(load(tmp_path), old)


def test_a_failed_first_save_leaves_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained_module, "commit", full_disk)
    with pytest.raises(OSError, match="No space left"):
        model.save_pretrained(tmp_path / "m")
    assert os.listdir(tmp_path / "m") == []


KILLED = """
import os, signal, sys
from vqkit.models import load, pretrained
from vqkit.quantizers import VectorQuantize
model = load(sys.argv[1])
pretrained.commit = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
type(model)(model.config, VectorQuantize(8, 32)).save_pretrained(sys.argv[1])
"""


def test_a_killed_save_leaves_the_old_model_and_the_next_save_cleans_up(tmp_path, images, model):
    model.save_pretrained(tmp_path)
    result = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=120)
    assert result.returncode == -9
    assert json.loads((tmp_path / "config.json").read_text())["quantizer"]["codebook_size"] == 32
    assert same_state(load(tmp_path), model)
    model.save_pretrained(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]


def test_another_class_is_named(model, tmp_path):
    model.save_pretrained(tmp_path)
    other = MLPVQVAE if isinstance(model, ConvVQVAE) else ConvVQVAE
    with pytest.raises(CheckpointError, match=f"type '{type(model).__name__}', expected '{other.__name__}'"):
        other.from_pretrained(tmp_path)


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_config_of_another_model_is_named(model, tmp_path):
    model.save_pretrained(tmp_path)
    edit_config(tmp_path, hidden=32)
    message = rf"hidden is {model.config.hidden} in model\.safetensors and 32 in config\.json"
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


def test_weights_of_another_model_are_named(model, tmp_path):
    from vqkit.models.pretrained import save_model
    from vqkit.models.weights import tensor_state

    state = tensor_state(model)
    name = next(iter(state))
    wrong = {k: v for k, v in state.items() if k != name} | {"extra.weight": torch.zeros(1)}
    save_model(tmp_path, model.config.to_dict(), wrong)
    with pytest.raises(CheckpointError, match=rf"missing {name}; unexpected extra\.weight"):
        load(tmp_path)
    save_model(tmp_path, model.config.to_dict(), state | {name: torch.zeros(3, 1, 2)})
    with pytest.raises(CheckpointError, match=rf"{name} has shape \(3, 1, 2\), the model's is"):
        load(tmp_path)


def test_weights_written_by_another_library_take_their_config_from_the_file_beside(model, tmp_path):
    from safetensors.torch import save_file

    model.save_pretrained(tmp_path)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    assert same_state(load(tmp_path), model)
    edit_config(tmp_path, type="Diffusion")
    with pytest.raises(CheckpointError, match="unknown model type 'Diffusion'; known are ConvVQVAE, MLPVQVAE"):
        load(tmp_path)


def test_damaged_folders_are_named(model, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: no such file"):
        load(tmp_path)
    model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a readable safetensors file"):
        load(tmp_path)
    weights.write_bytes(whole)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not valid JSON"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config\.json: expected a JSON object"):
        load(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read: No such file"):
        load(tmp_path)
