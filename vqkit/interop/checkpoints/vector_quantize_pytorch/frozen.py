"""``SimVQ``, ``ResidualSimVQ`` and ``RandomProjectionQuantizer`` of vector-quantize-pytorch 1.32: frozen tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vqkit.interop.checkpoints.options import agreed, needed
from vqkit.interop.checkpoints.state import State, fill, fill_codes, fill_whole
from vqkit.quantizers import RandomProjectionQuantizer, ResidualSimVQ, SimVQ


def load_sim_vq(state: State, options: Mapping[str, Any]) -> SimVQ:
    """Its ``frozen_codebook`` and ``code_transform.*``; a transform of the caller's, and then ``dim``, are options."""
    size, width = state.shape("frozen_codebook", 2)
    linear = options.get("codebook_transform") is None
    dim = state.shape("code_transform.weight", 2)[0] if linear else needed(options, "dim")
    vq = SimVQ(**agreed(options, dim=dim, codebook_size=size, frozen_codebook_dim=width))
    _fill_frozen(vq, state)
    return vq


def load_residual_sim_vq(state: State, options: Mapping[str, Any]) -> ResidualSimVQ:
    """Its ``layers.i.*``, each a ``SimVQ`` with a linear map."""
    layers = state.numbered("layers")
    size, width = layers[0].shape("frozen_codebook", 2)
    told = {"codebook_size": size, "frozen_codebook_dim": width, "num_quantizers": len(layers)}
    told["dim"] = layers[0].shape("code_transform.weight", 2)[0]
    residual = ResidualSimVQ(**agreed(options, **told))
    for stage, layer in zip(residual.members, layers, strict=True):
        _fill_frozen(stage, layer)
    return residual


def load_random_projection(state: State, options: Mapping[str, Any]) -> RandomProjectionQuantizer:
    """Its ``rand_projs``, its table ``vq._codebook.*``, and the projection ``vq.project_in.*`` that several codebooks
    have there behind the random ones, which becomes one map with them.
    """
    random, vq = state.take("rand_projs", 3), state.under("vq.")
    table = vq.under("_codebook.")
    if not bool(table.take("initted", 0)):
        raise table.fault(f"{table.prefix}initted is false: there are no codes yet")
    count, size, width = table.shape("embed", 3)
    matrices, offsets = random, None
    if "project_in.weight" in vq:
        matrices, offsets = _joined(random, vq.take("project_in.weight", 2), vq.take("project_in.bias", 1))
    told = {"dim": random.shape[1], "codebook_size": size, "num_codebooks": count}
    # Where it projects, its codes are wider than what it was asked for.
    given = {name: value for name, value in options.items() if name != "codebook_dim" or offsets is None}
    bias = offsets is not None
    quantizer = RandomProjectionQuantizer(**agreed(given, **told, codebook_dim=width, projection_has_bias=bias))
    values = {"matrices": matrices} | ({} if offsets is None else {"offsets": offsets})
    fill(quantizer.projection, values, state, "rand_projs as ")
    fill_codes(quantizer.book, table.take("embed", 3), table)
    table.drop("cluster_size", "embed_avg")
    vq.drop("project_out.weight", "project_out.bias")
    return quantizer


def _joined(random_CDd: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (C, D, d) side by side and the linear map behind them, as maps (C, D, C·d) and offsets (C, 1, C·d)."""
    count = random_CDd.shape[0]
    side_by_side = random_CDd.double().transpose(0, 1).flatten(1)
    joined = (side_by_side @ weight.double().t()).float()
    return joined.unflatten(1, (count, -1)).transpose(0, 1), bias.unflatten(0, (count, 1, -1))


def _fill_frozen(vq: Any, state: State) -> None:
    fill_codes(vq.book, state.take("frozen_codebook", 2)[None], state)
    fill_whole(vq.book.bridge, state.under("code_transform."))
