"""Who may write in a run's directory: one process that runs it, and its workers.

Locks are held on files that lie there anyway and are never replaced, and end with the process that holds them, whatever
ends it.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from slmx.errors import SlmxError
from slmx.whole import writing

PATIENCE = 30.0  # seconds in which the workers of a killed run come to their end


@contextlib.contextmanager
def owning(directory: Path, held: str = "spec.json") -> Iterator[None]:
    """Be the one process that runs this directory, while this lasts.

    `held`: the file that the lock is on. Waits for workers that a killed run has left; SlmxError where another process
    runs it.
    """
    with _opened(directory / held) as own:
        if not _locked(own):
            raise SlmxError(f"{directory}: another process is running this")
        if (directory / "journal.jsonl").exists():
            _wait_for_workers(directory)
        yield


def join(directory: Path) -> IO[str]:
    """Be one of the workers, as long as the file that this returns is open."""
    workers = _opened(directory / "journal.jsonl")
    fcntl.flock(workers, fcntl.LOCK_SH)
    return workers


def _wait_for_workers(directory: Path) -> None:
    with _opened(directory / "journal.jsonl") as workers:
        until = time.monotonic() + PATIENCE
        while not _locked(workers):
            if time.monotonic() > until:
                raise SlmxError(f"{directory}: workers of an earlier run are still writing here")
            time.sleep(0.2)


def _opened(path: Path) -> IO[str]:
    with writing(path):
        return path.open("a")


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
