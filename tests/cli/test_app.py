from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from vqkit import __version__
from vqkit.cli.app import one_line
from vqkit.errors import DataError
from vqkit.training.pictures.page import Page


def test_help_names_every_command(vqkit):
    outcome = vqkit("--help")
    assert outcome.code == 0
    for name in ("train", "reconstruct", "sample", "evaluate", "info"):
        assert name in outcome.out


@pytest.mark.parametrize("command", ["train", "reconstruct", "sample", "evaluate", "info"])
def test_every_command_has_help(vqkit, command):
    outcome = vqkit(command, "--help")
    assert outcome.code == 0
    assert f"vqkit {command}" in outcome.out


def test_version(vqkit):
    assert vqkit("--version").out == f"vqkit {__version__}\n"


def test_help_reads_no_heavy_package():
    code = "import sys\nfrom vqkit.cli.app import run\ntry:\n    run(['--help'])\nexcept SystemExit:\n    pass\n"
    code += "print([name for name in ('PIL', 'sklearn', 'matplotlib', 'accelerate') if name in sys.modules])"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.splitlines()[-1] == "[]"


def test_errors_are_one_line_and_code_two(vqkit):
    outcome = vqkit("train", "digit")
    assert outcome.code == 2
    assert outcome.err == "vqkit: preset: expected one of digits, mnist-mlp, mnist, cifar10, got 'digit'\n"
    assert outcome.out == ""


@pytest.mark.parametrize("words", [("--debug", "train", "digit"), ("train", "digit", "--debug")])
def test_debug_shows_the_traceback(vqkit, words):
    outcome = vqkit(*words)
    assert outcome.code == 2
    assert outcome.err.startswith("Traceback")
    assert "ArgumentError: preset" in outcome.err


def test_unknown_options_are_refused(vqkit):
    outcome = vqkit("sample", "somewhere", "--frobnicate")
    assert outcome.code == 2
    assert "--frobnicate" in outcome.err


def test_a_full_disk_is_one_line_and_leaves_nothing(vqkit, trained, tmp_path, monkeypatch):
    def full(self, path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Page, "save", full)
    outcome = vqkit("sample", trained)
    assert outcome.code == 2
    assert outcome.err == "vqkit: samples.png: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_bugs_are_not_hidden(vqkit, monkeypatch):
    def explode(words):
        raise ZeroDivisionError

    monkeypatch.setattr("vqkit.cli.app.run", explode)
    with pytest.raises(ZeroDivisionError):
        vqkit("info")


def test_without_typer():
    code = "import sys\nsys.modules['typer'] = None\nfrom vqkit.cli.app import main\nmain(['info'])"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert outcome.returncode == 2
    assert outcome.stderr == "vqkit: typer is not installed; it comes with: pip install 'vqkit[train]'\n"


def test_messages_are_folded_to_one_line():
    assert one_line(DataError("a.npz:\n  broken")) == "a.npz: broken"
    assert one_line(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    assert one_line(OSError()) == "OSError"
