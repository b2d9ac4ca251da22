"""What is measured on the way. ``metrics.jsonl`` has one JSON object a line, each with ``step`` and ``split``.

Train lines, averages over the steps since the line before: ``loss``, ``reconstruction``, ``quantizer_loss``,
``batch_usage``, ``batch_perplexity`` (of one step's codes); and of this moment ``window_usage``, ``window_perplexity``
(the quantizer's sliding window), ``lr``, ``epoch``, ``seconds`` (spent training). Valid lines: see
:class:`vqkit.training.evaluate.Evaluation`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqkit.distributed import gathered
from vqkit.errors import DataError
from vqkit.models.files import write_text
from vqkit.training.errors import NonFiniteError

MEASURED = ("loss", "reconstruction", "quantizer_loss", "batch_usage", "batch_perplexity")


class TrainMeter:
    """Collects the figures of training steps on the device, and reads them out together: once every so many steps.

    Examples:
        >>> meter = TrainMeter()
        >>> meter.add(1, *torch.tensor([0.75, 0.5, 0.25, 1.0, 1.8]))
        >>> meter.flush()["loss"]
        0.75
    """

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._rows: list[Tensor] = []

    def add(self, step: int, *values: Tensor) -> None:
        """Note one step: what ``MEASURED`` names, 0-dim each."""
        self._steps.append(step)
        self._rows.append(torch.stack([value.detach().double() for value in values]))

    def flush(self) -> dict[str, float]:
        """Averages over the noted steps and over the processes, by name; then begin anew. Empty when nothing was noted.

        Raises:
            NonFiniteError: a loss was infinite or NaN; the message names the first such step.
        """
        if not self._rows:
            return {}
        # over processes, so that all see the same and stop together
        table = gathered([torch.stack(self._rows)])[0].mean(0).cpu()
        steps, self._steps, self._rows = self._steps, [], []
        for step, row in zip(steps, table.tolist(), strict=True):
            if not all(map(math.isfinite, row[:3])):
                figures = ", ".join(f"{name} {value}" for name, value in zip(MEASURED[:3], row, strict=False))
                raise NonFiniteError(f"step {step}: expected finite losses, got {figures}; nothing was saved since")
        return dict(zip(MEASURED, table.mean(0).tolist(), strict=True))


class MetricsFile:
    """``metrics.jsonl``, one flushed line at a time.

    Args:
        path: the file; made if need be.
        after: keep only the lines of steps up to this one: a run continued from there writes the rest again.

    Raises:
        DataError: a line that is no JSON, other than a last one cut short.
    """

    def __init__(self, path: Path, after: int = 0):
        self.path = path
        lines = [json.dumps(line) + "\n" for line in read_metrics(path) if line["step"] <= after and after > 0]
        write_text(path, "".join(lines))

    def write(self, line: dict[str, Any]) -> None:
        """Append a line and hand it to the system.

        Raises:
            OSError: naming the file.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OSError(error.errno, f"metrics could not be written: {error.strerror}", str(self.path)) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``, in order; a last line that was cut short is left out; no file, no lines.

    Raises:
        DataError: any other line is no JSON object with a ``step``.
    """
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = []
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and not line.endswith(b"\n"):
            break
        try:
            values = json.loads(line)
            int(values["step"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            shown = line.strip()[:60].decode("utf-8", "replace")
            raise DataError(f"{path}, line {number}: expected a JSON object with a step, got {shown!r}") from error
        found.append(values)
    return found
