"""Autoencoders under autocast, cast to a half type, and in torch's deterministic mode."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

HALVES = [torch.bfloat16, torch.float16]


def steps_of(model, images) -> list[Tensor]:
    """Losses, reconstructions, indices and weights of three training steps."""
    optimizer, found = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(3):
        out = model(images)
        loss = F.mse_loss(out.reconstruction, images) + out.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found += [loss.detach(), out.reconstruction.detach(), out.indices]
    return found + list(model.state_dict().values())


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_under_autocast_decode_equals_forward_and_codes_stay_float32(model, images, dtype):
    with torch.autocast("cpu", dtype=dtype):
        out = model(images)
        (F.mse_loss(out.reconstruction.float(), images) + out.loss).backward()
        assert out.loss.dtype == torch.float32
        evaluated = model.eval()(images)
        assert torch.equal(model.encode(images), evaluated.indices)
        assert torch.equal(model.decode(evaluated.indices), evaluated.reconstruction)
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    assert all(v.dtype == torch.float32 for v in model.state_dict().values() if v.is_floating_point())


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64], ids=str)
def test_a_cast_model_trains_and_decodes_in_its_dtype(model, images, dtype):
    codes = copy.deepcopy(model.quantizer.book.state_dict())
    model, images = model.to(dtype), images.to(dtype)
    assert all(torch.equal(value, codes[name]) for name, value in model.quantizer.book.state_dict().items())
    out = model(images)
    (F.mse_loss(out.reconstruction, images) + out.loss).backward()
    assert out.reconstruction.dtype == dtype
    assert out.loss.dtype == torch.float32
    out = model.eval()(images)
    assert torch.equal(model.decode(out.indices), out.reconstruction)
    assert model.quantizer.book.vectors.dtype == torch.float32


def test_a_model_saved_in_half_precision_loads(model, images, tmp_path):
    model.half().save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert all(v.dtype == torch.float32 for v in loaded.state_dict().values() if v.is_floating_point())
    assert torch.equal(loaded.half()(images.half()).reconstruction, model.eval()(images.half()).reconstruction)


def test_deterministic_mode_gives_the_same_bits(model, images):
    twin = copy.deepcopy(model)
    expected = steps_of(model, images)
    torch.use_deterministic_algorithms(True)
    try:
        found = steps_of(twin, images)
    finally:
        torch.use_deterministic_algorithms(False)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
