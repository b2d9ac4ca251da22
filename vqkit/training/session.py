"""One process's part in a run: everything that changes from step to step, and how it is saved and brought back."""

from __future__ import annotations

import json
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vqkit.codebook import load_usage_state, usage_state
from vqkit.data import ImageDataset
from vqkit.errors import CheckpointError, bad_value
from vqkit.models import VQVAE, build_model
from vqkit.models.config import differences, differences_text
from vqkit.models.pretrained import read_model
from vqkit.models.weights import extra_state, load_weights
from vqkit.training.checkpoint import STATE_FILE, misfits_named, read_state, write_state
from vqkit.training.config import RunConfig
from vqkit.training.errors import NonFiniteError
from vqkit.training.losses import ReconstructionLoss, reconstruction_loss
from vqkit.training.random_state import random_state, restore_random_state, seed_all
from vqkit.training.sampler import StepSampler
from vqkit.training.weights_ema import WeightsEMA

if TYPE_CHECKING:
    from accelerate import Accelerator

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass
class Session:
    """What a run is made of.

    Attributes:
        model: the model; ``wrapped`` is the same as Accelerate prepared it (autocast, several processes).
        optimizer: as Accelerate prepared it.
        ema: the averaged weights, or None.
        step: optimizer steps taken.
        seconds: time spent training before ``started``.
        best: lowest validation error so far.
        steps_per_epoch, total: in steps; ``total`` is None when only the clock ends the run.
    """

    run: RunConfig
    accelerator: Accelerator
    model: VQVAE
    wrapped: torch.nn.Module
    optimizer: Any
    ema: WeightsEMA | None
    images: ImageDataset
    valid: ImageDataset
    criterion: ReconstructionLoss
    steps_per_epoch: int
    total: int | None
    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    started: float | None = None

    def elapsed(self) -> float:
        """Seconds spent training, over all continuations of the run."""
        return self.seconds + (0 if self.started is None else time.monotonic() - self.started)

    def all_steps_taken(self) -> bool:
        """Whether the run's steps are taken; a run that was shortened may be past them."""
        return self.total is not None and self.step >= self.total

    def out_of_time(self) -> bool:
        """Whether the run's seconds are spent."""
        return self.run.train.seconds is not None and self.elapsed() >= self.run.train.seconds

    def start_clock(self) -> None:
        """From now on time counts as spent training."""
        self.started = time.monotonic()

    def averaged(self) -> AbstractContextManager[None]:
        """Within, the model has the weights that are evaluated and saved: the averages, if the run keeps any."""
        return nullcontext() if self.ema is None else self.ema.applied(self.model)

    def sampler(self) -> StepSampler:
        """The micro-batches of this process from the present step on."""
        return StepSampler(
            len(self.images),
            self.run.train.batch_size,
            seed=self.run.train.seed,
            first_step=self.step,
            accumulate=self.run.train.accumulate,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )

    def writer(self) -> Any:
        """A function that fills a checkpoint folder; collective, so every process must ask for it.

        Raises:
            NonFiniteError: a weight is infinite or NaN, so there is nothing worth saving.
        """
        from accelerate.utils import gather_object

        for name, value in self.model.named_parameters():
            if not bool(value.isfinite().all()):
                raise NonFiniteError(f"step {self.step}: expected finite weights, got infinity or NaN in {name}")
        state = self.state(gather_object([random_state()]))

        def write(folder: Path) -> None:
            with self.averaged():
                self.model.save_pretrained(folder)
            write_state(state, folder / STATE_FILE)

        return write

    def state(self, random_states: list[dict[str, Any]]) -> dict[str, Any]:
        """All of the run that is not in its model folder, as data."""
        scaler = self.accelerator.scaler
        epoch, batch = divmod(self.step, self.steps_per_epoch)
        trained: dict[str, Tensor] = {}
        if self.ema is not None:
            # the model folder has the averages
            trained = {name: value.detach() for name, value in self.model.named_parameters()}
        return {
            "run": json.dumps(self.run.to_dict()),
            "step": self.step,
            "position": {"epoch": epoch, "batch": batch, "images": len(self.images)},
            "seconds": self.elapsed(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "trained": trained,
            "extra": extra_state(self.model),
            "usage": usage_state(self.model),
            "random": random_states,
        }

    def restore(self, folder: Path) -> None:
        """Become what :meth:`writer` saved in ``folder``; random generators last (see :meth:`restore_random`).

        Raises:
            CheckpointError: the checkpoint is damaged, or of another model or data set; the message says what differs.
        """
        config, weights = read_model(folder)
        if found := differences(config, json.loads(json.dumps(self.model.config.to_dict()))):
            raise CheckpointError(f"{folder}: {differences_text(found, 'the checkpoint', 'this run')}")
        state = read_state(folder / STATE_FILE)
        with misfits_named(folder / STATE_FILE):
            self._check_position(folder, state["position"])
            load_weights(self.model, {**weights, **state["trained"]}, folder)
            if state["extra"]:
                self.model.load_state_dict(state["extra"], strict=False)
            self.optimizer.load_state_dict(state["optimizer"])
            if self.accelerator.scaler is not None and state["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            if self.ema is not None:
                self.ema.load_state_dict(state["ema"])
            load_usage_state(self.model, state["usage"])
            self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]

    def restore_random(self, folder: Path) -> None:
        """Put this process's random generators where they were; the last thing before the step, lest others draw."""
        with misfits_named(folder / STATE_FILE):
            states = read_state(folder / STATE_FILE)["random"]
            if len(states) != self.accelerator.num_processes:
                raise CheckpointError(
                    f"{folder}: saved by {len(states)} processes, resumed by {self.accelerator.num_processes}"
                )
            restore_random_state(states[self.accelerator.process_index])

    def _check_position(self, folder: Path, position: dict[str, int]) -> None:
        if position["images"] != len(self.images):
            raise CheckpointError(
                f"{folder}: saved while training on {position['images']} images, "
                f"{self.images.name} now has {len(self.images)}"
            )


def start_session(run: RunConfig, accelerator: Accelerator) -> Session:
    """Load the data, build the model, and get everything ready for step 0; nothing is written.

    Raises:
        ArgumentError, ArgumentTypeError: the config cannot be used, with these data or at all.
        DataError: the data cannot be read.
    """
    train = run.train
    images, valid = run.data.load("train"), run.data.load("valid")
    if valid.spec != images.spec:
        raise bad_value("data.source", f"a valid split like the train split, {images.spec}", valid.spec)
    if run.model.spec not in (None, images.spec):
        raise bad_value("model.spec", f"that of the data, {images.spec}", run.model.spec)
    seed_all(train.seed)
    model = build_model(replace(run.model, spec=images.spec)).to(accelerator.device).train()
    seed_all(train.seed + accelerator.process_index)
    weights = [value for value in model.parameters() if value.requires_grad]
    optimizer = OPTIMIZERS[train.optimizer](weights, lr=train.lr, weight_decay=train.weight_decay)
    with warnings.catch_warnings():
        # Accelerate has no other name yet for what torch now calls forward_sync_buffers
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        wrapped, prepared = accelerator.prepare(model, optimizer)
    session = Session(
        run=run,
        accelerator=accelerator,
        model=model,
        wrapped=wrapped,
        optimizer=prepared,
        ema=None if train.ema_decay is None else WeightsEMA(model, train.ema_decay),
        images=images,
        valid=valid,
        criterion=reconstruction_loss(train.reconstruction, images),
        steps_per_epoch=1,
        total=None,
    )
    session.steps_per_epoch = session.sampler().steps_per_epoch
    session.total = train.total_steps(session.steps_per_epoch)
    return session
