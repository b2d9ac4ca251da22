from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from vqkit.models.files import commit, staged, write_text


def test_text_replaces_what_was_there(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")
    write_text(target, "näu")
    assert target.read_text(encoding="utf-8") == "näu"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_files_are_as_readable_as_any_other(tmp_path):
    write_text(tmp_path / "ours", "")
    (tmp_path / "theirs").write_text("")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "theirs").stat().st_mode)


def test_failing_while_writing_leaves_the_old_file_alone(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def interrupted():
        with staged(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_leaves_the_old_file_alone(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_bytes_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    events = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda *a: (events.append("replace"), replace(*a)))
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("fsync"), fsync(handle)))
    with staged(tmp_path / "a") as temporary:
        commit(temporary, tmp_path / "a")
    assert events == ["fsync", "replace", "fsync"]
