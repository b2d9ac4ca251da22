"""The quantizers of neural audio codecs: EnCodec, DAC, Mimi. Inputs are (B, dim, T), indices (B, T, Q)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vqkit.codebook import EMA, Codebook
from vqkit.interop.checkpoints.options import chosen
from vqkit.interop.checkpoints.state import State, fill, fill_codes, fill_projections
from vqkit.quantizers import ResidualVQ, SplitResidualVQ

TOLD = ("dim", "num_quantizers", "codebook_size", "codebook_dim", "n_semantic", "project_each_stage", "project")
AVERAGED: Mapping[str, Any] = {"decay": 0.99, "threshold_ema_dead_code": 0, "channel_last": False}
LEARNED: Mapping[str, Any] = {
    "learnable_codebook": True,
    "commitment_weight": 0.25,
    "threshold_ema_dead_code": 0,
    "channel_last": False,
    "use_cosine_sim": True,
}
# The semantic half and the acoustic one, as Moshi and as transformers name them.
HALVES = (("rvq_first.", "rvq_rest."), ("semantic_residual_vector_quantizer.", "acoustic_residual_vector_quantizer."))
FLOOR = 1e-5  # what Mimi clamps a code's count to, before it divides by it


def load_encodec(state: State, options: Mapping[str, Any]) -> ResidualVQ:
    """``layers.i._codebook.*`` with ``inited``, ``cluster_size``, ``embed_avg`` and ``embed`` (Défossez et al. 2022,
    arXiv:2210.13438); transformers leaves out the underscore.
    """
    tables = _tables(state)
    shapes = [table.shape("embed", 2) for table in tables]
    begun = [bool(table.take("inited", 1).all()) for table in tables]
    policies = chosen(options, TOLD, **AVERAGED, **({} if all(begun) else {"kmeans_init": True}))
    rvq = ResidualVQ(shapes[0][1], len(tables), [shape[0] for shape in shapes], **policies)
    for stage, table, placed in zip(rvq.members, tables, begun, strict=True):
        book, counts, sums = _book(stage), table.take("cluster_size", 1), table.take("embed_avg", 2)
        _fill(book, table, table.take("embed", 2), counts, sums)
        fill(book, {"initialised": torch.tensor(placed)}, table)
    return rvq


def load_dac(state: State, options: Mapping[str, Any]) -> ResidualVQ:
    """``quantizers.i`` with ``in_proj``, ``out_proj`` and ``codebook.weight`` (Kumar et al. 2023, arXiv:2306.06546):
    codes are chosen by direction, and keep their lengths.
    """
    layers = state.numbered("quantizers")
    sizes, widths = zip(*(layer.shape("codebook.weight", 2) for layer in layers), strict=True)
    dim = layers[0].shape("out_proj.bias", 1)[0]
    policies = chosen(options, (*TOLD, "unit_codes"), **LEARNED)
    rvq = ResidualVQ(dim, len(layers), sizes, widths, unit_codes=False, project=True, **policies)
    for stage, layer in zip(rvq.members, layers, strict=True):
        _fill(_book(stage), layer, layer.take("codebook.weight", 2))
        fill_projections(stage.slices, layer, "in_proj", "out_proj")  # pyright: ignore
    return rvq


def load_mimi(state: State, options: Mapping[str, Any]) -> SplitResidualVQ:
    """``rvq_first`` and ``rvq_rest``, each with ``vq.layers.i._codebook.*`` (``embedding_sum``, ``cluster_usage``) and
    projections (Défossez et al. 2024, arXiv:2410.00037), or their names in transformers. Its projections have no bias:
    theirs begins at zero.
    """
    names = next((names for names in HALVES if any(key.startswith(names[0]) for key in state.tensors)), HALVES[0])
    halves = [state.under(name) for name in names]
    stacks = [_tables(half if names is HALVES[1] else half.under("vq.")) for half in halves]
    tables = [table for stack in stacks for table in stack]
    total = "embed_sum" if names is HALVES[1] else "embedding_sum"
    size, width = tables[0].shape(total, 2)
    dim = halves[0].shape("input_proj.weight", 3)[1]
    policies = chosen(options, TOLD, **AVERAGED)
    rvq = SplitResidualVQ(dim, len(tables), size, width, n_semantic=len(stacks[0]), **policies)
    mine = (rvq.rvq_first, rvq.rvq_rest)
    for half, residual in zip(halves, mine, strict=True):
        fill_projections(residual.projections, half, "input_proj", "output_proj")
    for stage, table in zip([stage for residual in mine for stage in residual.members], tables, strict=True):
        counts, sums = table.take("cluster_usage", 1), table.take(total, 2)
        _fill(_book(stage), table, sums / counts.clamp(min=FLOOR)[:, None], counts, sums)
        table.drop("_initialized", "initialized", "inited")
    return rvq


def _tables(state: State) -> list[State]:
    """The table of each layer, with or without the underscore."""
    layers = state.numbered("layers")
    underscore = "_" if any(name.startswith("_codebook.") for name in layers[0].tensors) else ""
    return [layer.under(f"{underscore}codebook.") for layer in layers]


def _book(stage: Any) -> Codebook:
    return stage.book


def _fill(
    book: Codebook, state: State, codes: Tensor, counts: Tensor | None = None, sums: Tensor | None = None
) -> None:
    """Codes (K, D) into a table of one head, with their averages where it has any."""
    values = {}
    if isinstance(book.update, EMA) and counts is not None and sums is not None:
        values = {"ema_counts": counts[None], "ema_sums": sums[None], "ema_start": torch.zeros_like(counts)[None]}
    fill_codes(book, codes[None], state, **values)
