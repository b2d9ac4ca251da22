"""The document of hoanhle/vqvae: its code blocks as printed, every option, and the faults of the original that are
none here.
"""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch

from tests.contracts.compare import assert_same_state, flat_state
from vqkit.errors import ArgumentError, VqkitError
from vqkit.interop.vqvae import VQVAE, VectorQuantizer

C, K = 8, 16
OPTIONS: dict[str, dict[str, Any]] = {
    "ema": {},
    "gradient": {"use_ema": False},
    **{f"online_{a}": {"online_update": True, "anchor": a} for a in ("random", "closest", "probrandom")},
    "online_gradient": {"use_ema": False, "online_update": True, "anchor": "closest"},
}
every = pytest.mark.parametrize("name", OPTIONS)


def make(name: str = "ema", seed: int = 0) -> VectorQuantizer:
    torch.manual_seed(seed)
    options = {"use_ema": True, "decay": 0.9, "epsilon": 1e-5, **OPTIONS[name]}
    return VectorQuantizer(embedding_dim=C, num_embeddings=K, **options)


def batch(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, C, 4, 5, generator=torch.Generator().manual_seed(seed))


def trained(name: str, steps: int = 3) -> VectorQuantizer:
    vq = make(name)
    parameters = list(vq.parameters())
    for step in range(steps):
        vq(batch(100 + step))
        if parameters:
            vq.zero_grad()
            vq.last_dictionary_loss.backward()
            torch.optim.SGD(parameters, lr=0.1).step()
    return vq


# --- as printed -------------------------------------------------------------------------------------------------------


def test_vq_vae():
    import torch

    from vqkit.interop.vqvae import VectorQuantizer

    vq = VectorQuantizer(
        embedding_dim=32,
        num_embeddings=512,
        use_ema=True,  # exponential moving average updates for the codebook, as a replacement for the codebook loss
        decay=0.99,
        epsilon=1e-5,
    )
    x = torch.randn(2, 32, 6, 7)
    assert vq(x).shape == x.shape
    assert vq.last_dictionary_loss is None
    assert vq.last_commitment_loss.shape == ()
    assert vq.last_encoding_indices.shape == (2, 42)


def test_increasing_codebook_usage():
    import torch

    from vqkit.interop.vqvae import VectorQuantizer

    vq = VectorQuantizer(
        embedding_dim=32,
        num_embeddings=512,
        use_ema=True,
        decay=0.99,
        epsilon=1e-5,
        online_update=True,
        anchor="random",
    )
    torch.manual_seed(0)
    x = 50 + torch.randn(8, 32, 16, 16)  # far from every code: without anchors a few of them would draw all
    for _ in range(20):
        vq(x)
    assert vq.last_encoding_indices.unique().numel() > 400


def test_the_three_terms_of_the_document():
    torch.manual_seed(0)
    vq, beta = VectorQuantizer(C, K, use_ema=False, decay=0.99, epsilon=1e-5), 0.25
    z = torch.randn(2, C, 5, requires_grad=True)
    vq(z)
    codes = vq.vq.codebook.detach().requires_grad_()
    e = codes[vq.encode(z)].movedim(-1, 1)
    terms = ((z.detach() - e) ** 2).sum(1).mean(), ((z - e.detach()) ** 2).sum(1).mean()
    torch.testing.assert_close(vq.last_dictionary_loss * C, terms[0])
    torch.testing.assert_close(vq.last_commitment_loss * C, terms[1])
    (vq.last_dictionary_loss + beta * vq.last_commitment_loss).backward()
    grads = torch.autograd.grad((terms[0] + beta * terms[1]) / C, (codes, z))
    torch.testing.assert_close(vq.vq.book.vectors.grad[0], grads[0])
    torch.testing.assert_close(z.grad, grads[1])


# --- the contract -----------------------------------------------------------------------------------------------------


@every
def test_round_trip(name: str):
    vq = trained(name).eval()
    quantized = vq(batch())
    indices = vq.encode(batch())
    assert torch.equal(vq.decode(indices), quantized)
    assert torch.equal(indices.flatten(1), vq.last_encoding_indices)
    assert indices.dtype == torch.int64


@every
def test_eval_and_encode_change_nothing(name: str):
    vq = trained(name)
    before = flat_state(vq)
    vq.encode(batch())
    vq.eval()(batch())
    assert_same_state(before, flat_state(vq))


@every
@pytest.mark.parametrize("way", ["state dict", "weights only", "deepcopy", "pickle"])
def test_state_survives(name: str, way: str):
    """The original forgets how many steps its averages have seen."""
    first, second = trained(name), make(name, seed=9)
    if way == "state dict":
        second.load_state_dict(first.state_dict())
    elif way == "weights only":
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        buffer.seek(0)
        second.load_state_dict(torch.load(buffer, weights_only=True))
    else:
        first(batch().requires_grad_())  # its losses are in a graph, which no copy can take along
        second = copy.deepcopy(first) if way == "deepcopy" else pickle.loads(pickle.dumps(first))
        assert second.last_commitment_loss is None
        assert first.last_commitment_loss is not None
    for _ in range(3):
        assert torch.equal(first(batch(7)), second(batch(7)))
        assert_same_state(flat_state(first), flat_state(second))


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_dtypes(name: str, dtype: torch.dtype):
    vq, x = trained(name).eval(), batch().to(dtype)
    assert vq(x).dtype == dtype
    assert torch.equal(vq.encode(x), vq.encode(x.float()))
    cast = trained(name).to(dtype)
    assert torch.isfinite(cast(x)).all()
    assert all(v.dtype == torch.float32 for v in flat_state(cast).values() if v.is_floating_point())


@every
def test_bad_rows_touch_no_state(name: str):
    clean, dirty = trained(name), trained(name)
    rows = torch.randn(20, C)
    spoiled = torch.cat([rows, torch.full((2, C), torch.inf)]).requires_grad_()
    clean(rows)
    with pytest.warns(RuntimeWarning, match="2 rows"):
        quantized = dirty(spoiled)
    (quantized.sum() + dirty.last_commitment_loss).backward()
    assert (dirty.last_encoding_indices[20:] == -1).all()
    assert not quantized[20:].any()
    assert torch.isfinite(spoiled.grad).all()
    torch.testing.assert_close(dirty.last_commitment_loss, clean.last_commitment_loss)
    assert_same_state(flat_state(clean), flat_state(dirty), 1e-5)


@pytest.mark.parametrize("shape", [(5, C), (2, C, 3), (2, C, 3, 4), (2, C, 2, 2, 2), (0, C, 3, 4)], ids=str)
def test_any_channel_first_shape(shape: tuple[int, ...]):
    vq = make()
    assert vq(torch.randn(shape)).shape == shape
    assert vq.last_encoding_indices.shape == (shape[0], torch.Size(shape[2:]).numel())


def test_the_gradient_goes_straight_through():
    x, weights = batch().requires_grad_(), torch.randn(3, C, 4, 5)
    (make()(x) * weights).sum().backward()
    assert torch.equal(x.grad, weights)


# --- how the codes learn ----------------------------------------------------------------------------------------------


def test_ema_is_debiased_as_sonnets():
    """Codes follow m̂/n̂ with m̂ = m/(1 − γᵗ); one that drew nothing stays, where the original puts it at zero."""
    vq, decay = make(), 0.9
    before = vq.vq.codebook
    before[3] = 100  # which no row will draw
    vq.vq.codebook = before
    n, m = torch.zeros(K), torch.zeros(K, C)
    ever = torch.zeros(K, dtype=torch.bool)
    for step in range(1, 6):
        x = batch(step)
        rows = x.movedim(1, -1).reshape(-1, C)
        one_hot = torch.nn.functional.one_hot(vq.encode(x).flatten(), K).float()
        hit = one_hot.any(0)
        vq(x)
        n, m = decay * n + (1 - decay) * one_hot.sum(0), decay * m + (1 - decay) * one_hot.T @ rows
        n_hat, m_hat = n / (1 - decay**step), m / (1 - decay**step)
        smooth = (n_hat + 1e-5) / (n_hat.sum() + K * 1e-5) * n_hat.sum()
        torch.testing.assert_close(vq.vq.codebook[hit], (m_hat / smooth[:, None])[hit], rtol=1e-4, atol=1e-5)
        ever |= hit
    assert not ever[3]
    assert torch.equal(vq.vq.codebook[~ever], before[~ever])


@pytest.mark.parametrize("anchor", ["random", "closest", "probrandom"])
@pytest.mark.parametrize("use_ema", [True, False])
def test_every_anchor_acts_and_lasts(anchor: str, use_ema: bool):
    """In the original all but 'random' silently do nothing, and the averages undo the anchor at the next step."""
    torch.manual_seed(0)
    vq = VectorQuantizer(C, K, use_ema, decay=0.9, epsilon=1e-5, online_update=True, anchor=anchor)
    x = 10 + torch.randn(40, C)
    idle = torch.bincount(vq.encode(x), minlength=K) == 0
    assert idle.sum() > K / 2
    for _ in range(3):
        vq(x)
    assert torch.cdist(vq.vq.codebook[idle], x).amin(1).max() < 4
    unlucky = VectorQuantizer(C, K, use_ema, decay=0.9, epsilon=1e-5)
    unlucky(x)
    assert torch.cdist(unlucky.vq.codebook, x).amin(1).max() > 20


# --- the model --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("downsamplings", [1, 2, 3])
@pytest.mark.parametrize("use_ema", [True, False])
def test_the_model(downsamplings: int, use_ema: bool):
    """The original's decoder ignores ``in_channels``, and one downsampling fails."""
    torch.manual_seed(0)
    model = VQVAE(1, 16, downsamplings, 2, 8, C, K, use_ema, 0.99, 1e-5, True, "closest")
    x = torch.rand(2, 1, 16, 24)
    recon = model(x)
    side = 2**downsamplings
    assert recon.shape == x.shape
    assert model.quantize(x).shape == (2, C, 16 // side, 24 // side)
    assert model.encoding_indices.shape == (2, 16 * 24 // side**2)
    loss = (recon - x).square().mean() + 0.25 * model.commitment_loss
    loss = loss if use_ema else loss + model.dictionary_loss
    assert use_ema == (model.dictionary_loss is None)
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    twin = VQVAE(1, 16, downsamplings, 2, 8, C, K, use_ema, 0.99, 1e-5, True, "closest")
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.eval()(x), model.eval()(x))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"embedding_dim": 0}, "embedding_dim"),
        ({"num_embeddings": "many"}, "num_embeddings"),
        ({"decay": 1.5}, "decay"),
        ({"epsilon": -1.0}, "epsilon"),
        ({"anchor": "nearest"}, "anchor: expected one of 'random', 'closest', 'probrandom'"),
        ({"decay": 1.0, "online_update": True}, "decay"),
    ],
    ids=str,
)
def test_bad_options(options: dict[str, Any], match: str):
    given = {"embedding_dim": C, "num_embeddings": K, "use_ema": True, "decay": 0.9, "epsilon": 1e-5, **options}
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        VectorQuantizer(**given)
    assert isinstance(caught.value, VqkitError)


def test_bad_inputs():
    with pytest.raises(ArgumentError, match="expected 8 channels along axis 1"):
        make()(torch.zeros(2, C + 1, 3))
    with pytest.raises(ArgumentError, match="channel axis 1"):
        make()(torch.zeros(C))
    with pytest.raises(ArgumentError, match="hidden"):
        VQVAE(3, 15, 2, 2, 8, C, K, True, 0.99, 1e-5)
