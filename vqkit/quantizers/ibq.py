"""``IBQ``: index backpropagation quantization."""

from __future__ import annotations

from vqkit.codebook.init import Init, Uniform
from vqkit.codebook.update import Gradient
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import IndexBackpropagation, refuse_estimator
from vqkit.quantizers.objectives import CodebookFit, Commitment, Entropy, Objective, SoftCommitment
from vqkit.quantizers.vector import VectorQuantize
from vqkit.shapes import check_int, check_number


@registered
class IBQ(VectorQuantize):
    """The code of largest inner product, every code with a gradient at every step (Shi et al. 2024, arXiv:2412.02692).

    The output is the code; its gradient reaches the vectors and all codes through the softmax over the inner products,
    so no code is left behind however many there are. The loss is the double quantization loss
    w·(mean |x − y|² + mean |x − sg(q)|² + β·mean |sg(x) − q|²), with y the output, plus the entropy penalty.
    ``forward``, ``encode``, ``decode`` are those of ``VectorQuantize``; a ``VectorQuantize`` of any other metric or
    loss takes the estimator ``IndexBackpropagation()`` too.

    Args:
        dim: width of the input. codebook_size: number of codes K.
        codebook_dim, heads, separate_codebook_per_head: as for ``VectorQuantize``.
        temperature: τ of that softmax. init: where codes begin, uniform in ±1/K by default, as published.
        commitment_weight: w. codebook_weight: β.
        entropy_weight: of (mean entropy of a row's choice) − (entropy of all rows' choices); 0 leaves it out.
        entropy_temperature: τ of the softmax there.
        channel_dim: the axis of the channels. freeze_codebook: the codes do not learn.
        usage_window: training rows over which usage is counted.
        estimator: there is no choice of one.

    Example:
        >>> import torch
        >>> ibq = IBQ(dim=8, codebook_size=32)
        >>> quantized, indices, loss = ibq(torch.randn(2, 5, 8))
        >>> quantized.square().sum().backward()
        >>> bool(ibq.book.vectors.grad.any(-1).all())
        True
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_dim: int | None = None,
        heads: int = 1,
        separate_codebook_per_head: bool = False,
        *,
        temperature: float = 1.0,
        init: Init | None = None,
        commitment_weight: float = 1.0,
        codebook_weight: float = 0.25,
        entropy_weight: float = 0.0,
        entropy_temperature: float = 0.01,
        channel_dim: int = -1,
        freeze_codebook: bool = False,
        usage_window: int = 65_536,
        estimator: None = None,
    ):
        refuse_estimator(estimator, "the softmax over all codes is what the method is")
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__") and v is not None}
        weight = check_number("commitment_weight", commitment_weight, 0)
        beta = check_number("codebook_weight", codebook_weight, 0)
        objectives: list[Objective] = [SoftCommitment(weight), Commitment(weight), CodebookFit(beta * weight)]
        check_number("entropy_temperature", entropy_temperature, 0, open_low=True)
        if check_number("entropy_weight", entropy_weight, 0):
            objectives.append(Entropy(entropy_weight, entropy_temperature))
        super().__init__(
            dim,
            codebook_size,
            codebook_dim,
            heads,
            separate_codebook_per_head,
            metric="dot",
            init=init or Uniform(1 / check_int("codebook_size", codebook_size)),
            update=Gradient(0.0),  # its one codebook term is in the objectives
            revive=None,
            estimator=IndexBackpropagation(temperature),
            objectives=objectives,
            channel_dim=channel_dim,
            freeze_codebook=freeze_codebook,
            usage_window=usage_window,
        )
        self._arguments = given
        self.straight = False
