"""Weights of libraries that are not installed, by the names they have there, against the formula written out; and what
is wrong with a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vqkit import interop
from vqkit.errors import ArgumentError, ArgumentTypeError, CheckpointError

D, K = 6, 10


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def nearest(x: Tensor, codes: Tensor) -> Tensor:
    """Indices of rows (..., D), by differences in float64."""
    return (x.double()[..., None, :] - codes.double()).square().sum(-1).argmin(-1)


# --- taming, latent diffusion, diffusers ------------------------------------------------------------------------------


def test_taming():
    codes, x = torch.randn(K, D), torch.randn(2, D, 4, 5)
    vq = interop.load({"embedding.weight": codes})
    expected = nearest(x.movedim(1, -1), codes)
    out = vq(x)
    assert torch.equal(out.indices, expected)
    assert torch.equal(out.quantized, codes[expected].movedim(-1, 1))
    out = vq.train()(x.requires_grad_())
    z, q = x.movedim(1, -1), codes[expected]
    torch.testing.assert_close(out.loss, 0.25 * (z - q).square().mean() + (z - q).square().mean())
    out.loss.backward()
    torch.testing.assert_close(x.grad.movedim(1, -1), (0.5 * (z - q) / z.numel()).detach())
    assert vq.book.vectors.grad.any()


def test_taming_with_used_codes_alone():
    codes, x, used = torch.randn(K, D), torch.randn(2, D, 4, 5), torch.tensor([1, 4, 5, 9])
    vq = interop.load({"embedding.weight": codes, "used": used})
    out = vq(x)
    full = nearest(x.movedim(1, -1), codes)
    known = torch.isin(full, used)
    assert known.any()
    assert torch.equal(used[out.indices][known], full[known])
    assert torch.equal(vq.decode(out.indices), out.quantized)
    assert vq.codebook_size == 4


@pytest.mark.parametrize("width", [3, D])
def test_diffusers(width: int):
    """The convolutions around are the projections, where the widths agree too."""
    codes, x = torch.randn(K, width), torch.randn(2, D, 4, 5)
    inward, outward = nn.Conv2d(D, width, 1), nn.Conv2d(width, D, 1)
    state = {"quantize.embedding.weight": codes, "encoder.conv_in.weight": torch.zeros(3), "decoder.x": torch.zeros(1)}
    state |= {f"quant_conv.{k}": v for k, v in inward.state_dict().items()}
    state |= {f"post_quant_conv.{k}": v for k, v in outward.state_dict().items()}
    vq = interop.load(state)
    expected = nearest(inward(x).movedim(1, -1), codes)
    out = vq(x)
    assert torch.equal(out.indices, expected)
    torch.testing.assert_close(out.quantized, outward(codes[expected].movedim(-1, 1)))
    alone = interop.load(state, "taming", prefix="quantize.")
    assert torch.equal(alone.codebook, codes)
    with pytest.raises(CheckpointError, match=r"no place in vqkit for neck\.weight"):
        interop.load({**state, "neck.weight": torch.zeros(1)})


# --- vqtorch ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_vqtorch(groups: int, share: bool):
    codes, z = torch.randn(K, D // groups), torch.randn(3, D, 5)
    layer = interop.load({"codebook.weight": codes}, groups=groups, share=share)
    z_q, misc = layer(z)
    slices = z.movedim(1, -1).unflatten(-1, (groups, -1))
    size = K if share else K // groups
    for g in range(groups):
        first = 0 if share else g * size
        expected = first + nearest(slices[..., g, :], codes[first : first + size])
        assert torch.equal(misc["q"][..., g], expected)
        assert torch.equal(misc["z_q"][..., g, :], codes[expected])
    assert torch.equal(z_q.movedim(1, -1), misc["z_q"].flatten(-2))


@pytest.mark.parametrize("share", [True, False])
def test_vqtorch_residual(share: bool):
    codes, z = torch.randn(K, D), torch.randn(7, D)
    layer = interop.load({"codebook.weight": codes}, residual=True, groups=2, share=share)
    z_q, misc = layer(z)
    left = z
    for i in range(2):
        first, size = (0, K) if share else (i * K // 2, K // 2)
        expected = first + nearest(left, codes[first : first + size])
        assert torch.equal(misc["q"][:, i], expected)
        left = left - codes[expected]
    torch.testing.assert_close(z_q, z - left)


@pytest.mark.parametrize("cb_norm", ["none", "l2c"])
def test_vqtorch_with_all_its_state(cb_norm: str):
    codes, z = torch.randn(K, D), torch.randn(7, D)
    scale, shift = torch.randn(2, D), torch.randn(2, D)
    counts = torch.arange(K)
    norm = nn.BatchNorm2d(D)
    norm(torch.randn(4, D, 3, 3))
    state = {"codebook.weight": codes, "affine_transform.scale": scale, "affine_transform.bias": shift}
    state |= {"_counts": counts, "data_initialized": torch.ones(1)}
    state |= {f"norm_layer.{k}": v for k, v in norm.state_dict().items()}
    layer = interop.load(state, affine_lr=0.5, replace_freq=20, norm="bn", cb_norm=cb_norm)
    each = [t.repeat_interleave(K // 2, 0) for t in (scale, shift)]
    seen = (1 + 0.5 * each[0]) * codes + 0.5 * each[1]
    normed = norm.eval()(z[..., None, None])[..., 0, 0]
    misc = layer(z)[1]
    torch.testing.assert_close(misc["z"][:, 0], normed)
    assert torch.equal(misc["q"][:, 0], nearest(normed, seen))
    torch.testing.assert_close(misc["z_q"][:, 0], seen[misc["q"][:, 0]])
    assert torch.equal(layer.vq.book.revive_idle[0], 20 - counts)
    assert layer.vq.book.placed
    for option in ("affine_lr", "replace_freq"):
        given = {"affine_lr": 0.5, "replace_freq": 20, "norm": "bn"}
        with pytest.raises(ArgumentError, match=f"{option}: expected the one the layer was made with"):
            interop.load(state, **{k: v for k, v in given.items() if k != option})
    with pytest.raises(CheckpointError, match=r"no place in vqkit for norm_layer\.weight"):
        interop.load(state, affine_lr=0.5, replace_freq=20)
    with pytest.raises(CheckpointError, match=r"missing norm_layer\.weight"):
        interop.load({"codebook.weight": codes}, norm="bn")


# --- files and faults -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["safetensors", "pt", "ckpt"])
def test_files(tmp_path: Path, ending: str):
    state = {"embedding.weight": torch.randn(K, D)}
    path = tmp_path / f"vq.{ending}"
    if ending == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if ending == "ckpt" else state, path)
    for source in (path, str(path)):
        assert torch.equal(interop.load(source).codebook, state["embedding.weight"])


def test_half_precision_weights_become_float32():
    codes = torch.randn(K, D).half()
    vq = interop.load({"embedding.weight": codes})
    assert torch.equal(vq.codebook, codes.float())


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("code of a checkpoint was run",))


def test_no_code_of_a_file_is_run(tmp_path: Path):
    path = tmp_path / "evil.pt"
    torch.save({"embedding.weight": Evil()}, path)
    with pytest.raises(CheckpointError, match=r"evil\.pt: not a file of plain tensors"):
        interop.load(path)


def damaged(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04broken"])
def test_damaged_files(tmp_path: Path, name: str, content: bytes):
    with pytest.raises(CheckpointError, match=name):
        interop.load(damaged(tmp_path, name, content))


BAD: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ("missing.pt", {}, CheckpointError, r"missing\.pt: no such file"),
    ("missing.safetensors", {}, CheckpointError, "no such file"),
    (3, {}, ArgumentTypeError, "source: expected a state dict, or the path"),
    ({}, {}, CheckpointError, "expected a state dict"),
    ({"a": 3}, {}, CheckpointError, "expected tensors, got something else under a"),
    ({"strange.key": torch.zeros(2)}, {}, CheckpointError, r"expected the weights of one of .*taming.*strange\.key"),
    ({"embedding.weight": torch.zeros(3)}, {}, CheckpointError, r"embedding\.weight has shape \(3,\), expected 2 axes"),
    ({"embedding.weight": torch.full((3, 2), torch.nan)}, {}, CheckpointError, r"embedding\.weight holds NaN or inf"),
    ({"embedding.weight": torch.zeros(3, 2)}, {"kind": "vqtorch"}, CheckpointError, r"missing codebook\.weight"),
    ({"embedding.weight": torch.zeros(3, 2)}, {"kind": "faiss"}, ArgumentError, "kind: expected one of"),
    ({"embedding.weight": torch.zeros(3, 2)}, {"prefix": "vq."}, CheckpointError, "nothing under prefix 'vq.'"),
    ({"embedding.weight": torch.zeros(3, 2)}, {"dim": 2}, ArgumentError, "dim: expected it left out"),
    (
        {"embedding.weight": torch.zeros(3, 2), "extra": torch.zeros(1)},
        {},
        CheckpointError,
        "no place in vqkit for extra",
    ),
    (
        {"quantize.embedding.weight": torch.zeros(3, 2), "quant_conv.weight": torch.zeros(2, 4, 3, 3)},
        {},
        CheckpointError,
        r"quant_conv\.weight has shape \(2, 4, 3, 3\), expected a map of single vectors",
    ),
    (
        {"quantize.embedding.weight": torch.zeros(3, 2), "quant_conv.weight": torch.zeros(5, 4, 1, 1)},
        {},
        CheckpointError,
        r"quant_conv\.weight has shape \(5, 4\), expected shape \(2, 4\)",
    ),
]


@pytest.mark.parametrize(("source", "options", "error", "match"), BAD, ids=[b[3][:40] for b in BAD])
def test_faults_are_named(source: Any, options: dict[str, Any], error: type[Exception], match: str):
    with pytest.raises(error, match=match):
        interop.load(source, **options)


def test_a_prefix_takes_the_quantizer_out_of_a_model():
    codes = torch.randn(K, D)
    vq = interop.load({"model.vq.embedding.weight": codes, "model.head.weight": torch.zeros(2)}, prefix="model.vq.")
    assert torch.equal(vq.codebook, codes)
