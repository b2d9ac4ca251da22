"""``LFQ``, ``ResidualLFQ``, ``GroupedResidualLFQ`` and ``BinaryMapper`` of vector-quantize-pytorch 1.32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqkit.interop.checkpoints.options import agreed, chosen
from vqkit.interop.checkpoints.state import State, fill, fill_linear, fill_projections
from vqkit.quantizers import LFQ, BinaryMapper, GroupedResidualLFQ, ResidualLFQ
from vqkit.quantizers.projections import CosineLinear
from vqkit.quantizers.stage_options import sorted_options

LOSSES: dict[str, Any] = {"entropy_loss_weight": 0.1, "commitment_loss_weight": 0.0, "inv_temperature": 100.0}
"""The defaults there, so that a loaded quantizer trains on as it did."""


def load_lfq(state: State, options: Mapping[str, Any]) -> LFQ:
    """Its ``mask``, a weight for each bit, ``project_in.*``, ``project_out.*`` and ``orthogonal_rot``;
    ``num_codebooks`` is an option where there is no projection, and ``cosine_sim_project_in`` where that is square.
    """
    bits = state.shape("mask", 1)[0]
    told: dict[str, Any] = {"codebook_size": 2**bits, "orthogonal_rotation": "orthogonal_rot" in state}
    if "project_out.weight" in state:
        dim, inner = state.shape("project_out.weight", 2)
        told |= {"dim": dim, "num_codebooks": inner // bits, "has_projections": True}
        told["projection_has_bias"] = "project_out.bias" in state
        if dim != inner:  # a map by cosines is stored the other way round
            told["cosine_sim_project_in"] = state.shape("project_in.weight", 2)[0] == dim
    lfq = LFQ(**agreed(chosen(options, **LOSSES), **told))
    _fill_bits(lfq, state)
    if isinstance(lfq.projections.project_in, CosineLinear):
        weight = state.take("project_in.weight", 2).t()
        fill(lfq.projections.project_in, {"weight": weight}, state, "project_in.")
        fill_linear(lfq.projections.project_out, state, "project_out")
    else:
        fill_projections(lfq.projections, state, "project_in", "project_out")
    return lfq


def load_residual_lfq(state: State, options: Mapping[str, Any]) -> ResidualLFQ:
    """Its ``layers.i.mask``, ``layers.i.orthogonal_rot``, ``project_in.*`` and ``project_out.*``."""
    layout, _ = sorted_options(options, layout_only=True)
    auto = {} if layout or "channel_first" in options else {"channel_dim": None}
    residual = ResidualLFQ(**agreed(chosen({**auto, **options}, **LOSSES), **_told_of_layers(state)))
    _fill_layers(residual, state)
    return residual


def load_grouped_residual_lfq(state: State, options: Mapping[str, Any]) -> GroupedResidualLFQ:
    """Its ``rvqs.g.*``, each a ``ResidualLFQ``."""
    parts = state.numbered("rvqs")
    told = _told_of_layers(parts[0])
    told |= {"groups": len(parts), "dim": len(parts) * told["dim"]}
    grouped = GroupedResidualLFQ(**agreed(chosen(options, **LOSSES), **told))
    for group, part in zip(grouped.members, parts, strict=True):
        _fill_layers(group, part)
    return grouped


def load_binary_mapper(state: State, options: Mapping[str, Any]) -> BinaryMapper:
    """It has no weights: its arguments are all there is."""
    del state
    return BinaryMapper(**options)


def _told_of_layers(state: State) -> dict[str, Any]:
    bits = state.shape("layers.0.mask", 1)[0]
    return {
        "codebook_size": 2**bits,
        "num_quantizers": sum(name.endswith(".mask") for name in state.tensors),
        "dim": state.shape("project_in.weight", 2)[1] if "project_in.weight" in state else bits,
        "orthogonal_rotation": "layers.0.orthogonal_rot" in state,
    }


def _fill_layers(residual: Any, state: State) -> None:
    for number, stage in enumerate(residual.members):
        _fill_bits(stage, state.under(f"layers.{number}."))
    fill_projections(residual.projections, state, "project_in", "project_out")


def _fill_bits(lfq: LFQ, state: State) -> None:
    state.take("mask", 1)
    if lfq.rotation is not None:
        fill(lfq.rotation, {"matrix": state.take("orthogonal_rot", 2)}, state)
