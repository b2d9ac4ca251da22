from __future__ import annotations

import json

import pytest

from vqkit.cli.app import main

RUN = {
    "data": {"source": "digits"},
    "model": {
        "type": "MLPVQVAE",
        "codes": 4,
        "quantizer": {"type": "VectorQuantize", "dim": 4, "codebook_size": 16},
    },
    "train": {"steps": 3, "batch_size": 32, "device": "cpu"},
}


class Outcome:
    """What a command did: its exit code and what it wrote."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def vqkit(capsys, tmp_path, monkeypatch):
    """Run the command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        return Outcome(stop.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a short run on the digits."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.json").write_text(json.dumps(RUN))
    with pytest.raises(SystemExit) as stop:
        main(["train", str(folder / "tiny.json"), "--out", str(folder / "tiny"), "--quiet"])
    assert stop.value.code in (0, None)
    return folder / "tiny"
