"""Ends what is left of a Ray whose driver is gone, and removes its folder: a process of its own, `reaper.py FOLDER`.

Ray's agents outlive a driver that was killed by a minute, and its folder stays for good. This process waits for the end
of its standard input, whose other end its parent holds: that comes with the parent's end, whatever kind of end it is.
It needs nothing but Python, so it is started in no time and is small; it lies in a session of its own, so that what
ends its parent leaves it alone.

Ray's processes are known by a mark in their environment, which they inherit from one another and nobody else has, and
workers that lost it by their open files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "SLMX_RAY"  # the environment variable that holds the folder
GRACE = 3.0  # seconds in which processes may end by themselves
PATIENCE = 30.0  # seconds after which a process that cannot be killed is left
LOOK = 0.05  # seconds between two looks
QUIET = 3  # looks that find nothing, for a process between its start and its program is not seen


@contextlib.contextmanager
def reaped(folder: Path) -> Iterator[dict[str, str]]:
    """While this lasts a reaper stands by, and afterwards it has done its work.

    Gives the environment that marks a process as one of those that belong to the folder.
    """
    command = [sys.executable, "-I", "-S", __file__, str(folder)]
    reaper = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield {MARK: str(folder)}
    finally:
        assert reaper.stdin is not None
        reaper.stdin.close()
        reaper.wait()


def marked(folder: str) -> list[int]:
    """The processes whose environment says that they belong to this folder."""
    if Path("/proc/self/environ").exists():
        numbers = (int(place.name) for place in Path("/proc").iterdir() if place.name.isdigit())
        return [pid for pid in numbers if _belongs(pid, folder)]
    try:
        listed = subprocess.run(["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=False)
    except OSError:
        return []  # no way to know
    lines = [line.split() for line in listed.stdout.splitlines()]
    return [int(line[0]) for line in lines if f"{MARK}={folder}" in line]


def end(folder: str) -> None:
    """End all processes that belong to this folder, and remove it."""
    begun, quiet = time.monotonic(), 0
    while quiet < QUIET and (waited := time.monotonic() - begun) < PATIENCE:
        left = marked(folder)
        quiet = 0 if left else quiet + 1
        if waited > GRACE:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK)
    shutil.rmtree(folder, ignore_errors=True)


def _belongs(pid: int, folder: str) -> bool:
    place = Path(f"/proc/{pid}")
    try:
        if f"{MARK}={folder}".encode() in (place / "environ").read_bytes().split(b"\0"):
            return True
        # A worker writes its name over the beginning of its environment; but its output goes to the folder.
        if not (place / "cmdline").read_bytes().startswith(b"ray::"):
            return False
        return any(os.readlink(file).startswith(f"{folder}/") for file in (place / "fd").iterdir())  # noqa: PTH115
    except OSError:  # it ended, or is another user's
        return False


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    end(sys.argv[1])
