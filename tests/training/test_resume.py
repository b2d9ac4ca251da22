"""Runs stopped or killed midway, as processes of their own, and then resumed: bit for bit the undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.training.conftest import metric_lines, small_run, states_equal
from vqkit.training import Stopped, loop, train

pytestmark = pytest.mark.usefixtures("quick")

# Trains until the step (or the write) it is told, says so by a file, and waits there to be sent a signal.
CHILD = """
import sys, time
from pathlib import Path
import vqkit.training.pictures
from vqkit.training import RunConfig, loop, session, train

run, out, where = RunConfig.read(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
vqkit.training.pictures.draw_run = lambda *args: []
take_step, write_state = loop.take_step, session.write_state

def wait():
    out.with_suffix(".ready").touch()
    while not out.with_suffix(".go").exists():
        time.sleep(0.01)

def stepping(session, *args):
    if session.step + 1 == 37:
        wait()
    take_step(session, *args)

def writing(state, path):
    if state["step"] == 50:
        path.write_bytes(b"half a checkpoint")
        wait()
    write_state(state, path)

if where == "step":
    loop.take_step = stepping
else:
    session.write_state = writing
train(run, out, progress=False)
"""


def start(folder: Path, where: str) -> subprocess.Popen:
    folder.with_suffix(".json").write_text(small_run().to_json())
    command = [sys.executable, "-c", CHILD, str(folder.with_suffix(".json")), str(folder), where]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(command, env={**os.environ, **threads}, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, child: subprocess.Popen) -> None:
    while not path.exists():
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        import vqkit.training.pictures

        patch.setattr(vqkit.training.pictures, "draw_run", lambda *args: [])
        folder = tmp_path_factory.mktemp("undisturbed") / "run"
        return folder, train(small_run(), folder, progress=False)


def resumed_equals(undisturbed, folder: Path) -> bool:
    model = train(small_run(), folder, resume=True, progress=False)
    last = [lines[-1] for lines in (metric_lines(folder), metric_lines(undisturbed[0]))]
    assert last[0] == last[1]
    assert len({(line["step"], line["split"]) for line in metric_lines(folder)}) == len(metric_lines(folder))
    return states_equal(model, undisturbed[1])


def test_a_run_asked_to_stop_finishes_its_step_saves_and_can_be_resumed(tmp_path, undisturbed):
    folder = tmp_path / "run"
    child = start(folder, "step")
    wait_for(folder.with_suffix(".ready"), child)
    child.terminate()
    folder.with_suffix(".go").touch()
    _, shown = child.communicate(timeout=120)
    assert child.returncode == 143
    assert f"stopped by SIGTERM after step 37; saved in {folder}/checkpoints/step-00000037" in shown
    assert "Traceback" not in shown
    assert os.readlink(folder / "checkpoints" / "latest") == "step-00000037"
    assert not (folder / "model").exists()
    assert resumed_equals(undisturbed, folder)


def test_a_run_killed_while_it_saves_goes_on_from_its_last_whole_checkpoint(tmp_path, undisturbed):
    folder = tmp_path / "run"
    child = start(folder, "write")
    wait_for(folder.with_suffix(".ready"), child)
    child.kill()
    child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL
    assert os.readlink(folder / "checkpoints" / "latest") == "step-00000030"
    assert resumed_equals(undisturbed, folder)
    assert [path for path in (folder / "checkpoints").iterdir() if path.name.startswith(".")] == []


def at_step(monkeypatch, step, act):
    """Let ``act`` happen before the step after ``step``."""
    take_step = loop.take_step

    def take(session, *args):
        if session.step == step:
            act()
        take_step(session, *args)

    monkeypatch.setattr(loop, "take_step", take)


def test_ctrl_c_finishes_the_step_and_saves(tmp_path, undisturbed, monkeypatch, capsys):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 42, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(Stopped) as stopped:
            train(small_run(), folder, progress=False)
    assert (stopped.value.code, stopped.value.step) == (130, 43)
    assert stopped.value.checkpoint == folder / "checkpoints" / "step-00000043"
    assert "stopped by SIGINT after step 43" in capsys.readouterr().err
    assert resumed_equals(undisturbed, folder)


def test_a_signal_in_the_last_step_lets_the_run_finish(tmp_path, undisturbed, monkeypatch):
    at_step(monkeypatch, 59, lambda: os.kill(os.getpid(), signal.SIGINT))
    model = train(small_run(), tmp_path / "run", progress=False)
    assert states_equal(model, undisturbed[1])


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path, undisturbed, monkeypatch):
    def die():
        raise SystemExit("as if killed")

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 15, die)
        with pytest.raises(SystemExit, match="as if killed"):
            train(small_run(), folder, progress=False)
    assert metric_lines(folder)[-1]["step"] == 10
    assert resumed_equals(undisturbed, folder)
    assert metric_lines(folder) == metric_lines(undisturbed[0])
