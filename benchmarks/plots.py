"""The pictures of a run: time against N and against K, and the ratios beside their goals."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter
from PIL import Image

from benchmarks import report
from benchmarks.goals import Verdict
from benchmarks.harness import Failure, Result
from benchmarks.scaling import CODES_AT, ROWS_AT, D, Point, slope

# Okabe and Ito's colours, told apart with any colour vision; shapes and hatches say the same again.
COLOURS = 48
FARTHEST_LOSS = 0.05  # bars below run off the picture; the number beside them stands
BLUE, ORANGE, GREY, BLACK = "#0072B2", "#D55E00", "#7F7F7F", "#222222"
LOOKS = {"vqkit": (BLUE, "o", "-"), "faiss": (ORANGE, "s", "--"), "vector-quantize-pytorch": (GREY, "^", ":")}
STYLE: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True}


def scaling(points: list[Point], path: Path) -> None:
    """Seconds against N and against K on log axes, a line a library."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), sharey=True, layout="constrained")
        fixed = {"N": f"K = {ROWS_AT:,} codes", "K": f"N = {CODES_AT:,} rows"}
        for ax, (axis, label) in zip(axes, (("N", "rows N"), ("K", "codes K")), strict=True):
            for who, (colour, marker, dashes) in LOOKS.items():
                line = sorted((p for p in points if p.axis == axis and p.who == who), key=lambda p: p.at)
                if len(line) > 1:
                    xs, ys = [p.at for p in line], [p.seconds * 1e3 for p in line]
                    name = f"{who}, slope {slope(line):.2f}"
                    ax.plot(xs, ys, dashes, color=colour, marker=marker, markersize=5, lw=1.8, label=name)
            ax.set(yscale="log", xlabel=label, title=f"{fixed[axis]}, width D = {D}")
            ax.set_xscale("log", base=4)
            for side in (ax.xaxis, ax.yaxis):
                side.set_major_formatter(FuncFormatter(_plain))
            ax.grid(True, which="major", color="#DDDDDD", lw=0.6)
            ax.legend(frameon=False, fontsize=8, loc="upper left")
        axes[0].set_ylabel("one exact search, ms")
        _save(figure, path)


def ratios(outcomes: Iterable[Result | Failure], verdicts: Iterable[Verdict], path: Path) -> None:
    """Peer / ours of every case by group, the group's goal marked."""
    outcomes = list(outcomes)
    groups = [(v, [o for o in outcomes if isinstance(o, Result) and o.group == v.group]) for v in verdicts]
    groups = [(v, found) for v, found in groups if found]
    rows = sum(len(found) + 1.3 for _, found in groups)
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(9.5, 0.6 + 0.225 * rows), layout="constrained")
        _bars(ax, groups)
        ax.axvline(1, color=BLACK, lw=1)
        ax.set(xscale="log", xlabel="peer / ours: above 1 vqkit is faster")
        ax.xaxis.set_major_formatter(FuncFormatter(_plain))
        ax.grid(True, axis="x", color="#DDDDDD", lw=0.6)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        handles = [
            plt.Rectangle((0, 0), 1, 1, color=BLUE),
            plt.Rectangle((0, 0), 1, 1, facecolor="white", edgecolor=ORANGE, hatch="////"),
            plt.Line2D([], [], color=BLACK, lw=2.5),
        ]
        labels = ["faster than the peer", "slower than the peer", "goal (of the geometric mean, or of each)"]
        figure.legend(handles, labels, frameon=False, ncols=3, loc="outside upper center", fontsize=9)
        _save(figure, path)


def _bars(ax: Any, groups: list[tuple[Verdict, list[Result]]]) -> None:
    y, ticks, names = 0.0, [], []
    for verdict, results in groups:
        ticks.append(y)
        names.append(verdict.goal.title.upper())
        top = y + 0.5
        for result in results:
            y += 1
            look = (
                {"color": BLUE} if result.ratio >= 1 else {"facecolor": "white", "edgecolor": ORANGE, "hatch": "////"}
            )
            ax.barh(y, result.ratio - 1, left=1, height=0.72, **look)
            # In a column of their own, where no goal crosses them.
            ax.annotate(
                report.ratio(result.ratio),
                (1.06, y),
                xycoords=("axes fraction", "data"),
                va="center",
                ha="right",
                fontsize=8,
            )
            ticks.append(y)
            names.append(result.name)
        if verdict.goal.line is not None:
            ax.plot([verdict.goal.line] * 2, [top, y + 0.5], color=BLACK, lw=2.5, solid_capstyle="butt")
        y += 1.3
    ax.set_yticks(ticks, names, fontsize=8)
    for label in ax.get_yticklabels():
        label.set_fontweight("bold" if label.get_text().isupper() else "normal")
    low = min((r.ratio for _, results in groups for r in results), default=1.0)
    high = max([r.ratio for _, rs in groups for r in rs] + [v.goal.line or 1 for v, _ in groups], default=1.0)
    ax.set(xlim=(max(min(low, 1) / 2, FARTHEST_LOSS), high * 2), ylim=(y - 0.3, -0.8))


def _plain(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _save(figure: Any, path: Path) -> None:
    """As a small PNG, whole or not at all."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(small, format="png", optimize=True)
    report.write(path, small.getvalue())
