"""Every public quantizer, in every option it has and in the pairs of options that share code.

A new quantizer joins with one line in ``FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.contracts.case import DIM, SIZE, Case
from tests.contracts.families import (
    binary,
    fsp,
    fsq,
    gumbel,
    ibq,
    latent,
    multiscale,
    product,
    random_projection,
    residual,
    sim_vq,
    sinkhorn,
    sq_vae,
    vector,
)

FAMILIES: dict[str, Callable[[], list[Case]]] = {
    "FSP": fsp.cases,
    "FSQ": fsq.cases,
    "GumbelQuantize": gumbel.cases,
    "IBQ": ibq.cases,
    "LFQ, BSQ, BinaryMapper": binary.cases,
    "LatentQuantize": latent.cases,
    "MultiScale": multiscale.cases,
    "ProductQuantize": product.cases,
    "RandomProjectionQuantizer": random_projection.cases,
    "Residual, Grouped": residual.cases,
    "SQVAE": sq_vae.cases,
    "SimVQ": sim_vq.cases,
    "SinkhornVQ": sinkhorn.cases,
    "VectorQuantize": vector.cases,
}
_EVERY = [case for family in FAMILIES.values() for case in family()]
CASES: list[Case] = [case for case in _EVERY if case.returns_vectors]
INDICES_ALONE: list[Case] = [case for case in _EVERY if not case.returns_vectors]

# Layouts are brought to rows by one piece of code: what happens to rows is held in "rows", "projected" and without.
_LAYOUTS = (
    "channel_first",
    "heads",
    "heads_apart",
    "image",
    "volume",
    "sequence",
    "codebooks",
    "one_code",
    "projected_alike",
)
_LAYOUTS += ("projected_unbiased", "kept_axis", "auto", "image_heads_projected", "image_codebooks_projected")
_LAYOUTS += ("image_channel_last", "video_auto_projected", "one_codebook_kept")
METHODS: list[Case] = [case for case in CASES if "-plain-" in case.name or not case.name.endswith(_LAYOUTS)]
"""Every quantizer in every option, but not all its options in every layout."""

__all__ = ["CASES", "DIM", "FAMILIES", "INDICES_ALONE", "METHODS", "SIZE", "Case"]
