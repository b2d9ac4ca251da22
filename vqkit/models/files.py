"""Writing so that a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on leaving, its content is on disk but not yet under its name.

    The caller moves it with :func:`commit`. What was not committed is removed.

    Args:
        target: the path the file will have in the end; its folder must exist.
    """
    handle, name = tempfile.mkstemp(prefix=staged_prefix(target), suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def staged_prefix(target: Path) -> str:
    """How the temporary names of ``target`` begin: a killed process leaves one behind."""
    return f".{target.name}."


def commit(temporary: Path, target: Path) -> None:
    """Give a finished temporary file its name, durably: its bytes first, then the folder's entry."""
    umask = os.umask(0)
    os.umask(umask)
    # mkstemp makes the file private; a result is as readable as any other file of the user
    temporary.chmod(0o666 & ~umask)
    sync(temporary)
    os.replace(temporary, target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no handle on a folder to flush
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(target: Path | str, text: str) -> None:
    """Write a text file atomically, in UTF-8.

    Args:
        target: where to; the folder must exist, an existing file is replaced.
        text: the whole content.

    Raises:
        OSError: the disk is full or the folder cannot be written; ``target`` is then as it was.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(Path(folder, "note.txt"), "kept whole")
        ...     Path(folder, "note.txt").read_text()
        'kept whole'
    """
    target = Path(target)
    with staged(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
        commit(temporary, target)
