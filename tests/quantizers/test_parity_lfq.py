"""The same numbers as vector-quantize-pytorch where it is right.

Right means: few enough codes that its clamp of probabilities at 1e-5 stays out of the way (E30), and one process.
"""

from __future__ import annotations

import math

import pytest
import torch
import vector_quantize_pytorch as peer

from vqkit import LFQ, BinaryMapper

DEFAULTS = {"entropy_loss_weight": 0.1, "commitment_loss_weight": 0.0}  # theirs
OPTIONS = {
    "plain": {"dim": 4},
    "scaled": {"dim": 4, "codebook_scale": 0.5, "diversity_gamma": 2.0, "entropy_loss_weight": 0.3},
    "commitment": {"dim": 4, "commitment_loss_weight": 0.25},
    "codebooks": {"codebook_size": 8, "num_codebooks": 2, "commitment_loss_weight": 0.25},
    "projected": {"dim": 6, "codebook_size": 16},
    "projected_without_bias": {"dim": 6, "codebook_size": 16, "projection_has_bias": False},
    "projected_by_cosine": {"dim": 6, "codebook_size": 16, "cosine_sim_project_in": True},
    "projected_alike": {"dim": 4, "has_projections": True},
    "soft_clamp": {"dim": 4, "soft_clamp_input_value": 1.5},
    "spherical": {"dim": 4, "spherical": True, "codebook_scale": 2.0, "commitment_loss_weight": 1.0},
    "rotated": {"dim": 4, "orthogonal_rotation": True},
    "softplus": {"dim": 4, "experimental_softplus_entropy_loss": True, "entropy_loss_offset": 3.0},
    "kept_axis": {"dim": 4, "keep_num_codebooks_dim": True},
    "channel_first": {"dim": 4, "channel_first": True},
}


def pair(options: dict) -> tuple[LFQ, peer.LFQ]:
    torch.manual_seed(0)
    theirs, ours = peer.LFQ(**options), LFQ(**{**DEFAULTS, **options})
    names = {"project_in.weight": "projections.project_in.weight", "project_in.bias": "projections.project_in.bias"}
    names |= {
        "project_out.weight": "projections.project_out.weight",
        "project_out.bias": "projections.project_out.bias",
    }
    names |= {"orthogonal_rot": "rotation.matrix"}
    state = {names[name]: value for name, value in theirs.state_dict().items() if name in names}
    if options.get("cosine_sim_project_in"):
        state["projections.project_in.weight"] = state["projections.project_in.weight"].t()
    ours.load_state_dict(state)
    return ours, theirs


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("inv_temperature", [0.5, 2.0])
@pytest.mark.parametrize("shape", ["sequence", "image"])
def test_outputs_losses_and_gradients(name: str, inv_temperature: float, shape: str):
    ours, theirs = pair(OPTIONS[name])
    if shape == "image":
        x = torch.randn(2, ours.dim, 5, 4)
    else:
        x = torch.randn(2, 20, ours.dim)
        x = x.transpose(1, 2) if ours.channel_dim == 1 else x
    weights, results = torch.randn(x.shape), []
    for module in (ours, theirs):
        rows = x.clone().requires_grad_()
        if module is ours:
            out = ours(rows, inv_temperature, return_loss_breakdown=True)
            quantized, indices, loss, breakdown = out
        else:
            (quantized, indices, loss), breakdown = theirs(rows, inv_temperature, return_loss_breakdown=True)
        ((quantized * weights).sum() + 100 * loss).backward()
        results.append((quantized, indices, loss, *breakdown, rows.grad))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours.decode(results[0][1]), theirs.indices_to_codes(results[1][1]))
    torch.testing.assert_close(ours(x).quantized, theirs(x)[0])


def test_a_masks_commitment_counts_the_same_rows():
    ours, theirs = pair({"dim": 4, "commitment_loss_weight": 0.5, "entropy_loss_weight": 0.0})
    x, mask = torch.randn(2, 20, 4), torch.rand(2, 20) > 0.4
    torch.testing.assert_close(ours(x, mask=mask).loss, theirs(x, mask=mask)[2])


def test_the_mappers_loss_and_log_probabilities():
    theirs, ours = peer.BinaryMapper(5, kl_loss_threshold=0.3), BinaryMapper(5, kl_loss_threshold=0.3)
    logits = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0)) * 3
    _, indices, loss = theirs(logits, return_indices=True, deterministic=True)
    out = ours(logits, deterministic=True)
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.loss, loss)
    per_row = ours(logits, reduce_aux_kl_loss=False).loss
    torch.testing.assert_close(per_row, theirs(logits, reduce_aux_kl_loss=False)[1])
    torch.testing.assert_close(ours.log_prob(logits, indices), theirs.log_prob(logits, indices=indices))
    bits = ours.log_prob(logits, indices, sum_bits=False)
    torch.testing.assert_close(bits, theirs.log_prob(logits, indices=indices, sum_bits=False))


def test_the_mappers_gradient():
    theirs, ours = peer.BinaryMapper(4), BinaryMapper(4)
    weights, grads = torch.randn(16, generator=torch.Generator().manual_seed(1)), []
    for module in (ours, theirs):
        logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        (module(logits, deterministic=True)[0] * weights).sum().backward()
        grads.append(logits.grad)
    torch.testing.assert_close(*grads)


# --- where it is not right -------------------------------------------------------------------------------------------


def test_the_peers_clamp_hides_the_entropy_of_many_codes():
    x = torch.zeros(1, 4, 18)
    theirs = peer.LFQ(dim=18)(x, return_loss_breakdown=True)[1].batch_entropy
    ours = LFQ(dim=18)(x, return_loss_breakdown=True).loss_breakdown.batch_entropy
    assert math.isclose(theirs.item(), -math.log(1e-5), rel_tol=1e-3)
    assert math.isclose(ours.item(), 18 * math.log(2), rel_tol=1e-6)


def test_under_a_mask_the_peer_averages_no_rows():
    """Its masked rows lose an axis, and what should be the entropy of their mean is the mean of their entropies."""
    ours, theirs = pair({"dim": 4})
    x, mask = torch.randn(2, 20, 4), torch.ones(2, 20, dtype=torch.bool)
    plain = ours(x, 1.0, return_loss_breakdown=True).loss_breakdown
    torch.testing.assert_close(plain, ours(x, 1.0, mask=mask, return_loss_breakdown=True).loss_breakdown)
    masked = theirs(x, 1.0, mask=mask, return_loss_breakdown=True)[1]
    torch.testing.assert_close(masked.batch_entropy, masked.per_sample_entropy)
    assert plain.batch_entropy > 2 * plain.per_sample_entropy


def test_the_loss_is_computed_in_eval_too():
    ours, theirs = pair({"dim": 4})
    x = torch.randn(1, 30, 4)
    expected = theirs(x)[2]
    torch.testing.assert_close(ours.eval()(x, 100.0).loss, expected)
    assert theirs.eval()(x)[2] == 0
