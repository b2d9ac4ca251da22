"""vqtorch's residual layer: sums of stages, one loss on the total, state, and who revives from what."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from tests.contracts.compare import assert_same_state, flat_state
from vqkit.errors import ArgumentError, CodeIndexError
from vqkit.interop.vqtorch import ResidualVectorQuant, codebook_warmup, get_vq_layers, no_vq

C, K, Q = 8, 12, 3
SGD = partial(torch.optim.SGD, lr=0.5, momentum=0.9)
OPTIONS: dict[str, dict[str, Any]] = {
    "shared": {},
    "apart": {"share": False},
    "one": {"groups": 1},
    "cosine": {"dist": "cosine", "share": False},
    "sync": {"sync_nu": 0.5, "share": False},
    "affine": {"affine_lr": 2.0},
    "replace": {"replace_freq": 2, "share": False},
    "in_place": {"inplace_optimizer": SGD, "share": False},
    "kmeans": {"kmeans_init": True, "share": False},
    "l2": {"norm": "l2", "cb_norm": "l2c"},
    "last_axis": {"dim": -1},
}
every = pytest.mark.parametrize("name", OPTIONS)


def make(name: str, seed: int = 0) -> ResidualVectorQuant:
    torch.manual_seed(seed)
    return ResidualVectorQuant(C, K, **{"groups": Q, **OPTIONS[name]})


def batch(name: str, seed: int = 0) -> torch.Tensor:
    x = torch.randn(3, 4, 5, C, generator=torch.Generator().manual_seed(seed))
    return x.movedim(-1, OPTIONS[name].get("dim", 1))


def trained(name: str) -> ResidualVectorQuant:
    vq = make(name)
    optimizer = torch.optim.SGD(vq.parameters(), lr=0.1)
    for step in range(3):
        z_q, misc = vq(batch(name, 100 + step).requires_grad_())
        optimizer.zero_grad()
        (z_q.square().mean() + misc["loss"]).backward()
        optimizer.step()
    return vq


@every
def test_round_trip(name: str):
    vq, z = trained(name).eval(), batch(name)
    z_q, misc = vq(z)
    assert z_q.shape == z.shape
    assert misc["q"].shape == (3, 4, 5, vq.groups)
    assert torch.equal(vq.encode(z), misc["q"])
    assert torch.equal(vq.decode(misc["q"]), z_q)
    assert not vq.decode(torch.full_like(misc["q"], -1)).any()


@every
def test_each_stage_takes_the_nearest_code_to_what_is_left(name: str):
    vq, z = trained(name).eval(), batch(name)
    z_q, misc = vq(z)
    stages = vq.vq.ordered()
    left = misc["z"][..., 0, :]
    for i, stage in enumerate(stages):
        torch.testing.assert_close(misc["z_res"][..., i, :], left)
        codes = stage.codebook
        if OPTIONS[name].get("dist") == "cosine":
            distances = 1 - nn.functional.normalize(left, dim=-1) @ codes.T
        else:
            distances = (left[..., None, :] - codes).norm(dim=-1)
        torch.testing.assert_close(misc["d"][..., i], distances.amin(-1), rtol=1e-4, atol=1e-5)
        own = misc["q"][..., i] - (0 if vq.share else i * vq.table_size)
        left = left - codes[own]
    torch.testing.assert_close(misc["z_res"][..., -1, :], left)
    torch.testing.assert_close(misc["z_q"][..., 0, :], misc["z"][..., 0, :] - left)
    torch.testing.assert_close(z_q.movedim(vq.dim, -1), misc["z_q"][..., 0, :])


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
def test_the_loss_is_taken_once_on_the_total(share: bool, beta: float):
    torch.manual_seed(0)
    vq = ResidualVectorQuant(C, K, Q, share, beta=beta)
    z = torch.randn(40, C, requires_grad=True)
    loss = vq(z)[1]["loss"]
    tables = [stage.codebook.detach().requires_grad_() for stage in vq.vq.members]
    q = vq.encode(z) - (0 if share else torch.arange(Q) * (K // Q))
    total = sum(tables[0 if share else i][q[:, i]] for i in range(Q))
    expected = (1 - beta) * (z - total.detach()).square().mean() + beta * (z.detach() - total).square().mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    wanted = torch.autograd.grad(expected, (z, *tables))
    torch.testing.assert_close(z.grad, wanted[0])
    for stage, gradient in zip(vq.vq.members, wanted[1:], strict=True):
        torch.testing.assert_close(stage.book.vectors.grad[0], gradient)


@pytest.mark.parametrize("nu", [0.0, 0.5])
def test_the_encoder_gets_its_gradient_once_and_each_stage_nu_times(nu: float):
    torch.manual_seed(0)
    vq = ResidualVectorQuant(C, K, Q, share=False, sync_nu=nu)
    z, weights = torch.randn(6, C, requires_grad=True), torch.randn(6, C)
    z_q, misc = vq(z)
    (z_q * weights).sum().backward()
    assert torch.equal(z.grad, weights)
    for i, stage in enumerate(vq.vq.members):
        own = misc["q"][:, i] - i * (K // Q)
        expected = torch.zeros(K // Q, C).index_add_(0, own, nu * weights)
        got = stage.book.vectors.grad
        torch.testing.assert_close(torch.zeros_like(expected) if got is None else got[0], expected)


@every
def test_eval_changes_nothing_and_state_survives(name: str):
    first = trained(name)
    before = flat_state(first)
    first.eval()(batch(name, 1))
    assert_same_state(before, flat_state(first))
    second = make(name, seed=9)
    second.load_state_dict(first.state_dict())
    for other in (second, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        first.load_state_dict(copy.deepcopy(other.state_dict()))
        for mode in (True, False):
            outs = [vq.train(mode)(batch(name, 7)) for vq in (first, other)]
            assert torch.equal(outs[0][0], outs[1][0])
        assert_same_state(flat_state(first), flat_state(other))


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_dtypes(name: str, dtype: torch.dtype):
    vq, z = trained(name).eval(), batch(name).to(dtype)
    z_q, misc = vq(z)
    assert z_q.dtype == dtype
    if "norm" not in OPTIONS[name]:
        assert torch.equal(misc["q"], vq(z.float())[1]["q"])
    assert torch.isfinite(trained(name).to(dtype)(z)[0]).all()


@every
def test_bad_rows_touch_no_state(name: str):
    clean, dirty = trained(name), trained(name)
    rows = torch.randn(30, C)
    spoiled = torch.cat([rows, torch.full((2, C), torch.nan)]).requires_grad_()
    inputs = [rows, spoiled] if clean.dim == 1 else [rows[None], spoiled[None]]
    expected = clean(inputs[0])[1]
    with pytest.warns(RuntimeWarning, match="2 rows"):
        z_q, misc = dirty(inputs[1])
    (z_q.sum() + misc["loss"]).backward()
    assert (misc["q"].reshape(32, -1)[30:] == -1).all()
    assert (misc["d"].reshape(32, -1)[30:] == torch.inf).all()
    assert not z_q.reshape(32, C)[30:].any()
    torch.testing.assert_close(misc["loss"], expected["loss"])
    assert torch.isfinite(spoiled.grad).all()
    assert_same_state(flat_state(clean), flat_state(dirty), 1e-5)


def test_unused_codes_become_residuals_not_inputs():
    """In the original a dead code of any stage becomes a row of the input, far from what that stage sees."""
    torch.manual_seed(0)
    vq = ResidualVectorQuant(C, 32, 2, share=False, replace_freq=2)
    first, second = vq.vq.members
    centres = 50 * torch.randn(4, C)
    first.codebook = torch.cat([centres, centres + 1e3, centres + 2e3, centres - 1e3])
    second.codebook = torch.full((16, C), 1e4)
    for _ in range(4):
        vq(centres.repeat(50, 1) + 0.1 * torch.randn(200, C))
    moved = second.codebook[second.codebook.norm(dim=1) < 1e3]
    assert len(moved) >= 14
    assert moved.norm(dim=1).max() < 2


def test_an_in_place_step_moves_the_codes_of_every_stage():
    """In the original it steps a table that was replaced, and nothing moves."""
    vq = make("in_place")
    before = [stage.codebook for stage in vq.vq.members]
    vq(batch("in_place"))
    assert all(not torch.equal(old, stage.codebook) for old, stage in zip(before, vq.vq.members, strict=True))


def test_gradients_shut_off_warm_up_and_bypass():
    vq = make("apart")
    vq.set_requires_grad(False)
    assert not vq.requires_grad
    codebook_warmup(vq, [batch("apart", 1), batch("apart", 2)])
    rows = torch.cat([batch("apart", s).movedim(1, -1).reshape(-1, C) for s in (1, 2)])
    assert (vq.vq.members[0].codebook[:, None] - rows).abs().amax(2).amin(1).max() < 1e-6
    assert get_vq_layers(vq) == [vq]
    with no_vq(vq):
        assert vq(rows)[1] == {}


@pytest.mark.parametrize("wrong", [0, K, -2])
def test_an_index_of_another_stage_is_named(wrong: int):
    with pytest.raises(CodeIndexError, match=str(wrong)):
        make("apart").decode(torch.tensor([[0, wrong, 8]]))


def test_bad_options():
    with pytest.raises(ArgumentError, match="num_codes: expected a multiple of the 5 groups"):
        ResidualVectorQuant(C, K, 5, share=False)
    with pytest.raises(TypeError, match="vector_normalize"):
        ResidualVectorQuant(C, K, 2, dist="cosine", vector_normalize=True)
