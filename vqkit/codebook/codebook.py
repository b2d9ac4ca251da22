"""The stateful table: vectors, a metric, and the policies that begin, move and revive them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vqkit import distributed
from vqkit.codebook.affine import Affine, AffineMap
from vqkit.codebook.in_place import InPlace, InPlaceOptimizer
from vqkit.codebook.init import Init, Uniform
from vqkit.codebook.lesson import Lesson
from vqkit.codebook.precision import Float32State
from vqkit.codebook.recompute import within_backward
from vqkit.codebook.revive import ReplaceRare, Revive
from vqkit.codebook.shard import ShardedVectors, whole
from vqkit.codebook.stats import NONE, BatchStats, random_rows, row_positions
from vqkit.codebook.update import EMA, Fixed, Update, Weight
from vqkit.codebook.window import Recording, UsageWindow
from vqkit.errors import ArgumentError, bad_type, bad_value
from vqkit.functional.kmeans import MEANS
from vqkit.functional.lookup import take
from vqkit.functional.nearest import METRICS, search
from vqkit.functional.sampling import sample_codes
from vqkit.kernels import ops
from vqkit.kernels.reference.unit import unit
from vqkit.shapes import check_choice, check_int, check_tensor

ROWS_PER_CODE = 256  # more rows than this place a centroid no better


class Codebook(ShardedVectors, Float32State):
    """H tables of K codes of width D, exact to search, and all the state a codebook has.

    Rows (H, N, D) come as ``prepare`` returns them; an index of −1 marks a row that does not count. Only ``prepare_``,
    ``learn_``, ``place_``, ``freeze_``, ``fit_`` and the ``update_…_`` methods write. State is float32 whatever dtype
    the module is cast to.

    Args:
        size: codes K. dim: width D. heads: tables H. metric: ``"euclidean"``, ``"cosine"`` (unit codes) or ``"dot"``.
        unit_codes: False lets codes and rows of a cosine codebook keep their lengths; direction alone chooses.
        init, update, revive: policies; ``revive=None`` lets dead codes be. affine: a policy, or None.
        bridge: a module between the stored vectors (H, K, D') and the codes (H, K, D) (FVQ); learns by gradient. The
            vectors do so too (``Gradient``) or stay (``Fixed``).
        window: rows over which usage and perplexity are counted.

    Example:
        >>> import torch
        >>> book = Codebook(4, 2, init=Uniform(1.0))
        >>> book.nearest(book.codes()).tolist()
        [[0, 1, 2, 3]]
    """

    vectors: Tensor
    initialised: Tensor
    clock: Tensor
    frozen: Tensor
    held: Tensor
    ema_counts: Tensor
    ema_sums: Tensor
    ema_start: Tensor
    ema_hit: Tensor
    revive_counts: Tensor
    revive_shares: Tensor
    revive_idle: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        heads: int = 1,
        *,
        metric: str = "euclidean",
        unit_codes: bool = True,
        init: Init | None = None,
        update: Update | None = None,
        revive: Revive | None = ReplaceRare(),  # noqa: B008 - frozen, so shared safely
        affine: Affine | None = None,
        bridge: nn.Module | None = None,
        window: int = 65_536,
        sync: bool = True,
    ):
        super().__init__()
        for name, policy, method in (
            ("init", init, "initial"),
            ("update", update, "moved_"),
            ("revive", revive, "candidates"),
            ("affine", affine, "build"),
        ):
            if policy is not None and (isinstance(policy, type) or not hasattr(policy, method)):
                raise bad_type(name, f"a policy of vqkit.codebook with a method {method}, or None", policy)
        if bridge is not None and not isinstance(bridge, nn.Module):
            raise bad_type("bridge", "an nn.Module or None", bridge)
        self.size, self.dim, self.heads = check_int("size", size), check_int("dim", dim), check_int("heads", heads)
        self.metric = check_choice("metric", metric, METRICS)
        if not unit_codes and metric != "cosine":
            raise bad_value("unit_codes", "True unless metric is 'cosine'", unit_codes)
        self.unit_codes = unit_codes and metric == "cosine"
        self.init, self.update, self.revive = init or Uniform(), update or EMA(), revive
        self.sync = sync
        vectors = self.init.initial(heads, size, dim)
        if self.unit_codes:
            vectors = unit(vectors)
        if self.update.by_gradient or isinstance(self.update, InPlace):
            # Not a leaf that losses reach unless it learns by gradient: so DDP and optimizers pass it by.
            self.vectors = nn.Parameter(vectors, requires_grad=self.update.by_gradient)
        else:
            self.register_buffer("vectors", vectors)
        if self.update.by_gradient:
            self.register_buffer("held", vectors.clone())  # where frozen parameters stay
        self.register_buffer("initialised", torch.tensor(not self.init.needs_rows))
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64))
        self.register_buffer("frozen", torch.zeros(heads, size, dtype=torch.bool))
        state = self.update.state(vectors) | (self.revive.state(heads, size) if self.revive else {})
        for name, tensor in state.items():
            self.register_buffer(name, tensor)
        self.affine: AffineMap | None = affine.build(heads, size, dim) if affine else None
        self.bridge = None if bridge is None else bridge.float()
        self.in_place: InPlaceOptimizer | None = None
        if isinstance(self.update, InPlace):
            for parameter in self.in_place_maps():
                parameter.requires_grad_(False)
            self.in_place = InPlaceOptimizer(self.update, list(self.parameters()))
        self.in_place_gradients: list[Tensor] = []
        self.window = UsageWindow(heads, size, window)
        self.recorder: Callable[[Tensor, Tensor], None] | None = None
        self._begun = not self.init.needs_rows  # ``initialised`` where Python can read it without a device sync
        self.accumulating = False
        self._pending: Lesson | None = None
        self._check_policies()

    def _check_policies(self) -> None:
        by_gradient = self.update.by_gradient
        if self.affine is not None and self.metric == "cosine":
            raise ArgumentError("affine: expected metric 'euclidean', got 'cosine': a shift takes codes off the sphere")
        if self.affine is not None and self.affine.needs_gradient and not (by_gradient or self.in_place):
            raise ArgumentError(f"affine: a learned map needs update Gradient or InPlace, got {self.update}")
        if self.bridge is not None and not (by_gradient or isinstance(self.update, Fixed)):
            raise ArgumentError(
                f"bridge: expected update Gradient or Fixed, since only gradients pass the bridge, got {self.update}"
            )
        if self.init.needs_rows and self.metric not in MEANS:
            raise ArgumentError(f"init: expected one without rows for metric {self.metric!r}, got {self.init}")
        if self.bridge is not None and self.init.needs_rows:
            raise ArgumentError(f"bridge: expected an init without rows, which have no pre-image, got {self.init}")
        if self.bridge is not None and self.revive is not None:
            raise ArgumentError(
                f"bridge: expected revive=None, since a row has no pre-image under a bridge, got {self.revive}"
            )

    def in_place_maps(self) -> list[nn.Parameter]:
        """What an in-place optimizer moves besides the vectors: the numbers of a learned affine map."""
        return list(self.affine.parameters()) if self.affine is not None else []

    @property
    def space(self) -> str:
        """The metric of means of rows: codes with lengths of their own lie among all rows, not on the sphere."""
        return "euclidean" if self.metric == "cosine" and not self.unit_codes else self.metric

    # --- pure -------------------------------------------------------------------------------------------------------

    def codes(self, lent: bool = False) -> Tensor:
        """The codes as searched and looked up, (H, K, D) float32; gradients flow where the update learns by them.

        ``lent``: nobody keeps them beyond the next step, so they may be the stored vectors themselves.
        """
        if not self.update.by_gradient:
            vectors = self.vectors.detach()
        else:
            vectors = torch.where(self.frozen[..., None], self.held, whole(self.vectors))
        codes = self.transform(vectors)
        # A copy: what autograd saved, or a caller holds, must not change when a step writes the vectors in place.
        return codes.clone() if codes is vectors and not self.update.by_gradient and not lent else codes

    def transform(self, vectors: Tensor) -> Tensor:
        """Stored vectors (H, K, D) to codes (H, K, D): unit length, affine map, bridge."""
        if not self.unit_codes and self.affine is None and self.bridge is None:
            return vectors
        with torch.autocast(vectors.device.type, enabled=False):
            codes = unit(vectors) if self.unit_codes else vectors
            codes = self.affine(codes) if self.affine is not None else codes
            return self.bridge(codes) if self.bridge is not None else codes

    def prepare(self, x: Tensor) -> Tensor:
        """Rows in the space of the codes: float32 (float64 stays), and unit length if they have."""
        x = x if x.dtype == torch.float64 else x.float()
        return unit(x) if self.unit_codes else x

    def nearest(self, rows: Tensor, codes: Tensor | None = None, topk: int | None = None) -> Tensor:
        """Exact nearest codes of rows (H, N, D): (H, N) int64, or (H, N, T)."""
        codes = self.codes(lent=True) if codes is None else codes
        if topk is None:
            return ops.nearest_index(rows.detach(), codes.detach(), self.metric)
        return search(rows.detach(), codes.detach(), self.metric, topk)[0]

    def measured(self, rows: Tensor, codes: Tensor) -> tuple[Tensor, Tensor | None]:
        """``nearest``, and |x − e|² (H, N) float64 of each row and its code where the search measures that."""
        indices, distances = search(rows.detach(), codes.detach(), self.metric)
        # 1 − cos is half of it between unit vectors.
        squared = {"euclidean": distances, "cosine": 2 * distances if self.unit_codes else None}.get(self.metric)
        return indices[..., 0], None if squared is None else squared[..., 0]

    def sample(self, rows: Tensor, codes: Tensor, temperature: float) -> Tensor:
        """Codes drawn with probability ∝ exp(−|x − e|²/τ): (H, N) int64."""
        how = {"metric": self.metric, "over_ranks": self.sync}
        return torch.stack([sample_codes(rows[h], codes[h], temperature, **how) for h in range(self.heads)])

    def take(self, indices: Tensor, codes: Tensor | None = None) -> Tensor:
        """Codes (H, N, D) of indices (H, N) in [−1, K); −1 gives zero."""
        return take(self.codes(lent=True) if codes is None else codes, indices)

    def usage(self) -> Tensor:
        """Share of codes drawn by the last ``window`` training rows: (H,) float64."""
        return self.window.usage()

    def perplexity(self) -> Tensor:
        """Perplexity of the codes drawn by the last ``window`` training rows: (H,) float64."""
        return self.window.perplexity()

    # --- writing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare_(self, rows: Tensor, valid: Tensor) -> None:
        """Before a training step's search: place the codes if this is the first batch.

        Raises:
            ArgumentError: within a backward, where the codes are no longer those of the step that it goes back over.
        """
        if within_backward():
            raise ArgumentError(
                "codebook: expected to learn in a forward, got one that activation checkpointing runs again in the "
                "backward; leave quantizers that learn out of the checkpointed region (they keep little)"
            )
        if not self._begun and not self._load_begun():
            self._begin(rows.detach(), valid)
        self._restore_held()

    @property
    def placed(self) -> bool:
        """Whether the codes lie where they begin: False until the first batch, where the init asks for one."""
        return self._begun

    def _load_begun(self) -> bool:
        """Take over the flag of a state that was copied in without ``load_state_dict``."""
        self._begun = bool(self.initialised)
        return self._begun

    def _begin(self, rows: Tensor, valid: Tensor) -> None:
        """Place the codes from the first batch that has rows, over all ranks; once only, so it may read values."""
        counted = valid.sum(1)
        rows_RH = distributed.gathered([counted])[0] if self.sync else counted[None]
        if not bool(rows_RH.any()):
            return
        slots = min(int(rows_RH.sum(0).max()), ROWS_PER_CODE * self.size)
        positions = row_positions(valid, distributed.before(rows_RH) if self.sync else torch.zeros_like(counted))
        found = random_rows(rows, valid, positions, self.clock, slots)
        found = found.shared() if self.sync else found
        drawn = [found.rows[h][found.scores[h] > NONE] for h in range(self.heads)]
        self.begin_at_(torch.stack([self.init.from_rows(r, self.size, self.space) for r in drawn]))

    @torch.no_grad()
    def assign_(self, codes: Tensor) -> None:
        """Put all codes, frozen ones too, at ``codes`` (H, K, D), where the averages take them for placed."""
        if self.bridge is not None:
            raise ArgumentError("codebook: expected a table without a bridge to assign to")
        if not bool(codes.isfinite().all()):
            raise bad_value("codebook", "finite codes", "NaN or inf among them")
        frozen = self.frozen.clone()
        self.freeze_(frozen=False)
        self.begin_at_(codes.to(self.vectors))
        self.freeze_(frozen)

    @torch.no_grad()
    def begin_at_(self, codes: Tensor) -> None:
        """Put all codes that are not frozen at ``codes`` (H, K, D); from now on they count as placed."""
        self.place_(torch.ones_like(self.frozen), codes, 1.0)
        self.initialised.fill_(True)
        self._begun, self._pending = True, None

    @torch.no_grad()
    def learn_(self, rows: Tensor, indices: Tensor, *, weight: Weight = None, accumulate: bool = False) -> None:
        """Learn from one step's rows (H, N, D) and their indices (H, N).

        ``accumulate`` keeps the statistics for the next call without it: k micro-batches move the codes as one batch.
        """
        defer = accumulate or self.accumulating
        lesson = Lesson(self, rows.detach(), indices, self._stats(rows.detach(), indices), self._pending, weight, defer)
        self._pending = lesson if defer else None
        # Codes that move before the lookup cannot wait for what else the step shares.
        now = self.update.changes_output
        distributed.share_([Recording(self.window, indices), lesson], over_ranks=self.sync, now=now)

    def _stats(self, rows: Tensor, indices: Tensor) -> BatchStats:
        """What adds up over micro-batches and ranks."""
        valid = indices >= 0
        # Averages of rows become stored vectors, so they are taken where those live; a gradient is taken at the codes.
        averaged = rows
        if self.affine is not None and not self.update.by_gradient and self.in_place is None:
            averaged = self.affine.inverse(rows)
        counts, sums = ops.code_sums(averaged, indices, self.size, "")
        moments = None if self.affine is None else self.affine.moments(rows, valid)
        return BatchStats(counts.double(), sums, valid.sum(1), moments)

    @torch.no_grad()
    def step_(self, stats: BatchStats, weight: Weight) -> None:
        """Move by the statistics of a whole step, of all ranks."""
        self.update.step_(self, stats, weight)
        if self.affine is not None:
            self.affine.follow_(stats.moments, stats.rows, self.vectors.detach(), self.frozen.all(1))
        if self.revive is not None:
            self.revive.step_(self, stats)
        self.clock.add_(1)

    @torch.no_grad()
    def write_(self, where: Tensor, vectors: Tensor) -> None:
        """Write vectors (H, K, D) where (H, K) is true and the code is not frozen."""
        moves = where > self.frozen  # of two flags, the one and not the other in one pass
        if self.update.by_gradient:  # the vectors may be sharded
            self.store_(torch.where(moves[..., None], vectors.to(self.vectors.dtype), whole(self.vectors)))
        else:
            ops.overwrite_(self.vectors, moves, vectors)

    @torch.no_grad()
    def place_(self, where: Tensor, codes: Tensor, weight: float | None = None) -> None:
        """Put codes (H, K, D) elsewhere for good, where (H, K) is true; the update's averages follow.

        ``weight``: how many rows the averages count the new place for; None as many as they counted the old one.
        """
        vectors = self.affine.inverse(codes) if self.affine is not None else codes
        self.write_(where, unit(vectors) if self.unit_codes else vectors)
        self.update.moved_(self, where > self.frozen, weight)

    @torch.no_grad()
    def freeze_(self, codes: Tensor | None = None, frozen: bool = True) -> None:
        """Freeze (or release) the codes marked in a bool tensor (K,) or (H, K); None means all."""
        if codes is None:
            codes = torch.ones_like(self.frozen)
        if check_tensor("codes", codes).dtype != torch.bool or codes.shape not in ((self.size,), self.frozen.shape):
            expected = f"a bool tensor ({self.size},) or ({self.heads}, {self.size})"
            raise bad_value("codes", expected, f"{codes.dtype} of shape {tuple(codes.shape)}")
        self._restore_held()
        self.frozen.copy_(torch.where(codes, frozen, self.frozen))
        if self.update.by_gradient:
            self.held.copy_(whole(self.vectors))

    @torch.no_grad()
    def _restore_held(self) -> None:
        """Put frozen parameters back: an optimizer's momentum or weight decay moves what has no gradient, too."""
        if self.update.by_gradient:
            self.store_(torch.where(self.frozen[..., None], self.held, whole(self.vectors)))

    def update_ema_(self) -> None:
        """Write the moving averages into the codes; for ``EMA(manual=True)``."""
        if not isinstance(self.update, EMA):
            raise ArgumentError(f"update: expected EMA, got {self.update}")
        self.update.write_(self)

    def update_in_place_(self) -> None:
        """Let the in-place optimizer step; for ``InPlace(manual=True)``."""
        if not isinstance(self.update, InPlace) or not self.in_place_gradients:
            raise ArgumentError(f"update: expected InPlace with a step to take, got {self.update}")
        self.update.finish_(self)

    # --- keeping ----------------------------------------------------------------------------------------------------

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._begun, self._pending = bool(self.initialised), None
        if self.in_place is not None:
            self.in_place.point_at(list(self.parameters()))

    def extra_repr(self) -> str:
        """What the module prints."""
        parts = [f"size={self.size}", f"dim={self.dim}", f"heads={self.heads}", f"metric={self.metric!r}"]
        return ", ".join([*parts, f"init={self.init}", f"update={self.update}", f"revive={self.revive}"])
