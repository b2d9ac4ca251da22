"""``FSQ``, ``ResidualFSQ``, ``GroupedResidualFSQ``, ``FSP`` and ``LatentQuantize`` of vector-quantize-pytorch 1.32.

Their weights are projections, rotations and learned values, if any: levels are options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqkit.errors import bad_value
from vqkit.functional.scalar import check_grid
from vqkit.interop.checkpoints.options import agreed, needed
from vqkit.interop.checkpoints.state import State, fill, fill_codes, fill_projections
from vqkit.quantizers import FSP, FSQ, GroupedResidualFSQ, LatentQuantize, ResidualFSQ


def load_fsq(state: State, options: Mapping[str, Any]) -> FSQ:
    """Its ``project_in.*``, ``project_out.*`` and ``orthogonal_rot``; ``levels``, and ``num_codebooks`` where there is
    no projection, are options. Its ``scale`` does nothing there: leave it out.
    """
    levels = check_grid("levels", needed(options, "levels"))
    told: dict[str, Any] = {"orthogonal_rotation": "orthogonal_rot" in state}
    if "project_in.weight" in state:
        inner, told["dim"] = state.shape("project_in.weight", 2)
        told |= {"num_codebooks": inner // len(levels), "projection_has_bias": "project_in.bias" in state}
    layout = {} if options.get("channel_first") else {"channel_dim": None}
    fsq = FSQ(**agreed({**layout, **options}, **told))
    _fill_rotation(fsq, state)
    fill_projections(fsq.projections, state, "project_in", "project_out")
    return fsq


def load_fsp(state: State, options: Mapping[str, Any]) -> FSP:
    """Its ``project_in.*`` and ``project_out.*``, if any; ``levels`` is an option."""
    levels = check_grid("levels", needed(options, "levels"))
    told: dict[str, Any] = {"dim": len(levels)}
    if "project_in.weight" in state:
        told = {"dim": state.shape("project_in.weight", 2)[1], "projection_has_bias": "project_in.bias" in state}
    fsp = FSP(**agreed({"vector_norm": "var_tanh", **options}, **told))
    fill_projections(fsp.projections, state, "project_in", "project_out")
    return fsp


def load_residual_fsq(state: State, options: Mapping[str, Any]) -> ResidualFSQ:
    """Its ``project_in.*``, ``project_out.*`` and ``layers.i.orthogonal_rot``; ``levels``, and ``num_quantizers`` where
    nothing is rotated, are options.
    """
    residual = ResidualFSQ(**_told_of_stages(state, options))
    _fill_stages(residual, state)
    return residual


def load_grouped_residual_fsq(state: State, options: Mapping[str, Any]) -> GroupedResidualFSQ:
    """Its ``rvqs.g.*``, each a ``ResidualFSQ``; ``groups`` is an option where there are no weights at all."""
    parts = state.numbered("rvqs") if state else []
    groups = len(parts) or needed(options, "groups")
    own = {name: value for name, value in options.items() if name not in ("dim", "groups")}
    told = _told_of_stages(parts[0] if parts else state, own)
    told["dim"] *= groups
    agreed(options, dim=told["dim"], groups=groups)
    grouped = GroupedResidualFSQ(groups=groups, **told)
    for group, part in zip(grouped.members, parts, strict=False):
        _fill_stages(group, part)
    return grouped


def load_latent(state: State, options: Mapping[str, Any]) -> LatentQuantize:
    """Its ``values_per_latent.i``, ``project_in.*`` and ``project_out.*``. Values that were not learned are not among
    its weights: then ``levels`` is an option. So is ``num_codebooks`` where there is no projection.
    """
    names = [f"values_per_latent.{i}" for i in range(sum(name.startswith("values_") for name in state.tensors))]
    values = [state.take(name, 1) for name in names]
    levels = [len(own) for own in values] or needed(options, "levels")
    told: dict[str, Any] = {"levels": levels, "optimize_values": bool(values)}
    if values:
        told["codebook_dim"] = len(values)
        if isinstance(options.get("levels"), int):
            options = {**options, "levels": [options["levels"]] * len(values)}
    if "project_in.weight" in state:
        inner, told["dim"] = state.shape("project_in.weight", 2)
        width = options.get("codebook_dim") if isinstance(levels, int) else len(levels)
        told["num_codebooks"] = inner // (width or inner)
    elif not isinstance(levels, int):
        told["dim"] = len(levels) * options.get("num_codebooks", 1)
    latent = LatentQuantize(**agreed({"channel_dim": 1, **options}, **told))
    for book, own in zip(latent.books, values, strict=False):
        fill_codes(book, own[None, :, None], state)
    fill_projections(latent.projections, state, "project_in", "project_out")
    return latent


def _told_of_stages(state: State, options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a ``ResidualFSQ``."""
    levels = check_grid("levels", needed(options, "levels"))
    if options.get("bound_hard_clamp") is False and options.get("soft_clamp_input_value") is None:
        raise bad_value("soft_clamp_input_value", "a number beside bound_hard_clamp=False, as input is squashed", None)
    rotated = sum(name.endswith(".orthogonal_rot") for name in state.tensors)
    if rotated and len(set(levels)) > 1:
        # There the residual is stretched before it is turned, as if its cells lay along the axes it came with.
        raise bad_value("levels", "one number of levels for all coordinates, where they are rotated", levels)
    stages = rotated or needed(options, "num_quantizers")
    dim = state.shape("project_in.weight", 2)[1] if "project_in.weight" in state else len(levels)
    return agreed(options, dim=dim, num_quantizers=stages, orthogonal_rotation=rotated > 0)


def _fill_stages(residual: Any, state: State) -> None:
    for number, stage in enumerate(residual.members):
        _fill_rotation(stage, state.under(f"layers.{number}."))
    fill_projections(residual.projections, state, "project_in", "project_out")


def _fill_rotation(fsq: FSQ, state: State) -> None:
    if fsq.frame.rotated:
        fill(fsq.frame, {"rotation": state.take("orthogonal_rot", 2)}, state)
