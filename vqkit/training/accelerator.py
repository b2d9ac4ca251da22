"""Hugging Face Accelerate: devices, processes, mixed precision and trackers are its job."""

from __future__ import annotations

import atexit
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from vqkit.errors import MissingExtraError, bad_value
from vqkit.shapes import check_choice
from vqkit.training.train_config import TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(config: TrainConfig, folder: Path) -> Accelerator:
    """An accelerator for this process, logging into ``folder``.

    Raises:
        ArgumentError: a tracker Accelerate does not know, or a precision the device has not.
        MissingExtraError: ``accelerate``, or the package of a tracker, is not installed.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState
    except ImportError as error:
        raise MissingExtraError("accelerate", "train") from error
    check_trackers(config.trackers)
    # Accelerate keeps one state a process; a second run in it may want another precision
    AcceleratorState._reset_state()
    there = dist.is_available() and dist.is_initialized()
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        # asked for where nothing else is there, too: left alone Accelerate starts no group of CPUs, and each process
        # would train alone and write the same files
        cpu=config.device == "cpu" or not torch.accelerator.is_available(),
        log_with=list(config.trackers) or None,
        project_dir=str(folder),
        # codebooks keep their ranks alike by themselves, and their buffers must not be overwritten by the first's
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if config.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        # Accelerate would train in float32 and say nothing
        raise bad_value("train.mixed_precision", "'no' or 'bf16' on a CPU", "'fp16'")
    if not there and dist.is_available() and dist.is_initialized():
        atexit.register(leave_process_group)
    return accelerator


def leave_process_group() -> None:
    """Take down the process group when the interpreter ends."""
    if dist.is_initialized():
        dist.destroy_process_group()
        # gloo's threads abort a process that ends within milliseconds of a collective (seen with torch 2.13)
        time.sleep(0.2)


def check_trackers(names: tuple[str, ...]) -> None:
    """Refuse trackers that Accelerate would leave out without a word: unknown, or not installed."""
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import LoggerType

    known = sorted(kind.value for kind in LoggerType if kind is not LoggerType.ALL)
    there = {kind.value for kind in get_available_trackers()}
    for name in names:
        check_choice("train.trackers", name, known)
        if name not in there:
            raise MissingExtraError(name, "train")


def start_trackers(accelerator: Accelerator, config: TrainConfig, after: int) -> None:
    """Begin logging; TensorBoard forgets what a run wrote past the step it is continued from."""
    options = {"tensorboard": {"purge_step": after + 1}} if after and "tensorboard" in config.trackers else {}
    # TensorBoard's folder is named after the project
    accelerator.init_trackers("tensorboard", init_kwargs=options)
