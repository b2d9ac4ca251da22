"""The choice of tiles, by a timer that needs no GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import pytest
import torch
from triton.runtime.errors import OutOfResources

from tests.kernels.triton_cases.searches import normal
from vqkit.errors import DataError
from vqkit.kernels.triton import search, tune
from vqkit.kernels.triton.cuts import Problem, Tiles, candidates, tiles_for

CUDA = torch.device("cuda")
PROBLEM = Problem(1, 65536, 8192, 64, "euclidean", 1, "half", None, torch.float32, CUDA, 132, (True, True))
CHOICES = candidates(8192, 64)


class Timed:
    """A tuner that finds one cut the fastest, and what it tried."""

    def __init__(self, path: Path, fastest: Tiles = CHOICES[2], too_large: tuple[Tiles, ...] = (), card: str = "card"):
        self.tried: list[Tiles] = []
        self.fastest, self.too_large = fastest, too_large
        self.tuner = tune.Tuner(self.time, lambda _: card, lambda: path)

    def time(self, run: Callable[[], object]) -> float:
        run()
        return 1.0 if self.tried[-1] == self.fastest else 2.0

    def run(self, problem: Problem) -> None:
        assert problem.tiles is not None
        self.tried.append(problem.tiles)
        if problem.tiles in self.too_large:
            raise OutOfResources(2, 1, "shared memory")

    def tiles(self, problem: Problem = PROBLEM) -> Tiles | None:
        return self.tuner.tuned(problem, self.run).tiles


@pytest.fixture(autouse=True)
def _not_capturing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("VQKIT_AUTOTUNE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "tiles.json"


def test_the_fastest_is_chosen_once_for_a_class_of_sizes(path: Path):
    timed = Timed(path)
    assert timed.tiles() == CHOICES[2]
    assert timed.tried == CHOICES
    assert timed.tiles(replace(PROBLEM, rows=40_000, codes=5000, metric="dot")) == CHOICES[2]
    assert timed.tried == CHOICES
    assert timed.tiles(replace(PROBLEM, rows=65537)) == CHOICES[2]
    assert timed.tried == 2 * CHOICES


def test_another_process_reads_the_choice(path: Path):
    Timed(path).tiles()
    again = Timed(path, CHOICES[1])
    assert again.tiles() == CHOICES[2]
    assert again.tried == []
    other = Timed(path, CHOICES[1], card="another card")
    assert other.tiles() == CHOICES[1]
    assert set(tune.read(path)) == {"card", "another card"}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_does_not_fit_is_left_out(path: Path):
    assert Timed(path, CHOICES[0], too_large=(CHOICES[0],)).tiles() in CHOICES[1:]
    nothing = Timed(path.with_name("other.json"), too_large=tuple(CHOICES))
    assert nothing.tiles() == CHOICES[0]
    assert not path.with_name("other.json").exists()


def test_when_nothing_is_timed(path: Path, monkeypatch: pytest.MonkeyPatch):
    timed = Timed(path)
    assert timed.tiles(replace(PROBLEM, device=torch.device("cpu"))) is None
    assert timed.tiles(replace(PROBLEM, rows=64)) is None
    assert timed.tiles(replace(PROBLEM, topk=2)) is None
    with monkeypatch.context() as patch:
        patch.setenv("VQKIT_AUTOTUNE", "0")
        assert timed.tiles() is None
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        assert timed.tiles() is None
        assert timed.tried == []
    assert timed.tiles() == CHOICES[2]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert timed.tiles() == CHOICES[2]


def held(cards: object) -> str:
    return json.dumps({"format": tune.FORMAT, "cards": cards})


SIZES = tune.class_of(PROBLEM)
DAMAGED = {
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "too deep": b"[" * 100_000,
    "another format": json.dumps({"format": 2, "cards": {}}).encode(),
    "a list": b"[1]",
    "cards of no choices": held({"card": 3}).encode(),
    "too few numbers": held({"card": {SIZES: [128, 128]}}).encode(),
    "no numbers": held({"card": {SIZES: [128, 128, 4, 4, True]}}).encode(),
    "too large": b" " * (tune.LARGEST_FILE + 1),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_reported_and_replaced(content: bytes, path: Path):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tiles\.json: expected"):
        tune.read(path)
    with pytest.warns(RuntimeWarning, match=r"made anew: .*tiles\.json"):
        assert Timed(path).tiles() == CHOICES[2]
    assert tune.read(path) == {"card": {SIZES: CHOICES[2]}}


def test_a_cut_that_is_none_of_ours_is_not_run(path: Path):
    path.parent.mkdir()
    path.write_text(held({"card": {SIZES: [7, 7, 7, 7, 7]}}), encoding="utf-8")
    timed = Timed(path)
    assert timed.tiles() == CHOICES[2]
    assert timed.tried == CHOICES


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match="kept for this process alone"):
        assert Timed(tmp_path / "file" / "tiles.json").tiles() == CHOICES[2]


def test_where_the_file_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    assert tune.default_path().parent == tmp_path
    monkeypatch.delenv("TRITON_CACHE_DIR")
    monkeypatch.setenv("TRITON_HOME", str(tmp_path))
    assert tune.default_path().parent == tmp_path / ".triton" / "cache"


@pytest.mark.parametrize("width", [16, 64, 128, 256, 320])
@pytest.mark.parametrize("codes", [100, 2000, 9000])
def test_every_candidate_divides_what_is_padded(width: int, codes: int):
    choices = candidates(codes, width)
    assert choices[0] == tiles_for(codes, width)
    assert len(set(choices)) == len(choices)
    assert all(128 % tiles.rows == 0 and 128 % tiles.codes == 0 for tiles in choices)


@pytest.mark.parametrize("width", [24, 300])
def test_no_candidate_changes_an_answer(width: int):
    x, codes = normal(1, 5, width), normal(1, 300, width, seed=1)
    codes[0, 150:] = codes[0, :150]
    first, *others = (search.nearest(x, codes, "euclidean", tiles=tiles) for tiles in candidates(300, max(64, width)))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_search_asks_the_tuner(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def tuned(problem: Problem, run: Callable[[Problem], object]) -> Problem:
        asked.append(astuple(problem)[:4])
        run(replace(problem, tiles=CHOICES[1]))
        return replace(problem, tiles=CHOICES[1])

    x, codes = normal(1, 5, 24), normal(1, 300, 24, seed=1)
    expected = search.nearest(x, codes, "euclidean")
    monkeypatch.setattr(search.TUNER, "tuned", tuned)
    assert all(torch.equal(a, b) for a, b in zip(search.nearest(x, codes, "euclidean"), expected, strict=True))
    assert asked == [(1, 5, 300, 24)]
