from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# Pillow, say, is loaded when the first picture is opened, for which no file is to blame.
LOADED = 32


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("bombs")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30)); "
    run = f"{limit}import sys; from pathlib import Path; from tests.fuzz.bombs import main; main(Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", run, str(folder)], check=False, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, [json.loads(line) for line in done.stdout.splitlines()]


def test_every_small_file_that_asks_for_much_is_named(outcomes):
    folder, found = outcomes
    assert len(found) > 30
    for outcome in found:
        assert outcome["said"] is not None, outcome
        assert str(folder) in outcome["said"], outcome


def test_none_of_them_gets_it(outcomes):
    for outcome in outcomes[1]:
        assert outcome["mebibytes"] < LOADED + 8 * outcome["length"] / 2**20, outcome
