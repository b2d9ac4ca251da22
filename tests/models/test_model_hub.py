from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vqkit.errors import CheckpointError, MissingExtraError
from vqkit.models import load

hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def fake_hub(monkeypatch, tmp_path):
    """A hub that keeps its repositories in a folder; what was asked of it is in ``calls``."""
    fake = SimpleNamespace(root=tmp_path / "hub", calls=[])

    class Api:
        def __init__(self, token=None):
            fake.calls.append(("token", token))

        def create_repo(self, repo_id, private, exist_ok):
            fake.calls.append(("create", repo_id, private, exist_ok))
            return SimpleNamespace(repo_id=f"someone/{repo_id}" if "/" not in repo_id else repo_id)

        def upload_folder(self, *, repo_id, folder_path, commit_message, **rest):
            target = fake.root / repo_id
            target.mkdir(parents=True)
            for path in Path(folder_path).iterdir():
                (target / path.name).write_bytes(path.read_bytes())
            fake.calls.append(("upload", repo_id, commit_message))
            return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(repo_id, allow_patterns, **options):
        fake.calls.append(("download", repo_id, allow_patterns, options))
        if not (fake.root / repo_id).is_dir():
            raise OSError("404")
        return str(fake.root / repo_id)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return fake


def test_push_and_load_by_repository_id(model, images, fake_hub):
    address = model.eval().push_to_hub("someone/tiny", commit_message="first", token="t", private=True)
    assert address == "https://hub/someone/tiny/commit/1"
    loaded = load("someone/tiny", revision="main")
    assert torch.equal(loaded(images).reconstruction, model(images).reconstruction)
    assert fake_hub.calls == [
        ("token", "t"),
        ("create", "someone/tiny", True, True),
        ("upload", "someone/tiny", "first"),
        ("download", "someone/tiny", ["config.json", "model.safetensors"], {"revision": "main"}),
    ]


def test_save_pretrained_can_push(model, fake_hub, tmp_path):
    address = model.save_pretrained(tmp_path / "tiny", push_to_hub=True)
    assert address == "https://hub/someone/tiny/commit/1"
    assert type(type(model).from_pretrained("someone/tiny")) is type(model)


def test_an_unknown_repository_is_named(fake_hub):
    with pytest.raises(CheckpointError, match="someone/absent: no such folder here, and the hub did not give it: 404"):
        load("someone/absent")


def test_a_path_is_never_taken_for_a_repository(fake_hub):
    for path in ("./runs/model", "/no/where", "runs", Path("runs/model")):
        with pytest.raises(CheckpointError, match="no such folder"):
            load(path)
    assert fake_hub.calls == []


def test_without_the_package_local_folders_work_and_repositories_say_what_is_missing(model, tmp_path, monkeypatch):
    real = builtins.__import__

    def without_hub(name, *args, **kwargs):
        if name.split(".")[0] == "huggingface_hub":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    model.save_pretrained(tmp_path)
    assert type(load(tmp_path)) is type(model)
    with pytest.raises(MissingExtraError, match=r"huggingface_hub is not installed.*vqkit\[hub\]"):
        load("someone/tiny")
    with pytest.raises(MissingExtraError, match="huggingface_hub"):
        model.push_to_hub("someone/tiny")


def test_a_subclass_of_the_hubs_mixin_keeps_both(model, images, tmp_path):
    kind = type("WithHub", (type(model), hub.PyTorchModelHubMixin), {})
    own = kind(model.config).eval()
    own.save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path)
    assert torch.equal(loaded(images).reconstruction, own(images).reconstruction)


def test_importing_the_models_imports_no_hub():
    code = "import sys, vqkit.models; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
