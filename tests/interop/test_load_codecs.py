"""Audio codecs' quantizers by the names their weights have, against the formulas written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from vqkit import interop
from vqkit.codebook import Gradient
from vqkit.errors import CheckpointError

DIM, K, Q = 12, 10, 3


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def nearest(x: Tensor, codes: Tensor) -> Tensor:
    return (x.double()[..., None, :] - codes.double()).square().sum(-1).argmin(-1)


def residual(x: Tensor, tables: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows (..., D) to the sum of their codes and the indices (..., Q)."""
    total, indices = torch.zeros_like(x), []
    for codes in tables:
        indices.append(nearest(x - total, codes))
        total = total + codes[indices[-1]]
    return total, torch.stack(indices, -1)


# --- EnCodec ----------------------------------------------------------------------------------------------------------


def encodec(codebook: str = "_codebook", inited: bool = True) -> tuple[dict[str, Tensor], list[Tensor]]:
    state, tables = {}, [torch.randn(K, DIM) / 2**q for q in range(Q)]
    for q, codes in enumerate(tables):
        counts = 1 + 5 * torch.rand(K)
        own = {"inited": torch.tensor([float(inited)]), "cluster_size": counts, "embed_avg": codes * counts[:, None]}
        state |= {f"layers.{q}.{codebook}.{name}": v for name, v in {**own, "embed": codes}.items()}
    return state, tables


@pytest.mark.parametrize("codebook", ["_codebook", "codebook"])
def test_encodec(codebook: str):
    state, tables = encodec(codebook)
    x = torch.randn(2, DIM, 30)
    rvq = interop.load(state)
    expected, indices = residual(x.movedim(1, -1), tables)
    out = rvq(x)
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.quantized, expected.movedim(-1, 1))
    assert torch.equal(rvq.decode(out.indices), out.quantized)
    assert rvq.decode(indices[..., :1]).movedim(1, -1).equal(tables[0][indices[..., 0]])


def test_encodec_within_a_model_and_its_averages():
    state, _ = encodec()
    rvq = interop.load({f"quantizer.vq.{k}": v for k, v in state.items()} | {"encoder.w": torch.zeros(1)},
                       prefix="quantizer.vq.")  # fmt: skip
    for q, stage in enumerate(rvq.members):
        assert torch.equal(stage.book.ema_counts[0], state[f"layers.{q}._codebook.cluster_size"])
        assert torch.equal(stage.book.ema_sums[0], state[f"layers.{q}._codebook.embed_avg"])
        assert stage.book.update.decay == 0.99


def test_encodec_not_yet_begun():
    rvq = interop.load(encodec(inited=False)[0]).train()
    assert not any(stage.book.placed for stage in rvq.members)
    rvq(torch.randn(2, DIM, 30))
    assert all(stage.book.placed for stage in rvq.members)


# --- DAC --------------------------------------------------------------------------------------------------------------


def conv(way: str, inputs: int, outputs: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """A convolution of width 1 with a weight norm, and its weights by the names of each way to store one."""
    module = parametrizations.weight_norm(nn.Conv1d(inputs, outputs, 1))
    own = module.state_dict()
    length, direction = (own[f"parametrizations.weight.original{i}"].mul_(1.5 + i) for i in (0, 1))
    if way == "parametrized":
        return module, own
    if way == "older":
        return module, {"weight_g": length, "weight_v": direction, "bias": own["bias"]}
    return module, {"weight": module.weight.detach(), "bias": own["bias"]}


@pytest.mark.parametrize("way", ["parametrized", "older", "plain"])
@pytest.mark.parametrize("widths", [(4, 4, 4), (4, 2, DIM)], ids=str)
def test_dac(way: str, widths: tuple[int, ...]):
    x = torch.randn(2, DIM, 30)
    state, left, total, indices = {}, x, torch.zeros_like(x), []
    for q, width in enumerate(widths):
        codes = torch.randn(K, width) * torch.logspace(-1, 1, K)[:, None]
        parts = {"in_proj": conv(way, DIM, width), "out_proj": conv(way, width, DIM)}
        state[f"quantizers.{q}.codebook.weight"] = codes
        state |= {f"quantizers.{q}.{n}.{k}": v for n, (_, own) in parts.items() for k, v in own.items()}
        inward, outward = parts["in_proj"][0], parts["out_proj"][0]
        unit = [nn.functional.normalize(t, dim=-1) for t in (inward(left).movedim(1, -1), codes)]
        indices.append((unit[0] @ unit[1].T).argmax(-1))
        part = outward(codes[indices[-1]].movedim(-1, 1))
        left, total = left - part, total + part
    rvq = interop.load(state)
    out = rvq(x)
    assert torch.equal(out.indices, torch.stack(indices, -1))
    torch.testing.assert_close(out.quantized, total, rtol=1e-4, atol=1e-5)
    assert torch.equal(rvq.decode(out.indices), out.quantized)
    assert all(stage.book.update == Gradient() for stage in rvq.members)


# --- Mimi -------------------------------------------------------------------------------------------------------------

MIMI = {
    "moshi": ("rvq_first.", "rvq_rest.", "vq.layers.{}._codebook.", "embedding_sum", "_initialized"),
    "transformers": (
        "semantic_residual_vector_quantizer.",
        "acoustic_residual_vector_quantizer.",
        "layers.{}.codebook.",
        "embed_sum",
        "initialized",
    ),
}


def mimi(names: str, width: int = 4) -> tuple[dict[str, Tensor], list[Any]]:
    first, rest, table, total, flag = MIMI[names]
    state, halves = {}, []
    for half, stages in ((first, 1), (rest, Q - 1)):
        maps = [torch.randn(width, DIM, 1), torch.randn(DIM, width, 1)]
        state |= {f"{half}input_proj.weight": maps[0], f"{half}output_proj.weight": maps[1]}
        tables = []
        for q in range(stages):
            usage, sums = 3 * torch.rand(K), torch.randn(K, width)
            usage[0] = 0  # below the floor
            sums[0] *= 1e-5
            tables.append(sums / usage.clamp(min=1e-5)[:, None])
            own = {total: sums, "cluster_usage": usage, flag: torch.ones(1)}
            state |= {half + table.format(q) + name: v for name, v in own.items()}
        halves.append((maps, tables))
    return state, halves


@pytest.mark.parametrize("names", MIMI)
def test_mimi(names: str):
    state, halves = mimi(names)
    x, expected, indices = torch.randn(2, DIM, 30), 0, []
    for (inward, outward), tables in halves:
        total, found = residual(nn.functional.conv1d(x, inward).movedim(1, -1), tables)
        expected = expected + nn.functional.conv1d(total.movedim(-1, 1), outward)
        indices.append(found)
    rvq = interop.load(state)
    out = rvq(x)
    assert torch.equal(out.indices, torch.cat(indices, -1))
    torch.testing.assert_close(out.quantized, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(rvq.decode(out.indices), out.quantized)
    assert rvq.n_semantic == 1


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["encodec", "dac", "mimi", "vector-quantize-pytorch ResidualVQ"])
def test_weights_of_something_else(kind: str):
    with pytest.raises(CheckpointError, match="missing"):
        interop.load({"conv.weight": torch.zeros(2, 2)}, kind)


def test_a_missing_tensor_is_named():
    state, _ = encodec()
    del state["layers.1._codebook.embed_avg"]
    with pytest.raises(CheckpointError, match=r"missing layers\.1\._codebook\.embed_avg"):
        interop.load(state)


def test_a_tensor_too_many_is_named():
    state, _ = mimi("moshi")
    with pytest.raises(CheckpointError, match=r"no place in vqkit for rvq_rest\.vq\.layers\.1\.project_in\.weight"):
        interop.load({**state, "rvq_rest.vq.layers.1.project_in.weight": torch.zeros(1)})


def test_tables_of_unequal_shape_are_named():
    state, _ = mimi("moshi")
    for name in ("embedding_sum", "cluster_usage"):
        key = f"rvq_rest.vq.layers.1._codebook.{name}"
        state[key] = state[key][:-1]
    with pytest.raises(CheckpointError, match=r"rvq_rest\.vq\.layers\.1\._codebook\.\w+ has shape"):
        interop.load(state)
