"""Writing files: whole or not at all, and what is said where it cannot be done."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

from slmx.errors import WriteError

AT_ONCE = 4
"""Files that are waited for together: a file system's journal takes them in at once, on a slow disk in a fifth of the
time. Fewer than twice as many are not worth the threads."""

T = TypeVar("T")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """WriteError where what is written meanwhile, at this path, cannot be."""
    try:
        yield
    except OSError as error:
        raise WriteError(path, error) from error


@contextlib.contextmanager
def resumable(run: Path) -> Iterator[None]:
    """Say how to go on with a run that ends because something cannot be written."""
    try:
        yield
    except WriteError as error:
        raise WriteError(error.path, error.error, f"once that is mended, go on with: slmx resume {run}") from error


@contextlib.contextmanager
def whole(path: Path, mode: str = "w", sync: bool = False) -> Iterator[IO[Any]]:
    """A file that takes the place of the one at `path` at the end: a reader sees the old one or the new one.

    `mode`: "w" for text, whose line ends stay as they are, or "wb". `sync`: wait until the disk has it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with writing(path):
            with temporary.open(mode, newline=None if "b" in mode else "") as file:
                yield file
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, sync: bool = False) -> None:
    """Write a JSON file whole. `sync`: wait until the disk has it."""
    with whole(path, sync=sync) as file:
        file.write(json.dumps(value, indent=2) + "\n")


def together(write: Callable[[T], None], each: Iterable[T]) -> None:
    """Write each of several files that are waited for until the disk has them. Raises what the first of them raised."""
    waiting = list(each)
    if len(waiting) < 2 * AT_ONCE:
        for one in waiting:
            write(one)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(write, waiting):
            pass
