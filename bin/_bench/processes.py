"""A command and all the processes that come of it: how long it takes, and how much memory they hold together."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

EVERY = 0.25  # seconds between two looks at /proc
PAGE = resource.getpagesize()


@dataclass
class Family:
    """A process, what descends from it, and what shares a session with any of them, also when its parent has gone.

    `peak`: the most bytes that all of them held in memory at one time; pages that several share count in each.
    `first_peak`: the most that the first process held.
    """

    pid: int
    peak: int = 0
    first_peak: int = 0
    _known: set[tuple[int, int]] = field(default_factory=set)
    _sessions: set[int] = field(default_factory=set)

    def look(self) -> None:
        """Take notice of who is there now, and of how much they hold."""
        stats = {pid: stat for pid in running() if (stat := read_stat(pid))}
        members = {pid for pid, stat in stats.items() if (pid, stat.started) in self._known} | {self.pid}
        grown = True
        while grown:
            before = len(members)
            self._sessions |= {stats[pid].session for pid in members if pid in stats}
            for pid, stat in stats.items():
                if stat.parent in members or stat.session in self._sessions:
                    members.add(pid)
            grown = len(members) > before
        held = {pid: stats[pid].resident for pid in members if pid in stats}
        self._known = {(pid, stats[pid].started) for pid in held}
        self.peak = max(self.peak, sum(held.values()))
        self.first_peak = max(self.first_peak, held.get(self.pid, 0))


@dataclass(frozen=True)
class Stat:
    """What /proc says of a process: its parent, its session, when it started, the bytes it holds in memory."""

    parent: int
    session: int
    started: int
    resident: int


def running() -> list[int]:
    """The processes of this machine; none where there is no /proc."""
    try:
        return [int(place.name) for place in Path("/proc").iterdir() if place.name.isdecimal()]
    except FileNotFoundError:
        return []


def read_stat(pid: int) -> Stat | None:
    """One process; None where it has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # a name may hold anything, spaces too
    return Stat(int(fields[1]), int(fields[3]), int(fields[19]), int(fields[21]) * PAGE)


@dataclass(frozen=True)
class Use:
    """What a command took: seconds of wall-clock time, most bytes of all its processes together and of its first."""

    seconds: float
    peak: int
    first_peak: int
    output: str


def run_watched(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> Use:
    """Run a command in a session of its own and watch what comes of it; end the bench where it fails.

    `env`: variables besides those that there are.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=os.environ | (env or {}), stdout=out, stderr=err, text=True, start_new_session=True
        )
        family, over = Family(process.pid), threading.Event()

        def watch() -> None:
            while not over.wait(EVERY):
                family.look()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            code = process.wait()
            seconds = time.perf_counter() - start
        finally:
            over.set()
            watcher.join()
            if process.poll() is None:
                process.terminate()
        out.seek(0)
        err.seek(0)
        if code:
            sys.exit(f"{' '.join(command)}\n{out.read()}{err.read()}")
        return Use(seconds, family.peak, family.first_peak, out.read())


def on_cores(count: int) -> list[str]:
    """What to put before a command that may use so many cores."""
    if sys.platform != "linux":
        return []
    cores = sorted(os.sched_getaffinity(0))[-count:]
    return ["taskset", "--cpu-list", ",".join(map(str, cores))]
