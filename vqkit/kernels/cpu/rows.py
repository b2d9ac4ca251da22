"""What a training step does to every row besides the search, by the native library; it takes float32."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels import reference
from vqkit.kernels.cpu.library import library


def all_float32(*tensors: Tensor) -> bool:
    """Whether the library takes all of these."""
    return all(t.dtype == torch.float32 for t in tensors)


def one_row(g_ND: Tensor) -> tuple[Tensor, int]:
    """A gradient, and by how much its rows lie apart: that of a plain sum is one number seen N·D times, so one row of
    it is enough.
    """
    return (g_ND[:1].contiguous(), 0) if g_ND.shape[0] and g_ND.stride()[0] == 0 else (g_ND.contiguous(), g_ND.shape[1])


def finite_rows(x_ND: Tensor) -> Tensor:
    """As ``reference.finite_rows``."""
    if not all_float32(x_ND):
        return reference.finite_rows(x_ND)
    (N, D), x = x_ND.shape, x_ND.contiguous()
    finite = torch.empty(N, dtype=torch.bool)
    library().vqkit_finite_rows(x.data_ptr(), N, D, torch.get_num_threads(), finite.data_ptr())
    return finite


def pull(x_HND: Tensor, codes_HKD: Tensor, indices_HN: Tensor, by: Tensor) -> Tensor:
    """As ``reference.pull``."""
    if not all_float32(x_HND, codes_HKD):
        return reference.pull(x_HND, codes_HKD, indices_HN, by)
    x, codes, indices = x_HND.contiguous(), codes_HKD.contiguous(), indices_HN.contiguous()
    out = torch.empty_like(x)
    H, N, D = x.shape
    for head in range(H):
        library().vqkit_pull(
            *(x[head].data_ptr(), codes[head].data_ptr(), indices[head].data_ptr(), float(by)),
            *(N, D, torch.get_num_threads(), out[head].data_ptr()),
        )
    return out


def turned_back(g_ND: Tensor, x_ND: Tensor, q_ND: Tensor) -> Tensor:
    """As ``reference.turned_back``."""
    if not all_float32(g_ND, x_ND, q_ND):
        return reference.turned_back(g_ND, x_ND, q_ND)
    (N, D), x, q = x_ND.shape, x_ND.contiguous(), q_ND.contiguous()
    g, stride = one_row(g_ND)
    out = torch.empty_like(x)
    library().vqkit_turned_back(
        g.data_ptr(), stride, x.data_ptr(), q.data_ptr(), N, D, torch.get_num_threads(), out.data_ptr()
    )
    return out
