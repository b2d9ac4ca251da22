"""The small parts of the loop: losses, schedule, averages, random state, metrics, signals."""

from __future__ import annotations

import json
import math
import os
import signal
import threading

import numpy as np
import pytest
import torch
from torch import nn

from vqkit.data import load_images
from vqkit.errors import ArgumentError, DataError
from vqkit.functional.usage import count_codes
from vqkit.training import NonFiniteError, Stopped, TrainConfig, read_metrics
from vqkit.training.losses import reconstruction_loss
from vqkit.training.metrics import MetricsFile, TrainMeter
from vqkit.training.random_state import random_state, restore_random_state, seed_all
from vqkit.training.schedule import learning_rate
from vqkit.training.signals import stop_requests
from vqkit.training.weights_ema import WeightsEMA


@pytest.fixture(scope="module")
def digits():
    return load_images("digits", "train", value_range=(-0.5, 0.5))


def test_reconstruction_losses_are_their_formulas(digits):
    x, y = torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)
    values = np.stack([digits[i].numpy() for i in range(len(digits))]).astype(np.float64)
    mse = ((x - y) ** 2).mean().item()
    assert reconstruction_loss("mse", digits)(y, x).item() == pytest.approx(mse, rel=1e-5)
    assert reconstruction_loss("l1", digits)(y, x).item() == pytest.approx((x - y).abs().mean().item(), rel=1e-5)
    assert reconstruction_loss("mse/variance", digits)(y, x).item() == pytest.approx(mse / values.var(), rel=1e-5)


def test_reconstruction_losses_are_float32_whatever_comes_in(digits):
    x = torch.rand(2, 1, 8, 8)
    for name in ("mse", "l1", "mse/variance"):
        assert reconstruction_loss(name, digits)(x.bfloat16(), x).dtype == torch.float32


def test_images_that_are_all_alike_have_no_variance(tmp_path):
    np.save(tmp_path / "flat.npy", np.full((20, 4, 4), 7, dtype=np.uint8))
    with pytest.raises(DataError, match=r"flat\.npy train: all values are equal"):
        reconstruction_loss("mse/variance", load_images(str(tmp_path / "flat.npy"), "train"))
    with pytest.raises(ArgumentError, match="'mse', 'mse/variance', 'l1', got 'ssim'"):
        reconstruction_loss("ssim", load_images(str(tmp_path / "flat.npy"), "train"))


def test_warm_up_then_constant():
    config = TrainConfig(steps=10, lr=0.4, warmup_steps=4)
    rates = [learning_rate(config, step, 10) for step in range(6)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_cosine_falls_from_lr_to_zero():
    config = TrainConfig(steps=8, lr=1.0, schedule="cosine")
    rates = [learning_rate(config, step, 8) for step in range(9)]
    assert rates == pytest.approx([(1 + math.cos(math.pi * step / 8)) / 2 for step in range(9)])


def test_weight_averages_follow_their_formula_and_leave_buffers_alone():
    model = nn.BatchNorm1d(1)
    ema, expected = WeightsEMA(model, decay=0.25), 1.0
    for update in range(1, 6):
        nn.init.constant_(model.weight, float(update))
        model.running_mean.fill_(update)
        ema.update(model)
        decay = min(0.25, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
    with ema.applied(model):
        assert model.weight.item() == pytest.approx(expected, rel=1e-6)
        assert model.running_mean.item() == 5
    assert model.weight.item() == 5


def test_weight_averages_are_taken_off_after_an_error():
    model = nn.Linear(1, 1)
    ema, before = WeightsEMA(model, 0.5), model.weight.item()
    nn.init.constant_(model.weight, before + 1)

    def fail():
        with ema.applied(model):
            assert model.weight.item() == before
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert model.weight.item() == pytest.approx(before + 1)


def test_random_state_survives_saving_as_data(tmp_path):
    seed_all(5)
    np.random.standard_normal()  # leaves half a pair behind
    torch.save(random_state(), tmp_path / "r.pt")

    def draw():
        import random

        return random.gauss(0, 1), np.random.standard_normal(3).tolist(), torch.randn(3).tolist()

    drawn = draw()
    seed_all(6)
    restore_random_state(torch.load(tmp_path / "r.pt", weights_only=True))
    assert draw() == drawn


def test_code_counts_leave_out_what_has_no_code():
    indices = torch.tensor([[0, 2, -1], [2, -1, 2]])
    assert count_codes(indices.flatten(), 4).tolist() == [1, 0, 3, 0]
    assert count_codes(indices[:0].flatten(), 4).tolist() == [0, 0, 0, 0]


def add(meter, step, loss, used=1.0, perplexity=2.0):
    meter.add(step, *torch.tensor([loss, loss / 2, loss / 4, used, perplexity]))


def test_the_meter_averages_since_the_last_flush():
    meter = TrainMeter()
    assert meter.flush() == {}
    add(meter, 1, 1.0)
    add(meter, 2, 3.0, 0.5, 1.0)
    figures = meter.flush()
    assert figures["loss"] == 2
    assert figures["reconstruction"] == 1
    assert figures["quantizer_loss"] == 0.5
    assert figures["batch_usage"] == 0.75
    assert figures["batch_perplexity"] == 1.5
    add(meter, 3, 5.0)
    assert meter.flush()["loss"] == 5


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_meter_names_the_first_bad_step(bad):
    meter = TrainMeter()
    for step, loss in ((7, 1.0), (8, bad), (9, bad)):
        add(meter, step, loss)
    with pytest.raises(NonFiniteError, match=rf"step 8: expected finite losses, got loss {bad}"):
        meter.flush()


def test_metrics_are_one_object_a_line_and_forget_what_comes_after_a_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    for step in (10, 20, 30):
        file.write({"step": step, "split": "train", "loss": 1.5})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20, 30]
    MetricsFile(path, after=20).write({"step": 25, "split": "valid"})
    assert [line["step"] for line in read_metrics(path)] == [10, 20, 25]
    MetricsFile(path)
    assert read_metrics(path) == []


def test_a_last_line_cut_short_is_dropped_and_any_other_is_an_error(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "split": "train"}\n{"step": 2, "sp')
    assert read_metrics(path) == [{"step": 1, "split": "train"}]
    MetricsFile(path, after=5)
    assert path.read_text() == '{"step": 1, "split": "train"}\n'
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2: expected a JSON object with a step, got 'nonsense'"):
        read_metrics(path)
    assert read_metrics(tmp_path / "none") == []


def test_metrics_on_a_full_disk_name_the_file(tmp_path, monkeypatch):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.path = type(tmp_path)("/dev/full")
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        file.write({"step": 1})


def test_the_first_signal_is_noted_and_the_second_has_its_way():
    with stop_requests() as request:
        assert request.signal == 0
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_nothing_is_touched():
    seen = []

    def work():
        with stop_requests() as request:
            seen.append((request.signal, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(0, signal.default_int_handler)]


def test_stopping_gives_the_shells_exit_code(tmp_path):
    assert Stopped(signal.SIGINT, 3, tmp_path).code == 130
    stopped = Stopped(signal.SIGTERM, 3, tmp_path)
    assert stopped.code == 143
    assert str(stopped) == f"stopped by SIGTERM after step 3; saved in {tmp_path}; resume it to go on"
