"""The quantizers of taming-transformers and latent-diffusion, and of diffusers' ``VQModel``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqkit.interop.checkpoints.options import chosen
from vqkit.interop.checkpoints.state import State, fill_projections
from vqkit.quantizers import VectorQuantize

TOLD = ("dim", "codebook_size", "codebook_dim", "heads", "project")
DEFAULTS: Mapping[str, Any] = {
    "learnable_codebook": True,
    "commitment_weight": 0.25,
    "threshold_ema_dead_code": 0,
    "channel_last": False,
}


def load_taming(state: State, options: Mapping[str, Any]) -> VectorQuantize:
    """``embedding.weight``, and of a remapped quantizer ``used``: then the codes in use alone, by their new numbers."""
    return _quantizer(state, options)


def load_diffusers(state: State, options: Mapping[str, Any]) -> VectorQuantize:
    """``quantize.*`` with ``quant_conv`` and ``post_quant_conv`` as the projections in and out; what belongs to the
    encoder, the decoder or a loss is left aside.
    """
    for room in ("encoder.", "decoder.", "loss."):
        state.under(room).tensors.clear()
    vq = _quantizer(state.under("quantize."), options, dim=state.shape("quant_conv.weight", 4)[1])
    fill_projections(vq.slices, state, "quant_conv", "post_quant_conv")
    return vq


def _quantizer(state: State, options: Mapping[str, Any], dim: int | None = None) -> VectorQuantize:
    codes = state.take("embedding.weight", 2)
    if "used" in state:
        codes = codes[state.take("used", 1)]
    size, width = codes.shape
    policies = chosen(options, TOLD, **DEFAULTS)
    vq = VectorQuantize(width if dim is None else dim, size, width, project=dim is not None, **policies)
    vq.codebook = codes
    return vq
