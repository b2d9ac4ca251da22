from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Stopped(SystemExit):
    """Training was asked to stop, and did so between two steps, with everything saved.

    Left alone it ends the process with the shell's exit code for the signal: 130 for Ctrl-C, 143 for SIGTERM.

    Attributes:
        signal: the signal's number.
        step: the step the run can be continued from.
        checkpoint: the folder it is saved in.
    """

    def __init__(self, signal_number: int, step: int, checkpoint: Path):
        super().__init__(128 + signal_number)
        self.signal, self.step, self.checkpoint = signal_number, step, checkpoint

    def __str__(self) -> str:
        name = signal.Signals(self.signal).name
        return f"stopped by {name} after step {self.step}; saved in {self.checkpoint}; resume it to go on"


class StopRequest:
    """Whether a signal to stop has come.

    Attributes:
        signal: its number, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within, SIGTERM and the first Ctrl-C are noted instead of obeyed; a second one has its usual effect.

    Outside the main thread Python delivers no signals, so nothing is noted there.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        request.signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()


def ignore_interrupts(worker: int) -> None:
    """For data workers: Ctrl-C reaches the whole process group, and the step in hand still needs its images."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
