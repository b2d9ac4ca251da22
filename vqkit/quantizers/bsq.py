"""``BSQ``: binary codes on the unit sphere."""

from __future__ import annotations

from vqkit.errors import bad_value
from vqkit.quantizers.config import registered
from vqkit.quantizers.lfq import LFQ, bits_of, group_bits
from vqkit.shapes import check_number


@registered
class BSQ(LFQ):
    """Binary spherical quantization (Zhao et al. 2024, arXiv:2406.07548): u = x/|x| to û = sign(u)/√L, L bits.

    ``forward`` returns what ``LFQ``'s does, with the loss

        β |u − sg(û)|² + ζ/T · (γ₀ H_row − γ H_batch),

    H_row and H_batch the entropies of softmax(−T|u − û|²) over the 2^L codes. H_row is a sum over bits. H_batch
    is exact up to 24 bits, or with ``group_size`` the sum over groups of bits, an upper bound.

    The straight-through gradient g is taken at u, with slope 1, and then passes the normalisation: the input gets
    (g − u(u·g))/|x|, orthogonal to x and weaker the longer x is; a zero row gets none.

    Args:
        dim: width of the input; by default L. codebook_size: 2^L; by default 2^dim. Linear projections go in and out
            where ``dim`` differs from L.
        beta: β; the breakdown's commitment is the mean over bits, |u − û|²/L. gamma0: γ₀. gamma: γ. zeta: ζ.
        inv_temperature: T, also for the ζ/T in front; a call may give another for the softmax.
        group_size: bits of a group, a divisor of L.
        group_indices: an index per group, in [0, 2^group_size), along a last axis, in place of one of all L bits.
        has_projections, projection_has_bias, channel_first, usage_window: as for ``LFQ``.

    Example:
        >>> import torch
        >>> bsq = BSQ(dim=36, group_size=9, group_indices=True)
        >>> quantized, indices, loss = bsq(torch.randn(2, 5, 36))
        >>> indices.shape, quantized.norm(dim=-1).allclose(torch.ones(2, 5))
        (torch.Size([2, 5, 4]), True)
    """

    def __init__(
        self,
        *,
        dim: int | None = None,
        codebook_size: int | None = None,
        beta: float = 0.0,
        gamma0: float = 1.0,
        gamma: float = 1.0,
        zeta: float = 0.1,
        inv_temperature: float = 1.0,
        group_size: int | None = None,
        group_indices: bool = False,
        has_projections: bool | None = None,
        projection_has_bias: bool = True,
        channel_first: bool | None = None,
        usage_window: int = 65_536,
    ):
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__") and v is not None}
        bits, zeta = bits_of(dim, codebook_size), check_number("zeta", zeta, 0)
        inv_temperature = check_number("inv_temperature", inv_temperature, 0, open_low=True)
        super().__init__(
            dim=dim,
            codebook_size=codebook_size,
            entropy_loss_weight=zeta / inv_temperature,
            sample_minimization_weight=check_number("gamma0", gamma0, 0),
            batch_maximization_weight=check_number("gamma", gamma, 0),
            commitment_loss_weight=check_number("beta", beta, 0) * bits,
            entropy_group_size=group_bits("group_size", group_size, bits, zeta * gamma > 0),
            spherical=True,
            inv_temperature=inv_temperature,
            has_projections=has_projections,
            projection_has_bias=projection_has_bias,
            channel_first=channel_first,
            usage_window=usage_window,
        )
        self._arguments = given
        if group_indices:
            if group_size is None:
                raise bad_value("group_size", "the size of a group, for an index of each", None)
            self._index_by(group_size, True, usage_window)
