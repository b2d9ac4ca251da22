from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from vqkit import functional
from vqkit.errors import bad_value
from vqkit.shapes import check_shape, check_tensor
from vqkit.training.pictures.page import BLUE, FAINT, GREEN, HEADER, MARGIN, ORANGE, PURPLE, RED, Page, plain_axes

SIZE = (1800, 900)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED)


def draw_usage(counts: Tensor, path: str | Path, *, title: str = "Code usage", note: str = "") -> Path:
    """Draw how often each code is used, most used first, against uniform use; unused codes leave a gap on the right.

    Args:
        counts: (K,) how often each code was hit, or (Q, K) for Q codebooks.
        path: the PNG to write.
        title: the heading; usage in percent and perplexity are added to it.
        note: what was counted.

    Returns:
        ``path``.

    Raises:
        ArgumentError, ArgumentTypeError: for counts of another shape, or no counts at all.
        OSError: when the picture cannot be written; nothing half written is left.
    """
    table = check_tensor("counts", counts).detach().cpu()
    table = table[None] if table.ndim == 1 else check_shape("counts", table, ("Q", "K"))
    if table.numel() == 0 or (table.sum(-1) == 0).any():
        raise bad_value("counts", "at least one hit in every codebook", "none")
    used, perplexity = functional.usage(table), functional.perplexity(table)
    heading = f"{title}: {100 * used.mean():.1f} % · perplexity {perplexity.mean():.1f} of {table.shape[1]}"
    page = Page(*SIZE, heading, note)
    axes = plain_axes(page.axes(MARGIN + 130, HEADER + 10, SIZE[0] - 2 * MARGIN - 150, SIZE[1] - HEADER - 160))
    share = (table.double() / table.sum(-1, keepdim=True)).sort(-1, descending=True).values.numpy() * table.shape[1]
    for stage, values in enumerate(share):
        colour = COLOURS[stage % len(COLOURS)]
        edges = np.arange(len(values) + 1) + 0.5
        label = f"stage {stage + 1}" if len(share) > 1 else "codes, most used first"
        axes.stairs(
            values,
            edges,
            fill=len(share) == 1,
            color=colour,
            alpha=0.9,
            label=label,
            linewidth=1.6,
            baseline=0 if len(share) == 1 else None,
        )
    axes.axhline(1, color=ORANGE if len(share) == 1 else FAINT, linewidth=1.3, linestyle=(0, (5, 3)))
    axes.text(table.shape[1], 1, "uniform use ", color=FAINT, size=9, ha="right", va="bottom")
    unused = int((table == 0).sum())
    if len(share) == 1 and unused:
        mark_unused(axes, table.shape[1], unused)
    axes.set(xlim=(0.5, table.shape[1] + 0.5), ylim=(0, max(1.25, share.max() * 1.06)))
    axes.set_xlabel("code, by how often it is used", color=FAINT, size=10, labelpad=8)
    axes.set_ylabel("times its fair share", color=FAINT, size=10, labelpad=8)
    if len(share) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=FAINT)
    return page.save(path)


def mark_unused(axes, count: int, unused: int) -> None:
    """Shade the part of the axis where the unused codes are, and say how many."""
    axes.axvspan(count - unused + 0.5, count + 0.5, color="#f3d9d9", alpha=0.7, linewidth=0)
    axes.annotate(
        f"{unused} never used", (count - unused / 2, 0), (0, 14), textcoords="offset points", ha="center", color=RED,
        size=9, annotation_clip=False,
    )  # fmt: skip
