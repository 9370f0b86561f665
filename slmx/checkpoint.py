"""A program on disk between two epochs: written whole, and read whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar, cast

from slmx.errors import SlmxError, WriteError
from slmx.lazy import torch
from slmx.session import Program
from slmx.whole import whole, writing

FOLDER = "checkpoint"
DIGEST = hashlib.sha256().digest_size
PART = 1 << 20  # bytes that are read at once


class Recording(Protocol):
    """Whoever writes a program's tables."""

    def state(self) -> Any: ...


R = TypeVar("R", bound=Recording)


def place(run: Path, trial: int) -> Path:
    """Where the checkpoint lies of the program whose first trial this is."""
    return run / FOLDER / f"program_{trial}.pt"


def save(path: Path, program: Program, recording: Recording) -> None:
    """Save a program between two epochs, and its tables; `resume` finds this checkpoint or the one before it."""
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    with whole(path, "wb", sync=True) as file:
        signed = _Signed(file)
        content = {"began": program.began, "program": program.state(), "record": recording.state()}
        torch.save(content, cast(IO[bytes], signed))  # it does nothing but write
        file.write(signed.digest())
    _sync(path.parent)


def resume(path: Path, program: Program, record: Callable[[Any], R]) -> R:
    """Let a program go on from its checkpoint; or begin, where there is none that is whole and its own.

    `record(left)` makes its recording, which goes on from what an earlier one's `state` gave, or is new (None); it may
    raise SlmxError where the tables are not what they were. Returns the recording. WriteError where they cannot be
    written: there the checkpoint stays as it is.
    """
    left = _load(path)
    if left is not None and left["began"] == program.began:
        try:
            recording = record(left["record"])
        except WriteError:  # a full disk damages nothing
            raise
        except SlmxError:  # then all of it is trained again, and comes out the same
            return record(None)
        program.restore(left["program"])
        return recording
    return record(None)


def _load(path: Path) -> dict[str, Any] | None:
    """What `save` wrote; None where there is nothing whole, or nothing that this version of the code can take over."""
    try:
        with path.open("rb") as file:
            digest, left = hashlib.sha256(), path.stat().st_size - DIGEST
            while left > 0:
                digest.update(part := file.read(min(left, PART)))
                left -= len(part) or left  # a file that has become shorter ends, too
            if file.read() != digest.digest():
                return None
    except OSError:
        return None
    try:
        # mapped, so that of what is large nothing is in main memory twice; where there is no room for that it raises,
        # for what is whole is not to be trained again
        return torch.load(path, weights_only=False, mmap=True)
    except (pickle.UnpicklingError, AttributeError, ImportError, TypeError, ValueError):
        return None


class _Signed:
    """A file that is written from its beginning to its end, and the digest of that; nothing of it waits in memory."""

    def __init__(self, file: IO[bytes]):
        self._file, self._hash = file, hashlib.sha256()

    def write(self, part: bytes) -> int:
        self._hash.update(part)
        return self._file.write(part)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> bytes:
        return self._hash.digest()


def remove(path: Path) -> None:
    """Forget a checkpoint."""
    path.unlink(missing_ok=True)


def tidy(run: Path) -> None:
    """Take away the folder of checkpoints that has none left. Nobody may be about to save one there."""
    with contextlib.suppress(OSError):  # there are some, or there is no folder
        (run / FOLDER).rmdir()


def _sync(directory: Path) -> None:
    """Wait until the disk has the names in a directory."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
