from __future__ import annotations

from dataclasses import dataclass

from vqkit.errors import bad_type, bad_value
from vqkit.shapes import check_choice, check_int, check_number

OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("constant", "cosine")
RECONSTRUCTIONS = ("mse", "mse/variance", "l1")
PRECISIONS = ("no", "fp16", "bf16")
# What may change between a run and its continuation: when it ends, and what is written down on the way.
BOOKKEEPING = (
    "steps", "epochs", "seconds", "log_every", "eval_every", "checkpoint_every", "keep_last", "workers", "trackers",
)  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    The budget is ``steps``, ``epochs`` or ``seconds``; seconds beside one of the others is an upper bound.

    Args:
        steps: optimizer steps.
        epochs: passes over the training images, each of whole batches only.
        seconds: time spent training, over all continuations of the run.
        batch_size: images a step, over all processes and micro-batches: results do not depend on how it is split.
        accumulate: micro-batches a step.
        reconstruction: "mse"; "mse/variance", divided by the variance of the training images; or "l1".
        optimizer: "adam" or "adamw".
        lr: learning rate.
        weight_decay: as the optimizer defines it.
        schedule: "constant", or "cosine" down to zero at the end of the budget.
        warmup_steps: steps over which the learning rate rises linearly from zero.
        clip_norm: largest norm of the gradient over all weights; None leaves it.
        ema_decay: weights are also averaged with this decay, and the averages are what is evaluated and saved;
            None trains without.
        mixed_precision: "no", "fp16" or "bf16".
        device: "auto" takes what Accelerate finds, "cpu" stays on the CPU.
        seed: of the initial weights, the order of the images, and everything random in training.
        log_every, eval_every, checkpoint_every: in steps; the last step always counts.
        keep_last: how many of the newest checkpoints are kept, besides the best.
        workers: processes that read images; 0 reads them in the training process.
        trackers: names of Accelerate's trackers, "tensorboard" among them.

    Raises:
        ArgumentError, ArgumentTypeError: naming the field that cannot be used.
    """

    steps: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    batch_size: int = 128
    accumulate: int = 1
    reconstruction: str = "mse"
    optimizer: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    clip_norm: float | None = None
    ema_decay: float | None = None
    mixed_precision: str = "no"
    device: str = "auto"
    seed: int = 0
    log_every: int = 20
    eval_every: int = 500
    checkpoint_every: int = 500
    keep_last: int = 2
    workers: int = 0
    trackers: tuple[str, ...] = ("tensorboard",)

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "log_every", "eval_every", "checkpoint_every", "keep_last"):
            check_int(f"train.{name}", getattr(self, name))
        for name in ("warmup_steps", "workers", "seed"):
            check_int(f"train.{name}", getattr(self, name), minimum=0)
        check_number("train.lr", self.lr, 0, open_low=True)
        check_number("train.weight_decay", self.weight_decay, 0)
        for name, choices in (
            ("reconstruction", RECONSTRUCTIONS),
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("mixed_precision", PRECISIONS),
            ("device", ("auto", "cpu")),
        ):
            check_choice(f"train.{name}", getattr(self, name), choices)
        self._check_optional()
        self._check_together()

    def _check_optional(self) -> None:
        for name in ("steps", "epochs"):
            if getattr(self, name) is not None:
                check_int(f"train.{name}", getattr(self, name))
        for name in ("seconds", "clip_norm"):
            if getattr(self, name) is not None:
                check_number(f"train.{name}", getattr(self, name), 0, open_low=True)
        if self.ema_decay is not None:
            check_number("train.ema_decay", self.ema_decay, 0, 1)
        if not isinstance(self.trackers, (list, tuple)) or not all(isinstance(name, str) for name in self.trackers):
            raise bad_type("train.trackers", "a list of names, such as ['tensorboard']", self.trackers)
        object.__setattr__(self, "trackers", tuple(self.trackers))

    def _check_together(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise bad_value("train.steps, train.epochs", "one of them", f"steps={self.steps} and epochs={self.epochs}")
        if self.batch_size % self.accumulate:
            raise bad_value(
                "train.batch_size", f"a multiple of the {self.accumulate} micro-batches a step", self.batch_size
            )
        if self.schedule == "cosine" and self.steps is None and self.epochs is None and self.seconds is not None:
            raise bad_value("train.schedule", "'constant' when only seconds bound the run", "'cosine'")

    def total_steps(self, steps_per_epoch: int) -> int | None:
        """The step the run ends at, or None when only ``seconds`` ends it.

        Raises:
            ArgumentError: there is no budget at all.

        Examples:
            >>> TrainConfig(epochs=5).total_steps(steps_per_epoch=468)
            2340
        """
        if self.steps is not None:
            return self.steps
        if self.epochs is not None:
            return self.epochs * steps_per_epoch
        if self.seconds is None:
            raise bad_value("train.steps", "a budget: steps, epochs or seconds", "none of them")
        return None
