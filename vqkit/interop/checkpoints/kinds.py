"""One door for every layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from vqkit.errors import CheckpointError, VqkitError
from vqkit.interop.checkpoints import vector_quantize_pytorch as vqp
from vqkit.interop.checkpoints.codecs import load_dac, load_encodec, load_mimi
from vqkit.interop.checkpoints.state import State, read_state
from vqkit.interop.checkpoints.taming import load_diffusers, load_taming
from vqkit.interop.checkpoints.vqtorch import load_vqtorch
from vqkit.models.weights import listed
from vqkit.shapes import check_choice


class Kind(NamedTuple):
    """A layout: a pattern that one of its names matches and no other layout's does, and what builds from it; None for
    a quantizer that has few weights, or none, so that nothing tells it from others.
    """

    pattern: str | None
    build: Callable[[State, Mapping[str, Any]], Any]


VQP = "vector-quantize-pytorch"
KINDS: Mapping[str, Kind] = {
    VQP: Kind(r"_codebook\.initted", vqp.load_vector_quantize),
    f"{VQP} ResidualVQ": Kind(r"layers\.0\._codebook\.initted", vqp.load_residual_vq),
    f"{VQP} GroupedResidualVQ": Kind(r"rvqs\.0\.layers\.0\._codebook\.initted", vqp.load_grouped_residual_vq),
    f"{VQP} SimVQ": Kind(r"frozen_codebook", vqp.load_sim_vq),
    f"{VQP} ResidualSimVQ": Kind(r"layers\.0\.frozen_codebook", vqp.load_residual_sim_vq),
    f"{VQP} FSQ": Kind(None, vqp.load_fsq),
    f"{VQP} ResidualFSQ": Kind(None, vqp.load_residual_fsq),
    f"{VQP} GroupedResidualFSQ": Kind(None, vqp.load_grouped_residual_fsq),
    f"{VQP} FSP": Kind(None, vqp.load_fsp),
    f"{VQP} LFQ": Kind(r"mask", vqp.load_lfq),
    f"{VQP} ResidualLFQ": Kind(r"layers\.0\.mask", vqp.load_residual_lfq),
    f"{VQP} GroupedResidualLFQ": Kind(r"rvqs\.0\.layers\.0\.mask", vqp.load_grouped_residual_lfq),
    f"{VQP} BinaryMapper": Kind(None, vqp.load_binary_mapper),
    f"{VQP} LatentQuantize": Kind(r"values_per_latent\.0", vqp.load_latent),
    f"{VQP} RandomProjectionQuantizer": Kind(r"rand_projs", vqp.load_random_projection),
    f"{VQP} HierarchicalVQ": Kind(r"phi_(shared|levels\.0)\.conv\.weight", vqp.load_hierarchical_vq),
    "vqtorch": Kind(r"codebook\.weight", load_vqtorch),
    "taming": Kind(r"embedding\.weight", load_taming),
    "diffusers": Kind(r"quantize\.embedding\.weight", load_diffusers),
    "encodec": Kind(r"layers\.0\._?codebook\.inited", load_encodec),
    "dac": Kind(r"quantizers\.0\.codebook\.weight", load_dac),
    "mimi": Kind(r"(rvq_first|semantic_residual_vector_quantizer)\..*", load_mimi),
}


def load(
    source: str | Path | Mapping[str, Tensor], kind: str | None = None, *, prefix: str = "", **options: Any
) -> Any:
    """Build a quantizer from another library's weights, in eval mode: the same indices and outputs from here on.

    Sizes come from the weights. What they do not tell (the metric, the axis of the channels, how codes learn) is given
    by ``options``, the arguments of the vqkit quantizer that comes out; left out, the source library's defaults stand.
    A cosine codebook, say, looks like any other, so it takes ``use_cosine_sim=True``.

    Args:
        source: a state dict, or a file of one: safetensors, or torch's, read with ``weights_only``.
        kind: ``"vector-quantize-pytorch"`` for its ``VectorQuantize``, followed by the name of any other class of it
            (``"vector-quantize-pytorch FSQ"``); ``"vqtorch"`` (gives a layer of ``vqkit.interop.vqtorch``),
            ``"taming"`` (latent-diffusion too), ``"diffusers"``, ``"encodec"``, ``"dac"`` or ``"mimi"`` (those of
            transformers too). None finds out, but for FSQ, its relatives, FSP and BinaryMapper, whose weights are
            projections at most: these need it, and take an empty state dict.
        prefix: take only what is under it: the quantizer within a whole model's weights.

    Raises:
        CheckpointError: a damaged file, an unknown layout, or tensors that are missing, of a wrong shape, or have no
            place in the quantizer; it names them.
        ArgumentError, ArgumentTypeError: options that do not fit, or that the weights need.

    Example:
        >>> import torch
        >>> vq = load({"embedding.weight": torch.randn(16, 4)})
        >>> vq(torch.randn(1, 4, 5, 5)).indices.shape
        torch.Size([1, 5, 5])
    """
    if kind is not None:
        check_choice("kind", kind, tuple(KINDS))
    state = read_state(source, prefix, empty=kind is not None)
    kind = _kind_of(state) if kind is None else kind
    try:
        quantizer = KINDS[kind].build(state, options)
    except VqkitError:
        raise
    # Tensors of no size, say, fail in torch's own ways; its weights are to blame.
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, ValueError) as error:
        raise state.fault(f"tensors that make no {kind}: {error}") from error
    state.finish()
    return quantizer.eval()


def _kind_of(state: State) -> str:
    for kind, (pattern, _) in KINDS.items():
        if pattern is not None and any(re.fullmatch(pattern, name) for name in state.tensors):
            return kind
    known = ", ".join(map(repr, KINDS))
    raise CheckpointError(f"{state.source}: expected the weights of one of {known}, got {listed(list(state.tensors))}")
