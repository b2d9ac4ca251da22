from __future__ import annotations

import errno
import math
import os
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.training.conftest import metric_lines, small_run, states_equal
from vqkit.errors import ArgumentError, CheckpointError, DataError, MissingExtraError
from vqkit.models import load
from vqkit.training import DataConfig, NonFiniteError, RunConfig, evaluate, presets, read_run, train
from vqkit.training import loop as loop_module
from vqkit.training import session as session_module

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nothing disturbed: its config, its folder, its model."""
    with pytest.MonkeyPatch.context() as patch:
        import vqkit.training.pictures

        patch.setattr(vqkit.training.pictures, "draw_run", lambda *args: [])
        run, folder = small_run(), tmp_path_factory.mktemp("finished") / "run"
        return run, folder, train(run, folder, progress=False)


def test_the_folder_has_everything(finished):
    run, folder, model = finished
    assert sorted(os.listdir(folder)) == ["checkpoints", "config.json", "metrics.jsonl", "model"]
    assert read_run(folder) == run
    assert sorted(os.listdir(folder / "checkpoints"))[-1] == "step-00000060"
    assert states_equal(load(folder / "model"), model)
    assert not model.training


def test_training_learns(finished):
    _, folder, _ = finished
    lines = metric_lines(folder)
    valid = [line["mse"] for line in lines if line["split"] == "valid"]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert valid[-1] < valid[0]
    assert losses[-1] < losses[0] * 0.9


def test_metrics_come_when_they_should_and_say_what_they_are(finished):
    _, folder, _ = finished
    lines = metric_lines(folder)
    train_lines = [line for line in lines if line["split"] == "train"]
    # every 10 steps, and before each checkpoint
    assert [line["step"] for line in train_lines] == [10, 20, 25, 30, 40, 50, 60]
    assert [line["step"] for line in lines if line["split"] == "valid"] == [30, 60]
    assert set(train_lines[0]) == {
        "step", "split", "loss", "reconstruction", "quantizer_loss", "batch_usage", "batch_perplexity",
        "window_usage", "window_perplexity", "lr", "epoch",
    }  # fmt: skip
    assert all(math.isfinite(value) for line in lines for key, value in line.items() if key != "split")
    assert train_lines[-1]["epoch"] == pytest.approx(60 / (1437 // 32))


def test_validation_is_what_evaluate_measures_on_the_saved_model(finished):
    run, folder, model = finished
    last = [line for line in metric_lines(folder) if line["split"] == "valid"][-1]
    dataset = run.data.load("valid")
    result = evaluate(model, dataset, F.mse_loss, batch_size=32)
    assert last == {"step": 60, "split": "valid", **result._asdict()}
    x = dataset.batch(range(len(dataset)))
    out = model(x)
    counts = np.bincount(out.indices.flatten().numpy(), minlength=32)
    share = counts[counts > 0] / counts.sum()
    assert result.mse == pytest.approx(((out.reconstruction - x).double() ** 2).mean().item(), rel=1e-6)
    assert result.dataset_usage == (counts > 0).mean()
    assert result.dataset_perplexity == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-9)
    assert result.batch_perplexity < result.dataset_perplexity


def test_evaluate_leaves_the_model_in_its_mode(finished):
    run, _, model = finished
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, run.data.load("valid"), F.mse_loss, batch_size=50)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()


def test_best_has_the_lowest_error_and_checkpoints_load_as_models(finished):
    run, folder, _ = finished
    errors = {line["step"]: line["mse"] for line in metric_lines(folder) if line["split"] == "valid"}
    best = load(folder / "checkpoints" / "best")
    assert os.readlink(folder / "checkpoints" / "best") == f"step-{min(errors, key=errors.get):08d}"
    result = evaluate(best, run.data.load("valid"), F.mse_loss, batch_size=32)
    assert result.mse == min(errors.values())


def test_a_run_is_repeatable(finished, tmp_path):
    run, folder, model = finished
    torch.rand(7)
    again = train(run, tmp_path / "again", progress=False)
    assert states_equal(again, model)
    assert metric_lines(tmp_path / "again") == metric_lines(folder)


def test_resuming_a_finished_run_trains_no_further(finished):
    run, folder, model = finished
    before = metric_lines(folder)
    assert states_equal(train(run, folder, resume=True, progress=False), model)
    assert metric_lines(folder) == before


def test_a_run_can_be_extended_and_equals_the_long_one(tmp_path):
    settings = {"schedule": "constant", "eval_every": 5, "checkpoint_every": 5, "log_every": 5}
    train(small_run(steps=10, **settings), tmp_path / "run", progress=False)
    extended = train(small_run(steps=15, **settings), tmp_path / "run", resume=True, progress=False)
    long = train(small_run(steps=15, **settings), tmp_path / "long", progress=False)
    assert states_equal(extended, long)
    assert metric_lines(tmp_path / "run") == metric_lines(tmp_path / "long")
    shortened = train(small_run(steps=12, **settings), tmp_path / "run", resume=True, progress=False)
    assert states_equal(shortened, long)


def test_a_cosine_run_cannot_be_extended(tmp_path):
    train(small_run(steps=5), tmp_path / "run", progress=False)
    with pytest.raises(
        CheckpointError, match=r"holds another run: train\.steps is 5 in .*config\.json and 6 in this run"
    ):
        train(small_run(steps=6), tmp_path / "run", resume=True, progress=False)


def test_resuming_another_run_names_what_differs(finished, tmp_path):
    run, folder, _ = finished
    with pytest.raises(CheckpointError, match=r"model\.hidden is 16 in .* and 32 in this run; train\.lr is 0\.001"):
        train(run.override(["model.hidden=32", "train.lr=0.5"]), folder, resume=True)
    with pytest.raises(CheckpointError, match="there is no run to resume"):
        train(run, tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()


def test_a_checkpoint_of_another_model_is_named(finished, tmp_path):
    run, _, _ = finished
    other = small_run().override(["model.hidden=8"])
    train(other, tmp_path / "run", progress=False)
    (tmp_path / "run" / "config.json").write_text(run.to_json())
    with pytest.raises(CheckpointError, match=r"step-00000060: hidden is 8 in the checkpoint and 16 in this run"):
        train(run, tmp_path / "run", resume=True)


def test_a_folder_that_is_there_is_not_touched_unasked(finished, tmp_path):
    run, folder, _ = finished
    with pytest.raises(ArgumentError, match="out_dir: expected a new or empty folder"):
        train(run, folder)
    with pytest.raises(ArgumentError, match="resume, overwrite: expected one of them, got both"):
        train(run, folder, resume=True, overwrite=True)
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(ArgumentError, match="expected a run's folder to overwrite"):
        train(run, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_overwriting_replaces_the_run_and_leaves_other_files(tmp_path):
    folder = tmp_path / "run"
    train(small_run(steps=6), folder, progress=False)
    (folder / "notes.txt").write_text("mine")
    train(small_run(steps=3, seed=1), folder, overwrite=True, progress=False)
    assert read_run(folder).train.steps == 3
    assert sorted(os.listdir(folder / "checkpoints")) == ["best", "latest", "step-00000003"]
    assert {line["step"] for line in metric_lines(folder)} == {3}
    assert (folder / "notes.txt").read_text() == "mine"


def test_what_cannot_be_run_leaves_no_folder(tmp_path):
    bad = {
        "train.batch_size=2000": (ArgumentError, "at most the 1437 images"),
        "model.quantizer.codebook_size=0": (ArgumentError, "codebook_size"),
        "model.quantizer.decoy=0": (TypeError, "decoy"),
        "data.source=/no/such/folder": (ArgumentError, "/no/such/folder"),
        "train.steps=null": (ArgumentError, "a budget"),
    }
    for assignment, (kind, message) in bad.items():
        with pytest.raises(kind, match=message):
            train(small_run().override([assignment]), tmp_path / "run")
    with pytest.raises(ArgumentError, match=r"train\.trackers: expected one of .*'tensorboard'.*, got 'paper'"):
        train(small_run(trackers=["paper"]), tmp_path / "run")
    with pytest.raises(MissingExtraError, match="wandb"):
        train(small_run(trackers=["wandb"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_for_other_images_is_refused(tmp_path, finished):
    run, _, model = finished
    other = RunConfig(DataConfig("digits", size=16), model.config, run.train)
    with pytest.raises(ArgumentError, match=r"model\.spec: expected that of the data"):
        train(other, tmp_path / "run")


def test_accumulating_micro_batches_equals_one_batch(tmp_path):
    models = []
    for accumulate in (1, 4):
        run = small_run(steps=12, accumulate=accumulate).override(["model.quantizer.stochastic_sample_codes=false"])
        models.append(train(run, tmp_path / str(accumulate), progress=False))
    one, four = (model.state_dict() for model in models)
    assert all(torch.allclose(one[name].double(), four[name].double(), atol=1e-5) for name in one)
    ours, theirs = metric_lines(tmp_path / "1")[0], metric_lines(tmp_path / "4")[0]
    assert ours["batch_perplexity"] == pytest.approx(theirs["batch_perplexity"], rel=1e-3)
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_the_schedule_reaches_the_optimizer(tmp_path):
    run = small_run(steps=12, log_every=1, warmup_steps=4)
    train(run, tmp_path / "run", progress=False)
    rates = [line["lr"] for line in metric_lines(tmp_path / "run") if line["split"] == "train"]
    assert rates[:4] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3])
    assert all(a > b for a, b in pairwise(rates[4:]))


def test_gradients_are_clipped(tmp_path):
    settings = {"steps": 3, "ema_decay": None}
    still = train(small_run(clip_norm=1e-12, **settings), tmp_path / "a", progress=False)
    moved = train(small_run(clip_norm=None, **settings), tmp_path / "b", progress=False)
    torch.manual_seed(0)
    start = session_module.build_model(still.config)
    # Adam's step is lr whatever the scale, but for a gradient far below its epsilon
    weight = start.encoder[0].weight
    assert (still.encoder[0].weight - weight).abs().max() < 1e-5
    assert (moved.encoder[0].weight - weight).abs().max() > 1e-4


def test_seconds_bound_a_run(tmp_path, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(session_module.time, "monotonic", lambda: next(clock))
    train(small_run(steps=None, seconds=50, schedule="constant"), tmp_path / "run", progress=False)
    steps = [line["step"] for line in metric_lines(tmp_path / "run") if line["split"] == "valid"]
    assert 1 < steps[-1] < 60
    assert os.path.isdir(tmp_path / "run" / "model")
    train(small_run(steps=None, seconds=50, schedule="constant"), tmp_path / "run", resume=True, progress=False)
    assert metric_lines(tmp_path / "run")[-1]["step"] == steps[-1]


def test_epochs_bound_a_run(tmp_path):
    train(small_run(steps=None, epochs=2, batch_size=256), tmp_path / "run", progress=False)
    assert metric_lines(tmp_path / "run")[-1]["step"] == 2 * (1437 // 256)


@pytest.mark.parametrize("precision", ["bf16", "no"])
def test_precisions_can_follow_one_another_in_a_process(tmp_path, precision):
    model = train(small_run(steps=3, mixed_precision=precision), tmp_path / "run", progress=False)
    assert next(model.parameters()).dtype == torch.float32
    assert model(torch.rand(2, 1, 8, 8)).reconstruction.dtype == torch.float32
    assert model.forward.__func__ is type(model).forward


def test_a_precision_the_cpu_has_not_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"train\.mixed_precision: expected 'no' or 'bf16' on a CPU, got 'fp16'"):
        train(small_run(mixed_precision="fp16", device="cpu"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_can_be_read_by_workers(tmp_path):
    direct = train(small_run(steps=4), tmp_path / "direct", progress=False)
    workers = train(small_run(steps=4, workers=1), tmp_path / "workers", progress=False)
    assert states_equal(direct, workers)


def test_tensorboard_gets_the_figures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(small_run(steps=20, trackers=["tensorboard"]), tmp_path / "run", progress=False)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [10, 20]
    assert [event.step for event in events.Scalars("valid/dataset_perplexity")] == [20]


def test_the_progress_bar_shows_the_figures(tmp_path, capsys):
    train(small_run(steps=10), tmp_path / "run")
    shown = capsys.readouterr().err
    assert "10/10" in shown
    assert "step 10: validation mse" in shown
    assert all(word in shown for word in ("loss", "recon", "perplexity", "usage"))


def nan_from(step):
    """A step function whose loss is NaN from ``step`` on."""
    take_step = loop_module.take_step

    def take(session, *args):
        if session.step + 1 >= step:
            session.criterion = lambda reconstruction, x: (reconstruction * math.nan).mean()
        take_step(session, *args)

    return take


@pytest.mark.filterwarnings("ignore:.*NaN:RuntimeWarning")
def test_a_nan_loss_stops_the_run_and_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, finished):
    run, _, model = finished
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "take_step", nan_from(43))
        with pytest.raises(NonFiniteError, match="step 43: expected finite losses, got loss nan"):
            train(run, tmp_path / "run", progress=False)
    checkpoints = tmp_path / "run" / "checkpoints"
    assert os.readlink(checkpoints / "latest") == "step-00000030"
    assert not (tmp_path / "run" / "model").exists()
    assert states_equal(train(run, tmp_path / "run", resume=True, progress=False), model)


@pytest.mark.filterwarnings("ignore:.*NaN:RuntimeWarning")
def test_nan_weights_behind_a_finite_loss_are_not_saved(tmp_path, monkeypatch):
    take_step = loop_module.take_step

    def take(session, *args):
        take_step(session, *args)
        if session.step + 1 == 25:
            next(session.model.parameters()).data[0] = math.nan

    monkeypatch.setattr(loop_module, "take_step", take)
    with pytest.raises(NonFiniteError, match=r"step 25: expected finite weights, got [a-zA-Z ]* in encoder\.0\.weight"):
        train(small_run(), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_disk_that_fills_up_keeps_the_last_checkpoint_and_the_run_can_go_on(tmp_path, monkeypatch, finished):
    run, folder, model = finished
    write_state, calls = session_module.write_state, []

    def full(state, path):
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_state(state, path)

    with monkeypatch.context() as patch:
        patch.setattr(session_module, "write_state", full)
        with pytest.raises(CheckpointError, match=r"step-00000030: .*No space left on device; .* step-00000025"):
            train(run, tmp_path / "run", progress=False)
    assert sorted(os.listdir(tmp_path / "run" / "checkpoints")) == ["latest", "step-00000025"]
    assert states_equal(train(run, tmp_path / "run", resume=True, progress=False), model)
    assert metric_lines(tmp_path / "run") == metric_lines(folder)


def test_a_shrunken_data_set_is_noticed(tmp_path, finished):
    np.save(tmp_path / "images.npy", np.random.RandomState(0).randint(0, 255, (400, 8, 8), dtype=np.uint8))
    run = small_run(steps=5).override([f"data.source={tmp_path / 'images.npy'}"])
    train(run, tmp_path / "run", progress=False)
    np.save(tmp_path / "images.npy", np.zeros((300, 8, 8), dtype=np.uint8))
    with pytest.raises(CheckpointError, match=r"saved while training on 320 images, .* now has 240"):
        train(run, tmp_path / "run", resume=True)


def test_empty_data_are_named(tmp_path):
    np.save(tmp_path / "none.npy", np.zeros((0, 8, 8), dtype=np.uint8))
    with pytest.raises(DataError, match=r"none\.npy"):
        train(small_run().override([f"data.source={tmp_path / 'none.npy'}"]), tmp_path / "run")


@pytest.mark.data
@pytest.mark.parametrize(("name", "folder"), [("mnist-mlp", "mnist"), ("mnist", "mnist"), ("cifar10", "cifar10")])
def test_presets_train_on_the_real_data(name, folder, tmp_path, pytestconfig):
    source = pytestconfig.rootpath.parent / "shared" / "data" / folder
    if not source.is_dir():
        pytest.skip(f"needs {source}")
    run = presets.get(name).override([f"data.source={source}", "train.steps=2"])
    model = train(run, tmp_path / "run", progress=False)
    assert math.isfinite(metric_lines(tmp_path / "run")[-1]["mse"])
    assert model.spec.shape[0] in (1, 3)
