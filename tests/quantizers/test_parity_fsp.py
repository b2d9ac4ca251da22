"""The same numbers as vector-quantize-pytorch where it is right, and tests that show where it is not followed."""

from __future__ import annotations

import pytest
import torch
import vector_quantize_pytorch as peer

from vqkit import FSP
from vqkit.functional.perturbation import DISTRIBUTIONS
from vqkit.quantizers import MomentMatch

NORMS = {"none": "none", "var": "var", "kurt": "kurt", "var_tanh": MomentMatch(variance=0.8225)}


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("act_name", DISTRIBUTIONS)
@pytest.mark.parametrize("dim", [3, 7])
def test_outputs_indices_and_gradients_when_rounding(act_name: str, inverse: bool, dim: int):
    torch.manual_seed(0)
    options = {"levels": [8, 5, 2], "dim": dim, "act_name": act_name, "need_inv_act": inverse, "quantize_rate": 1.0}
    ours, theirs = FSP(**options), peer.FSP(**options)
    if dim != 3:
        ours.projections.project_in.load_state_dict(theirs.project_in.state_dict())
        ours.projections.project_out.load_state_dict(theirs.project_out.state_dict())
    results = []
    for module in (ours, theirs):
        x = torch.randn(2, 500, dim, generator=torch.Generator().manual_seed(1)).requires_grad_()
        quantized, indices, _, info = module(x)
        (quantized * torch.linspace(0, 1, dim)).sum().backward()
        levels = info.level_indices if module is ours else info["level_indices"]
        results.append((quantized, indices.long(), levels.long(), x.grad))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.decode(results[0][1]), theirs.indices_to_codes(results[1][1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NORMS)
def test_losses(name: str):
    torch.manual_seed(0)
    x = torch.randn(4, 100, 3) * 1.5 + 0.3
    ours, theirs = FSP([8, 5, 2], vector_norm=NORMS[name]), peer.FSP([8, 5, 2], vector_norm=name)
    torch.testing.assert_close(ours(x).loss, torch.as_tensor(theirs(x)[2]), rtol=1e-4, atol=1e-6)


def test_differs_one_row_has_a_finite_loss():
    x = torch.randn(1, 1, 3)
    assert torch.isfinite(FSP([8, 5, 2])(x).loss)
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert torch.isnan(peer.FSP([8, 5, 2])(x)[2])


def test_differs_the_default_norm_is_that_of_the_distribution():
    """There it is tanh's for every distribution."""
    assert FSP([8], act_name="laplace").norm.variance == 2
    assert peer.FSP([8], act_name="laplace").vector_norm.l2_target == 0.8225
