from __future__ import annotations

import dataclasses
import json

import pytest

from vqkit.errors import ArgumentError, ArgumentTypeError, DataError
from vqkit.models import ConvVQVAEConfig, MLPVQVAEConfig
from vqkit.training import DataConfig, RunConfig, TrainConfig, presets


@pytest.mark.parametrize("name", presets.names())
def test_presets_survive_json(name, tmp_path):
    run = presets.get(name)
    path = tmp_path / "run.json"
    path.write_text(run.to_json())
    assert RunConfig.read(path) == run


def test_the_presets_are_those_promised():
    assert presets.names() == ["digits", "mnist-mlp", "mnist", "cifar10"]
    mlp = presets.get("mnist-mlp")
    assert (mlp.model.codes, mlp.train.epochs, mlp.train.batch_size, mlp.train.lr) == (16, 5, 128, 1e-3)
    cifar = presets.get("cifar10")
    assert cifar.data.value_range == (-0.5, 0.5)
    assert (cifar.train.batch_size, cifar.train.lr, cifar.train.reconstruction) == (32, 3e-4, "mse/variance")
    with pytest.raises(ArgumentError, match="one of digits, mnist-mlp, mnist, cifar10, got 'imagenet'"):
        presets.get("imagenet")


def test_a_preset_without_its_data_says_how_to_give_them():
    with pytest.raises(ArgumentError, match=r"data\.source: expected where the images are; give it as data\.source="):
        presets.get("mnist").data.load("train")


def test_overrides_reach_every_level():
    run = presets.get("digits").override(
        ["train.lr=0.5", "data.source=/some/where", "model.quantizer.kmeans_init=true", "data.value_range=[-1, 1]"]
    )
    assert run.train.lr == 0.5
    assert run.data.source == "/some/where"
    assert run.data.value_range == (-1, 1)
    assert run.model.quantizer["kmeans_init"] is True
    assert presets.get("digits").train.lr != 0.5


def test_one_budget_takes_the_place_of_the_other():
    digits = presets.get("digits")
    steps = digits.override(["train.steps=9"])
    assert (steps.train.steps, steps.train.epochs) == (9, None)
    assert steps.override(["train.epochs=2"]).train.steps is None
    assert digits.override(["train.steps=null"]) == digits
    with pytest.raises(ArgumentError, match="expected one of them, got steps=9 and epochs=3"):
        digits.override(["train.steps=9", "train.epochs=3"])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.steps", "override: expected key=value, such as train.steps=100, got 'train.steps'"),
        ("train.stepz=3", r"train\.stepz: expected a key among steps, epochs, .*, got unknown 'stepz'"),
        ("optimizer.lr=3", r"optimizer\.lr: expected a key of the run; optimizer holds no keys"),
        ("train.lr.x=3", r"train\.lr\.x: expected a key of the run; train\.lr holds no keys"),
        ("train.steps=ten", r"train\.steps: expected an int >= 1, got str 'ten'"),
        ("train.steps=0", r"train\.steps: expected an int >= 1, got 0"),
        ("model.hidden=7", "hidden: expected an even number, got 7"),
        ("model.type=GAN", r"model\.type: expected one of ConvVQVAE, MLPVQVAE, got 'GAN'"),
        ("data=3", "data: expected a mapping"),
        ("model=3", "model: expected a mapping"),
    ],
)
def test_bad_overrides_are_named(assignment, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        presets.get("digits").override([assignment])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 1, "epochs": 1}, "expected one of them, got steps=1 and epochs=1"),
        ({"batch_size": 10, "accumulate": 3}, r"train\.batch_size: expected a multiple of the 3 micro-batches"),
        ({"schedule": "cosine", "seconds": 3}, r"train\.schedule: expected 'constant' when only seconds"),
        ({"lr": 0}, r"train\.lr: expected a number in \(0, inf\], got 0"),
        ({"lr": "fast"}, r"train\.lr: expected a number"),
        ({"ema_decay": 2.0}, r"train\.ema_decay: expected a number in \[0, 1\]"),
        ({"clip_norm": 0}, r"train\.clip_norm"),
        ({"optimizer": "lion"}, r"train\.optimizer: expected one of 'adam', 'adamw', got 'lion'"),
        ({"trackers": "tensorboard"}, r"train\.trackers: expected a list of names"),
        ({"seed": -1}, r"train\.seed"),
    ],
)
def test_bad_training_values_are_named(values, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        TrainConfig(**values)


def test_a_run_needs_a_budget():
    with pytest.raises(ArgumentError, match=r"train\.steps: expected a budget: steps, epochs or seconds, got none"):
        TrainConfig().total_steps(10)
    assert TrainConfig(seconds=3).total_steps(10) is None
    assert TrainConfig(steps=3, seconds=3).total_steps(10) == 3
    assert TrainConfig(epochs=2).total_steps(10) == 20


def test_a_run_is_made_of_configs():
    with pytest.raises(ArgumentTypeError, match="model: expected a VQVAEConfig"):
        RunConfig(DataConfig("digits"), {"type": "ConvVQVAE"})
    with pytest.raises(ArgumentError, match=r"run: expected keys among data, model, train, got unknown 'notes'"):
        RunConfig.from_dict({**presets.get("digits").to_dict(), "notes": ""})
    with pytest.raises(ArgumentTypeError, match="run: expected a mapping"):
        RunConfig.from_dict([])
    assert RunConfig.from_dict({"model": {"type": "MLPVQVAE"}}) == RunConfig(DataConfig(), MLPVQVAEConfig())


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: cannot be read: No such file"):
        RunConfig.read(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json: not valid JSON"):
        RunConfig.read(tmp_path / "bad.json")


def test_runs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        presets.get("digits").train.lr = 1


def test_dicts_are_plain_json():
    run = RunConfig(DataConfig("digits"), ConvVQVAEConfig(), TrainConfig())
    values = run.to_dict()
    assert json.loads(json.dumps(values)) == json.loads(run.to_json())
    assert values["model"]["type"] == "ConvVQVAE"
