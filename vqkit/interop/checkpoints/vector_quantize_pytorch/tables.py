"""``VectorQuantize``, ``ResidualVQ`` and ``GroupedResidualVQ`` of vector-quantize-pytorch 1.32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vqkit.codebook import EMA, Codebook, ReplaceStale, RunningAffine
from vqkit.errors import bad_value
from vqkit.interop.checkpoints.options import agreed, chosen
from vqkit.interop.checkpoints.state import State, fill, fill_codes, fill_projections, fill_whole
from vqkit.quantizers import Grouped, ResidualVQ, VectorQuantize
from vqkit.quantizers.implicit import CodeNet
from vqkit.quantizers.stage_options import sorted_options

TOLD = ("dim", "codebook_size", "codebook_dim", "num_quantizers", "groups", "separate_codebook_per_head")
DEFAULTS: Mapping[str, Any] = {"threshold_ema_dead_code": 0, "rotation_trick": True}
VARIANCE_FLOOR = 1e-5  # what it clamps the variances of an affine map to
STATISTICS = (
    ("row_mean", "batch_mean"),
    ("row_var", "batch_variance"),
    ("code_mean", "codebook_mean"),
    ("code_var", "codebook_variance"),
)


def load_vector_quantize(state: State, options: Mapping[str, Any]) -> VectorQuantize:
    """Its ``_codebook.*``, ``project_in.*``, ``project_out.*``; ``heads`` is an option where no weight tells it."""
    table = state.under("_codebook.")
    tables, size, width = table.shape("embed", 3)
    normed = "project_in.1.weight" in state
    inward = "project_in.0" if normed else "project_in"
    heads, dim = tables if tables > 1 else options.get("heads", 1), None
    if f"{inward}.weight" in state:
        inner, dim = state.shape(f"{inward}.weight", 2)
        heads = inner // width
    agreed(options, heads=heads)
    vq = VectorQuantize(
        heads * width if dim is None else dim,
        size,
        width,
        heads,
        tables > 1,
        layernorm_after_project_in=normed,
        **_policies(table, {name: value for name, value in options.items() if name != "heads"}),
    )
    fill_table(vq.book, table)
    if dim is not None:
        fill_projections(vq.slices, state, inward, "project_out")
    if normed:
        fill_whole(vq.slices.norm, state.under("project_in.1."))
    return vq


def load_residual_vq(state: State, options: Mapping[str, Any]) -> ResidualVQ:
    """Its ``layers.i._codebook.*``, and the projections around all of them; tables that are all alike are shared. With
    ``mlps.i.*`` the stages after the first are implicit.
    """
    layers = [layer.under("_codebook.") for layer in state.numbered("layers")]
    shapes = [layer.shape("embed", 3) for layer in layers]
    tables = [layer.tensors["embed"] for layer in layers]
    alike = len(tables) > 1 and bool(tables[0].any()) and all(torch.equal(table, tables[0]) for table in tables)
    projects = "project_in.weight" in state
    nets = state.numbered("mlps") if any(name.startswith("mlps.") for name in state.tensors) else []
    policies = _policies(layers[0], options, **({"learnable_codebook": True} if nets else {}))
    rvq = ResidualVQ(
        state.shape("project_in.weight", 2)[1] if projects else shapes[0][2],
        len(layers),
        [shape[1] for shape in shapes],
        shapes[0][2],
        **{"shared_codebook": alike, **_implicit(nets, policies)},
    )
    for stage, layer in zip(rvq.ordered(), layers, strict=True):
        fill_table(stage.book, layer)  # pyright: ignore[reportArgumentType] - stages of VectorQuantize
    if nets and len(nets) != len(layers) - 1:
        raise state.fault(f"missing {state.prefix}mlps.{len(nets)}")
    for stage, net in zip(rvq.members[1:], nets, strict=False):
        _fill_net(stage.net, net)  # pyright: ignore[reportArgumentType] - stages of ImplicitVQ
    fill_projections(rvq.projections, state, "project_in", "project_out")
    return rvq


def load_grouped_residual_vq(state: State, options: Mapping[str, Any]) -> Grouped:
    """Its ``rvqs.g.*``, each a ``ResidualVQ``."""
    outer, own = sorted_options(options, layout_only=True)
    return Grouped([load_residual_vq(group, own) for group in state.numbered("rvqs")], **outer)


def _implicit(nets: list[State], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with what the networks between stages tell."""
    if not nets:
        return agreed(options, implicit_neural_codebook=False)
    depth = sum(name.startswith("layers.") and name.endswith(".0.weight") for name in nets[0].tensors)
    shape = {"depth": depth} | ({"dim_hidden": nets[0].shape("layers.0.0.weight", 2)[0]} if depth else {})
    network = agreed(options.get("mlp_kwargs") or {}, **shape)
    return agreed(options, implicit_neural_codebook=True) | {"mlp_kwargs": network}


def _fill_net(net: CodeNet, state: State) -> None:
    """Theirs mixes W[x̂; c] where ours is c + W[c; x̂]: the same map, the identity taken off the code's half."""
    mix = state.take("proj_in.weight", 2)
    width = mix.shape[0]
    context, code = mix[:, :-width], mix[:, -width:]
    weight = torch.cat([code - torch.eye(width), context], 1)
    fill(net.mix, {"weight": weight, "bias": state.take("proj_in.bias", 1)}, state, "proj_in.")
    for number, block in enumerate(net.blocks):
        fill_whole(block, state.under(f"layers.{number}."))


def _policies(table: State, options: Mapping[str, Any], **told: Any) -> dict[str, Any]:
    """The options, with what the table's own tensors tell."""
    if "codebook_mean" in table:
        told["affine_param"] = True
    if "initted" in table and not bool(table.tensors["initted"]):
        told["kmeans_init"] = True
    return chosen(options, TOLD, **DEFAULTS, **told)


def fill_table(book: Codebook, table: State) -> None:
    """A table with its averages, its counts and what lies between it and the codes."""
    codes, initialised = table.take("embed", 3), table.take("initted", 0)
    values = {"initialised": initialised.bool()}
    counts, sums = table.take("cluster_size", 2), table.take("embed_avg", 3)
    if isinstance(book.update, EMA):
        values |= {"ema_counts": counts, "ema_sums": sums, "ema_start": torch.zeros_like(counts)}
    if isinstance(book.revive, ReplaceStale):
        values["revive_counts"] = counts
    if "codebook_mean" in table:
        values |= _affine(book, table)
    fill_codes(book, codes, table, **values)
    bridge = table.under("vq_bridge.")
    if bridge and book.bridge is None:
        raise bad_value("vq_bridge", "the module of which the weights are there", None)
    if book.bridge is not None:
        fill_whole(book.bridge, bridge)


def _affine(book: Codebook, table: State) -> dict[str, Tensor]:
    """The running statistics of an affine map; before the first step there are none."""
    policy = getattr(book.affine, "policy", None)
    if not isinstance(policy, RunningAffine):
        raise bad_value("affine", "RunningAffine, whose statistics are there", policy)
    seen = "batch_mean" in table
    values = {"affine.seen": torch.full((book.heads, 1, 1), seen)}
    for ours, theirs in STATISTICS if seen else ():
        value = table.take(theirs, 3)
        # Theirs is clamped where eps is added to ours: this gives the same deviations.
        values[f"affine.{ours}"] = value.clamp(min=VARIANCE_FLOOR) - policy.eps if ours.endswith("var") else value
    table.drop(*(theirs for _, theirs in STATISTICS), "codebook_mean_needs_init", "codebook_variance_needs_init")
    return values
