from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys

import pytest
import torch

from vqkit.errors import CheckpointError
from vqkit.training.checkpoint import STATE_FILE, Checkpoints, read_state, write_state


def names(folder) -> list[str]:
    return sorted(os.listdir(folder))


def writer(text="x"):
    return lambda folder: (folder / "a").write_text(text)


def test_links_point_to_the_latest_and_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    assert checkpoints.latest() is None
    for step in (1, 2, 3, 4, 10):
        checkpoints.save(step, writer(str(step)), best=step == 2)
    assert names(tmp_path) == ["best", "latest", "step-00000002", "step-00000004", "step-00000010"]
    assert (tmp_path / "latest" / "a").read_text() == "10"
    assert (tmp_path / "best" / "a").read_text() == "2"
    assert checkpoints.latest() == tmp_path / "step-00000010"


def test_a_step_is_written_once(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    checkpoints.save(1, writer("first"))
    checkpoints.save(1, writer("second"), best=True)
    assert (tmp_path / "best" / "a").read_text() == "first"


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    checkpoints.save(1, writer())

    def full(folder):
        (folder / "a").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    message = (
        r"step-00000002: could not be written: No space left on device; the last whole checkpoint is step-00000001"
    )
    with pytest.raises(CheckpointError, match=message):
        checkpoints.save(2, full)
    assert names(tmp_path) == ["latest", "step-00000001"]
    assert (tmp_path / "latest" / "a").read_text() == "x"


@pytest.mark.parametrize("call", ["rename", "replace", "fsync"])
def test_whatever_fails_the_earlier_checkpoint_is_whole(tmp_path, monkeypatch, call):
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    checkpoints.save(1, writer())

    def fail(*args, **kwargs):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(CheckpointError, match="could not be written: Input/output error"):
            checkpoints.save(2, writer())
    assert (tmp_path / "step-00000001" / "a").read_text() == "x"
    assert (checkpoints.save(3, writer()) / "a").read_text() == "x"
    assert [name for name in names(tmp_path) if name.endswith(".tmp")] == []


KILLED = """
import os, signal, sys
from pathlib import Path
from vqkit.training.checkpoint import Checkpoints

def write(folder):
    (folder / "a").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

Checkpoints(Path(sys.argv[1]), keep_last=1).save(2, write)
"""


def test_a_process_killed_while_saving_leaves_only_whole_checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    checkpoints.save(1, writer())
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=120).returncode == -9
    assert checkpoints.all() == [tmp_path / "step-00000001"]
    checkpoints.save(2, writer("whole"))
    assert names(tmp_path) == ["latest", "step-00000002"]
    assert (tmp_path / "latest" / "a").read_text() == "whole"


def test_state_is_data(tmp_path):
    state = {"step": 3, "names": ("a", None), "tensor": torch.arange(3), "nested": [{"x": 1.5}]}
    write_state(state, tmp_path / STATE_FILE)
    loaded = read_state(tmp_path / STATE_FILE)
    assert torch.equal(loaded.pop("tensor"), state.pop("tensor"))
    assert loaded == state


class Evil:
    def __reduce__(self):
        return os.system, ("touch should-not-exist",)


def test_code_in_a_state_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": Evil()}, "evil.pt")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"step": Evil()}, protocol=2))
    for name in ("evil.pt", "evil.pkl"):
        with pytest.raises(CheckpointError, match="not a file of plain tensors"):
            read_state(tmp_path / name)
    assert not (tmp_path / "should-not-exist").exists()


def test_damaged_state_is_named(tmp_path):
    path = tmp_path / STATE_FILE
    with pytest.raises(CheckpointError, match=r"training\.pt: no such file"):
        read_state(path)
    write_state({"tensor": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"training\.pt: not a file of plain tensors"):
        read_state(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"training\.pt: not a file of plain tensors"):
        read_state(path)
