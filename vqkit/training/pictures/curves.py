from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vqkit.errors import bad_value
from vqkit.training.metrics import read_metrics
from vqkit.training.pictures.page import BLUE, FAINT, GREEN, HEADER, INK, MARGIN, ORANGE, PURPLE, Page, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (1900, 1300)
# Left of a panel its tick labels, above it its title, below it the steps.
LEFT, ABOVE, BELOW, BETWEEN = 110, 60, 90, 70
# A loss that falls by more than this is drawn on a logarithmic scale.
LOG_FROM = 8
# Few points are drawn as points too: a run with two evaluations has no visible line.
DOTS_BELOW = 40


class Curve(NamedTuple):
    """One figure of ``metrics.jsonl`` and how it is drawn."""

    split: str
    key: str
    label: str
    colour: str
    factor: float = 1.0


PANELS: dict[str, tuple[Curve, ...]] = {
    "Loss": (
        Curve("train", "loss", "train, all terms", BLUE),
        Curve("train", "quantizer_loss", "train, quantizer's", PURPLE),
    ),
    "Reconstruction loss": (
        Curve("train", "reconstruction", "train", BLUE),
        Curve("valid", "reconstruction", "valid", ORANGE),
    ),
    "Perplexity": (
        Curve("train", "window_perplexity", "train, sliding window", BLUE),
        Curve("train", "batch_perplexity", "train, one batch", GREEN),
        Curve("valid", "dataset_perplexity", "valid, whole split", ORANGE),
    ),
    "Usage, %": (
        Curve("train", "window_usage", "train, sliding window", BLUE, 100),
        Curve("train", "batch_usage", "train, one batch", GREEN, 100),
        Curve("valid", "dataset_usage", "valid, whole split", ORANGE, 100),
    ),
}


def draw_curves(metrics: str | Path, path: str | Path, *, title: str = "Training", note: str = "") -> Path:
    """Draw loss, reconstruction loss, perplexity and usage over the steps of a run.

    Args:
        metrics: the run's ``metrics.jsonl``.
        path: the PNG to write.
        title, note: the heading.

    Returns:
        ``path``.

    Raises:
        ArgumentError: when there are no lines to draw.
        DataError: when the file is damaged.
        OSError: when the picture cannot be written; nothing half written is left.
    """
    lines = read_metrics(Path(metrics))
    if not lines:
        raise bad_value("metrics", "a metrics.jsonl with at least one line", metrics)
    page = Page(*SIZE, title, note)
    width = (SIZE[0] - 2 * MARGIN - 2 * LEFT - BETWEEN) // 2
    height = (SIZE[1] - HEADER - 2 * (ABOVE + BELOW)) // 2 - 20
    for i, (name, curves) in enumerate(PANELS.items()):
        row, column = divmod(i, 2)
        x = MARGIN + LEFT + column * (width + LEFT + BETWEEN)
        y = HEADER + ABOVE + row * (height + ABOVE + BELOW)
        page.text(x - LEFT, y - ABOVE, name, size=11, color=INK, weight="bold")
        draw_panel(page.axes(x, y, width, height), curves, lines)
    return page.save(path)


def draw_panel(axes: Axes, curves: Iterable[Curve], lines: list[dict[str, Any]]) -> None:
    """The curves that have any points, with a legend."""
    plain_axes(axes)
    lowest, highest = float("inf"), 0.0
    for curve in curves:
        points = [
            (line["step"], line[curve.key]) for line in lines if line["split"] == curve.split and curve.key in line
        ]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        values = [value * curve.factor for value in values]
        lowest, highest = min(lowest, *values), max(highest, *values)
        dots = "o" if len(points) < DOTS_BELOW else ""
        axes.plot(steps, values, label=curve.label, color=curve.colour, linewidth=1.6, marker=dots, markersize=3)
    falls = any(curve.key in ("loss", "reconstruction") for curve in curves)
    if falls and 0 < lowest < highest / LOG_FROM:
        log_scale(axes)
    elif highest > 0:
        axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("step", color=FAINT, size=9, labelpad=4)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, labelcolor=FAINT)


def log_scale(axes: Axes) -> None:
    """A logarithmic vertical axis with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", length=0)
