"""vqtorch's layers, as those of ``vqkit.interop.vqtorch``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqkit.errors import bad_value
from vqkit.interop.checkpoints.state import State, fill, fill_codes, fill_whole
from vqkit.interop.vqtorch.layers import VectorQuantize, VQLayer
from vqkit.interop.vqtorch.norms import OF_VECTORS
from vqkit.interop.vqtorch.residual import ResidualVectorQuant


def load_vqtorch(state: State, options: Mapping[str, Any]) -> VQLayer:
    """``codebook.weight``, and what its options add. Those that no weight tells are arguments of the layers:
    ``groups``, ``share``, ``norm``, ``affine_lr``, ``replace_freq``; and ``residual=True`` for ``ResidualVectorQuant``.

    ``cb_norm`` has the meaning it has here: where the source says ``l2`` for codes it means ``l2c``, and the reverse.
    """
    given = dict(options)
    residual, groups, share = bool(given.pop("residual", False)), given.get("groups", 1), given.get("share", True)
    codes = state.take("codebook.weight", 2)
    if "affine_transform.scale" in state:
        if not given.get("affine_lr"):
            raise bad_value("affine_lr", "the one the layer was made with, since its affine map is there", None)
        given["affine_groups"] = state.shape("affine_transform.scale", 2)[0]
    if "_counts" in state and not given.get("replace_freq"):
        raise bad_value("replace_freq", "the one the layer was made with, since its counts are there", None)
    if "data_initialized" in state:
        given["kmeans_init"] = True
    width = codes.shape[1]
    layer = (ResidualVectorQuant if residual else VectorQuantize)(
        width if residual else width * groups, codes.shape[0], **given
    )
    tables = codes[None] if share else codes.unflatten(0, (groups, -1))
    books = layer.books()
    for book, own in zip(books, tables.chunk(len(books)), strict=True):
        fill_codes(book, own, state)
    if "data_initialized" in state:
        begun = state.take("data_initialized", 1).bool()[0]
        for book in books:
            fill(book, {"initialised": begun}, state)
    if "_counts" in state:
        # A code's count runs down from ``replace_freq`` while it is unused.
        idle = given["replace_freq"] - state.take("_counts", 1).long()
        for book, own in zip(books, idle.reshape(tables.shape[:2]).chunk(len(books)), strict=True):
            fill(book, {"revive_idle": own}, state)
    if "affine_transform.scale" in state:
        if layer.groups > 1:
            raise state.fault("affine_transform of a grouped layer, which its source never applies")
        within = "affine.inner." if given.get("cb_norm") in OF_VECTORS else "affine."
        scale, shift = state.take("affine_transform.scale", 2), state.take("affine_transform.bias", 2)
        fill(books[0], {f"{within}scale": scale[None], f"{within}shift": shift[None]}, state)
    if layer.norm_layer.of_channels is not None:
        fill_whole(layer.norm_layer.of_channels, state.under("norm_layer."))
    return layer
