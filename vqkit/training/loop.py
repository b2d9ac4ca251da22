"""The training loop."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vqkit.codebook import accumulating
from vqkit.distributed import summed
from vqkit.models import VQVAE
from vqkit.training.accelerator import make_accelerator, start_trackers
from vqkit.training.checkpoint import Checkpoints
from vqkit.training.code_counts import code_counts, usage_and_perplexity
from vqkit.training.config import RunConfig
from vqkit.training.evaluate import evaluate
from vqkit.training.reporting import Reporter
from vqkit.training.run_folder import RunFolder
from vqkit.training.schedule import learning_rate
from vqkit.training.session import Session, start_session
from vqkit.training.signals import Stopped, StopRequest, ignore_interrupts, stop_requests


def train(
    run: RunConfig, out_dir: str | Path, *, resume: bool = False, overwrite: bool = False, progress: bool = True
) -> VQVAE:
    """Train a model, and leave config, metrics, checkpoints, the model and pictures in a folder.

    Seeds the global random generators of Python, NumPy and torch. A run that was stopped or killed and then resumed
    gives, on a CPU, the same weights bit for bit as one that was not.

    Args:
        run: what to train on what, and how.
        out_dir: a new or empty folder, unless one of the next two is given.
        resume: continue the run in ``out_dir`` from its newest checkpoint (from the start if it had not come to one).
        overwrite: throw away the run that is in ``out_dir``.
        progress: draw a progress bar.

    Returns:
        The trained model, in eval mode; with ``train.ema_decay``, its averaged weights.

    Raises:
        ArgumentError, ArgumentTypeError: the run or the folder cannot be used.
        CheckpointError: there is no such run to resume, or a checkpoint cannot be read or written.
        DataError: the data cannot be read.
        NonFiniteError: the loss or a weight went to infinity or NaN; the checkpoints before are as they were.
        MissingExtraError: a package of the extra ``train`` is not installed.
        Stopped: SIGTERM or Ctrl-C came; the step was finished and a checkpoint saved.

    Examples:
        >>> import tempfile
        >>> from vqkit.training import presets
        >>> run = presets.get("digits").override(["train.steps=1", "train.batch_size=8"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model = train(run, Path(folder, "run"), progress=False)
        ...     sorted(path.name for path in Path(folder, "run").iterdir())
        ['checkpoints', 'config.json', 'metrics.jsonl', 'model', 'pictures', 'tensorboard']
    """
    folder = RunFolder(out_dir)
    folder.check(run, resume=resume, overwrite=overwrite)
    accelerator = make_accelerator(run.train, folder.path)
    session = start_session(run, accelerator)
    # until all have looked at the folder, none may change it
    accelerator.wait_for_everyone()
    checkpoints = Checkpoints(folder.checkpoints, run.train.keep_last)
    if accelerator.is_main_process:
        folder.open(run, overwrite=overwrite)
    accelerator.wait_for_everyone()
    newest = checkpoints.latest() if resume else None
    if newest is not None:
        session.restore(newest)
    start_trackers(accelerator, run.train, session.step)
    reporter = Reporter(session, folder, progress=progress)
    try:
        batches = iter(image_batches(session))
        if newest is not None:
            session.restore_random(newest)
        with stop_requests() as request:
            run_steps(session, batches, reporter, checkpoints, request)
    finally:
        reporter.close()
    return finish(session, folder)


def run_steps(
    session: Session, batches: Iterator[Tensor], reporter: Reporter, checkpoints: Checkpoints, request: StopRequest
) -> None:
    """Take steps until the budget is spent or a signal comes; report, validate and save when it is time to."""
    config = session.run.train
    session.start_clock()
    finished = session.all_steps_taken() or session.out_of_time()
    while not finished:
        lr = learning_rate(config, session.step, session.total)
        take_step(session, batches, reporter, lr)
        session.step += 1
        reporter.bar.update()
        signal, out_of_time = agreed(session, request.signal, session.out_of_time())
        finished = session.all_steps_taken() or bool(out_of_time)
        validating = finished or session.step % config.eval_every == 0
        saving = finished or signal or session.step % config.checkpoint_every == 0
        if validating or saving or session.step % config.log_every == 0:
            reporter.train(lr)
        improved = validating and validate(session, reporter)
        if saving or improved:
            save(session, checkpoints, best=improved)
        if signal and not finished:
            stopped = Stopped(signal, session.step, checkpoints.path(session.step))
            if session.accelerator.is_main_process:
                print(f"\n{stopped}", file=sys.stderr)
            raise stopped


def take_step(session: Session, batches: Iterator[Tensor], reporter: Reporter, lr: float) -> None:
    """One optimizer step on the next batch, micro-batch by micro-batch."""
    accelerator, config = session.accelerator, session.run.train
    losses: list[Tensor] = []
    counts: list[Tensor] = []
    for part in range(config.accumulate):
        unfinished = part < config.accumulate - 1
        # until the last micro-batch, gradients stay in their process and codebooks only gather statistics
        gradients = accelerator.no_sync(session.wrapped) if unfinished else nullcontext()
        x = next(batches).to(accelerator.device, non_blocking=True)
        with gradients, accumulating(session.model, defer=unfinished):
            out = session.wrapped(x)
            reconstruction = session.criterion(out.reconstruction, x)
            loss = reconstruction + out.loss.float()
            accelerator.backward(loss / config.accumulate)
        losses.append(torch.stack([loss.detach(), reconstruction.detach(), out.loss.detach().float()]))
        counts.append(code_counts(session.model.quantizer, out.indices))
    for group in session.optimizer.param_groups:
        group["lr"] = lr
    if config.clip_norm is not None:
        accelerator.clip_grad_norm_(session.model.parameters(), config.clip_norm)
    session.optimizer.step()
    session.optimizer.zero_grad()
    if session.ema is not None:
        session.ema.update(session.model)
    loss, reconstruction, quantizer_loss = torch.stack(losses).mean(0)
    used = usage_and_perplexity(session.model.quantizer, summed([torch.stack(counts).sum(0)])[0])
    reporter.meter.add(session.step + 1, loss, reconstruction, quantizer_loss, *used)


def validate(session: Session, reporter: Reporter) -> bool:
    """Measure the model on the valid split; whether it is the best so far."""
    with session.averaged():
        result = evaluate(
            session.model,
            session.valid,
            session.criterion,
            batch_size=session.run.train.batch_size,
            autocast=session.accelerator.autocast(),
        )
    reporter.valid(result)
    improved = result.mse < session.best
    session.best = min(session.best, result.mse)
    return improved


def save(session: Session, checkpoints: Checkpoints, *, best: bool) -> None:
    """Write a checkpoint of the present step, from the main process."""
    write = session.writer()
    if session.accelerator.is_main_process:
        checkpoints.save(session.step, write, best=best)
    session.accelerator.wait_for_everyone()


def agreed(session: Session, *flags: int) -> list[int]:
    """The largest of each flag over the processes: they must all stop after the same step."""
    if session.accelerator.num_processes == 1:
        return [int(flag) for flag in flags]
    mine = torch.tensor([int(flag) for flag in flags], device=session.accelerator.device)
    return session.accelerator.gather(mine[None]).amax(0).tolist()  # pyright: ignore[reportAttributeAccessIssue]


def image_batches(session: Session) -> DataLoader[Tensor]:
    """The micro-batches of this process, without end."""
    return DataLoader(
        session.images,
        batch_sampler=session.sampler(),
        num_workers=session.run.train.workers,
        pin_memory=session.accelerator.device.type == "cuda",
        worker_init_fn=ignore_interrupts,
        # a generator of its own: making the loader must not move the one the model draws from
        generator=torch.Generator().manual_seed(session.run.train.seed),
    )


def finish(session: Session, folder: RunFolder) -> VQVAE:
    """Write the model and the pictures, and hand the model over."""
    from vqkit.training.pictures import draw_run

    model: VQVAE = session.accelerator.unwrap_model(session.model, keep_fp32_wrapper=False).eval()
    # unwrapping leaves the model's own method behind as an attribute
    vars(model).pop("forward", None)
    if session.ema is not None:
        session.ema.install(model)
    if session.accelerator.is_main_process:
        model.save_pretrained(folder.model)
        draw_run(model, session.run, folder.path)
    session.accelerator.wait_for_everyone()
    return model
