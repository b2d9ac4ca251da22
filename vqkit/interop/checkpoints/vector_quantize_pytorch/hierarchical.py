"""``HierarchicalVQ`` of vector-quantize-pytorch 1.32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqkit.interop.checkpoints.options import agreed, needed
from vqkit.interop.checkpoints.state import State, fill
from vqkit.interop.checkpoints.vector_quantize_pytorch.tables import fill_table
from vqkit.quantizers import HierarchicalVQ
from vqkit.quantizers.phi import Phi, nearest_tick
from vqkit.quantizers.scales import parse_scales


def load_hierarchical_vq(state: State, options: Mapping[str, Any]) -> HierarchicalVQ:
    """Its ``vq._codebook.*``, or ``vqs.s._codebook.*`` of each scale, and ``phi_shared.conv.*`` or
    ``phi_levels.n.conv.*``; ``scales`` and ``quant_resi`` are options.
    """
    given = needed(options, "scales")
    shared = any(name.startswith("vq.") for name in state.tensors)
    layers = [state.under("vq.")] if shared else state.numbered("vqs")
    tables = [layer.under("_codebook.") for layer in layers]
    sizes = [table.shape("embed", 3)[1] for table in tables]
    one = any(name.startswith("phi_shared.") for name in state.tensors)
    maps = [state.under("phi_shared.")] if one else state.numbered("phi_levels")
    axes = maps[0].rank("conv.weight") - 2
    scales = len(parse_scales(given, options.get("size"), axes).sizes)
    phis = [{"weight": part.take("conv.weight", axes + 2), "bias": part.take("conv.bias", 1)} for part in maps]
    which = [round(s / max(scales - 1, 1) * (len(phis) - 1)) for s in range(scales)]
    told = {
        "dim": tables[0].shape("embed", 3)[2],
        "codebook_size": sizes[0] if len(set(sizes)) == 1 else sizes,
        "shared_codebook": shared,
        "accept_image_fmap": axes == 2,
        "accept_3d_fmap": axes == 3,
    }
    # Where the φ of vqkit would serve other scales than theirs do, each scale gets a φ of its own.
    alike = which == [nearest_tick(s, scales, len(phis)) for s in range(scales)]
    own = {**options, "share_quant_resi": len(phis) if alike else 0}
    hierarchical = HierarchicalVQ(**agreed(own, **told))
    for quantizer, table in zip(hierarchical.quantizers, tables, strict=True):
        fill_table(quantizer.book, table)  # pyright: ignore[reportArgumentType] - each a VectorQuantize
    for s, place in enumerate(which):
        phi = hierarchical.phis[s]
        if isinstance(phi, Phi):  # without quant_resi theirs is there all the same, unused
            fill(phi.conv, phis[place], state, "φ.conv.")
    return hierarchical
