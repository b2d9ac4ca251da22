"""Where a run's figures go, from the main process: the progress bar, ``metrics.jsonl``, and Accelerate's trackers."""

from __future__ import annotations

from typing import Any

from vqkit.errors import MissingExtraError
from vqkit.training.evaluate import Evaluation
from vqkit.training.metrics import MetricsFile, TrainMeter
from vqkit.training.run_folder import RunFolder
from vqkit.training.session import Session


class Reporter:
    """Reports for one session, from its present step on.

    Args:
        session: the run.
        folder: where ``metrics.jsonl`` is; lines past the session's step are dropped.
        progress: whether to draw a bar (on the main process, to standard error).

    Raises:
        MissingExtraError: ``tqdm`` is not installed.
    """

    def __init__(self, session: Session, folder: RunFolder, *, progress: bool):
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise MissingExtraError("tqdm", "train") from error
        self.session, self.meter = session, TrainMeter()
        main = session.accelerator.is_main_process
        self.file = MetricsFile(folder.metrics, after=session.step) if main else None
        self.bar = tqdm(
            total=session.total,
            initial=session.step,
            unit="step",
            dynamic_ncols=True,
            mininterval=0.5,
            disable=not (progress and main),
        )

    def train(self, lr: float) -> None:
        """Write the figures of the steps since the last time.

        Raises:
            NonFiniteError: one of them had an infinite or NaN loss.
        """
        figures = self.meter.flush()
        if not figures:
            return
        s = self.session
        figures |= {
            "window_usage": s.model.quantizer.usage().mean().item(),
            "window_perplexity": s.model.quantizer.perplexity().mean().item(),
            "lr": lr,
            "epoch": s.step / s.steps_per_epoch,
            "seconds": round(s.elapsed(), 3),
        }
        self._write("train", figures)
        self.bar.set_postfix_str(
            f"loss {figures['loss']:.4f} recon {figures['reconstruction']:.4f} "
            f"perplexity {figures['window_perplexity']:.0f} usage {figures['window_usage']:.0%}",
            refresh=False,
        )

    def valid(self, result: Evaluation) -> None:
        """Write what a validation gave, and say it in a line above the bar."""
        self._write("valid", result._asdict())
        if not self.bar.disable:
            self.bar.write(
                f"step {self.session.step}: validation mse {result.mse:.5f}, "
                f"usage {result.dataset_usage:.0%}, perplexity {result.dataset_perplexity:.1f}",
                file=self.bar.fp,
            )

    def _write(self, split: str, figures: dict[str, Any]) -> None:
        step = self.session.step
        if self.file is not None:
            self.file.write({"step": step, "split": split, **figures})
        self.session.accelerator.log({f"{split}/{name}": value for name, value in figures.items()}, step=step)

    def close(self) -> None:
        """Finish the bar and the trackers; the process group, if there is one, stays."""
        self.bar.close()
        for tracker in self.session.accelerator.trackers:
            tracker.finish()
