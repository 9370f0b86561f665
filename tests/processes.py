"""The command line as a process of its own, started as a shell starts it, with all that comes of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = "SLMX_TEST"


class Command:
    """`slmx` with these arguments, in a process group of its own; `terminal`: in front of one.

    `beside`: where Python looks for modules besides.
    """

    def __init__(self, *arguments: object, terminal: bool = False, cwd: Path | None = None, beside: Path | None = None):
        self.mark = uuid.uuid4().hex
        self._master, slave = pty.openpty() if terminal else (None, None)
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if terminal:
            streams = {"stdin": slave, "stdout": slave, "stderr": slave}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "slmx", *map(str, arguments)],
            text=True, cwd=cwd, start_new_session=not terminal, preexec_fn=_lead if terminal else None,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, filter(None, (ROOT, beside)))), MARK: self.mark},
            **streams,
        )  # fmt: skip
        if slave is not None:
            os.close(slave)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait while the command runs until something is so."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until and self.process.poll() is None, self.process.poll()
            time.sleep(0.1)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, as a terminal does at Ctrl-C, and `timeout` does with SIGTERM."""
        os.killpg(self.process.pid, number)

    def hang_up(self) -> None:
        """Close the terminal."""
        assert self._master is not None
        os.close(self._master)
        self._master = None

    def end(self, seconds: float = 60) -> tuple[int, str, str]:
        """Its exit code and what it printed; nothing where it had a terminal."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out or "", err or ""

    def gone(self, number: signal.Signals, seconds: float = 20) -> None:
        """Send a signal likewise, and wait until nothing is left of the command and of all that came of it."""
        self.tell(number)
        self.process.wait(60)
        until = time.monotonic() + seconds
        while alive(self.mark):
            assert time.monotonic() < until, alive(self.mark)
            time.sleep(0.1)

    def alive(self) -> dict[int, dict[str, str]]:
        """All processes that came of it and still are, with their environments."""
        return alive(self.mark)


@contextlib.contextmanager
def running(
    *arguments: object, terminal: bool = False, cwd: Path | None = None, beside: Path | None = None
) -> Iterator[Command]:
    """Such a command while this lasts; then nothing of it is left."""
    command = Command(*arguments, terminal=terminal, cwd=cwd, beside=beside)
    try:
        yield command
    finally:
        kill(command.mark)
        command.process.communicate()


def alive(mark: str) -> dict[int, dict[str, str]]:
    """All processes that have this mark, with their environments."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            written = (place / "environ").read_bytes().decode(errors="replace").split("\0")
            environment = dict(line.partition("=")[::2] for line in written)
            if environment.get(MARK) == mark:
                found[int(place.name)] = environment
    return found


def kill(mark: str) -> None:
    """End all processes that have this mark."""
    for pid in alive(mark):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _lead() -> None:
    """Take the standard input for one's terminal."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
