"""Which cut of the screen is fastest on this card: timed once for a class of sizes, and remembered in a small file.

Every cut gives the same indices and distances, so the choice is of time alone, and a lost or foreign file costs nothing
but time. Nothing is timed in the interpreter, while a CUDA graph is captured, where the work is too little to matter,
or where VQKIT_AUTOTUNE is 0: then the table serves, which was measured on an H100.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import torch
import triton
from triton.runtime.errors import OutOfResources

from vqkit.errors import DataError
from vqkit.kernels.triton.cuts import Problem, Tiles, candidates, widths

WORTH = 2**30  # products of a search from which on it is timed
REPEATS = 5
LARGEST_FILE = 2**20  # bytes
FORMAT = 1
Known = dict[str, dict[str, Tiles]]  # by card, and by class of sizes


def default_path() -> Path:
    """The file of choices, in the folder where Triton keeps what it compiled."""
    home = Path(os.environ.get("TRITON_HOME") or Path.home())
    return Path(os.environ.get("TRITON_CACHE_DIR") or home / ".triton" / "cache") / "vqkit-tiles.json"


def microseconds(run: Callable[[], object]) -> float:
    """The median time of a call on the current GPU, after one that compiles."""
    run()
    times = []
    for _ in range(REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(1e3 * start.elapsed_time(end))
    return statistics.median(times)


def card_of(device: torch.device) -> str:
    """What a choice holds for: a card and a compiler."""
    return f"{torch.cuda.get_device_name(device)}, triton {triton.__version__}"


def may_time(problem: Problem) -> bool:
    """Whether a device may be made to wait now."""
    if problem.device.type != "cuda" or os.environ.get("VQKIT_AUTOTUNE") == "0":
        return False
    return not torch.cuda.is_current_stream_capturing()


def width_of(problem: Problem) -> int:
    """The width of a problem's tiles."""
    return widths(3 * problem.width if problem.screen == "split" else problem.width)[0]


def class_of(problem: Problem) -> str:
    """The sizes that a choice holds for: rows of all heads and codes, each up to a power of two, and the width."""
    rows, codes = ((size - 1).bit_length() for size in (problem.heads * problem.rows, problem.codes))
    return f"N<=2^{rows} K<=2^{codes} W={width_of(problem)} {problem.screen}"


class Tuner:
    """Choices of one process, by card and class of sizes."""

    def __init__(
        self,
        timer: Callable[[Callable[[], object]], float] = microseconds,
        card: Callable[[torch.device], str] = card_of,
        path: Callable[[], Path] = default_path,
    ):
        self.timer, self.card, self.path = timer, card, path
        self.known: dict[tuple[torch.device, str], Tiles] = {}

    def tuned(self, problem: Problem, run: Callable[[Problem], object]) -> Problem:
        """The problem with the cut chosen for its class, after timing ``run`` for each where that may be done now."""
        work = problem.heads * problem.rows * problem.codes * problem.width
        if problem.topk > 1 or work < WORTH or problem.device.type != "cuda":
            return problem
        key = problem.device, class_of(problem)
        if key not in self.known and may_time(problem):
            self.known[key] = self._choose(problem, run)
        return replace(problem, tiles=self.known[key]) if key in self.known else problem

    def _choose(self, problem: Problem, run: Callable[[Problem], object]) -> Tiles:
        choices, path, card = candidates(problem.codes, width_of(problem)), self.path(), self.card(problem.device)
        saved = saved_in(path).get(card, {}).get(class_of(problem))
        if saved in choices:
            return saved
        times: dict[Tiles, float] = {}
        for tiles in choices:
            tried = replace(problem, tiles=tiles)
            try:
                times[tiles] = self.timer(lambda tried=tried: run(tried))
            except OutOfResources:  # it needs more shared memory than this card has
                continue
        if not times:
            return choices[0]
        best = min(times, key=times.__getitem__)
        save(path, card, class_of(problem), best)
        return best


def saved_in(path: Path) -> Known:
    """What a file holds; nothing, with a warning, where it cannot be read."""
    try:
        return read(path) if path.exists() else {}
    except (DataError, OSError) as error:
        warnings.warn(f"choices of tiles are made anew: {error}", RuntimeWarning, stacklevel=2)
        return {}


def read(path: Path) -> Known:
    """The choices in a file; raises ``DataError`` where it holds anything else."""
    if path.stat().st_size > LARGEST_FILE:
        raise DataError(f"{path}: expected choices of tiles, got more than {LARGEST_FILE} bytes")
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON, got {type(error).__name__}: {error}") from error
    if not isinstance(held, dict) or held.get("format") != FORMAT or not isinstance(held.get("cards"), dict):
        raise DataError(f"{path}: expected choices of tiles of format {FORMAT}, got other JSON")
    if not all(isinstance(choices, dict) for choices in held["cards"].values()):
        raise DataError(f"{path}: expected choices for every card, got other JSON")
    return {
        card: {sizes: _tiles(path, numbers) for sizes, numbers in choices.items()}
        for card, choices in held["cards"].items()
    }


def _tiles(path: Path, numbers: object) -> Tiles:
    if not isinstance(numbers, list) or len(numbers) != 5 or not all(type(number) is int for number in numbers):
        raise DataError(f"{path}: expected five whole numbers for each class of sizes, got {numbers!r:.80}")
    return Tiles(*numbers)


def save(path: Path, card: str, sizes: str, tiles: Tiles) -> None:
    """Add a choice to a file, which other processes may read and write at any time; warns where that cannot be done."""
    known = saved_in(path)
    known.setdefault(card, {})[sizes] = tiles
    cards = {name: {key: list(astuple(of)) for key, of in choices.items()} for name, choices in known.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"format": FORMAT, "cards": cards}, file, indent=1)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        warnings.warn(f"the choice of tiles is kept for this process alone: {error}", RuntimeWarning, stacklevel=2)


TUNER = Tuner()
