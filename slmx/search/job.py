"""One program of a search, trained in slices wherever it runs. Knows no ray: an order comes in, progress goes out."""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmx import checkpoint
from slmx.camera import filming
from slmx.errors import WriteError
from slmx.lazy import loading
from slmx.lock import join
from slmx.record import Records
from slmx.search.journal import ENDED, Ended, read_ended, write_ended
from slmx.storage import Store
from slmx.whole import whole

if TYPE_CHECKING:
    from slmx.camera import Camera
    from slmx.search.scheduler import Scheduler

SLICE_SECONDS = 0.5  # of training between two signs of life


@dataclass(frozen=True)
class Order:
    """What a program is to train: plain values, for they travel.

    `trials`: number and spec (as `dump` writes it) of each; `path`: where the sender's modules are found. For whoever
    schedules the search: `domains` of the searched keys, and at each rung the scores that are `known`. `storage`: the
    URI by which files come and go where the directory is the sender's alone.
    """

    directory: str
    trials: list[tuple[int, dict[str, Any]]]
    path: list[str]
    domains: list[dict[str, Any]] = field(default_factory=list)
    known: list[list[float | None]] = field(default_factory=list)
    storage: str | None = None


class Job:
    """Trains the trials of an order as one program; each records itself in its own directory.

    It is saved between two epochs, and goes on from there when the same order comes again. Where a program of several
    trials breaks, its halves are trained one after the other, and so on: a setting that breaks its program fails alone,
    and one that needs too much memory gets it.
    """

    def __init__(self, order: Order):
        self.run, self.order = Path(order.directory), order
        self.over = False
        self._away = Away(order) if order.storage else None
        if self._away:
            self.run = self._away.folder
        self._lock = join(self.run)
        known = read_ended(self.run)
        self._ended = [known[trial] for trial, _ in order.trials if trial in known]
        left = [(trial, spec) for trial, spec in order.trials if trial not in known]
        self._waiting = [left] if left else []
        self._trials: list[tuple[int, dict[str, Any]]] = []
        self._rows: Iterator[bool] | None = None
        self._program: Any = None
        self._records: Records | None = None
        self._scheduler: Scheduler | None = None
        self._filming = contextlib.ExitStack()
        self._camera: Camera | None = None
        self._frames = 0  # of programs that are over

    def advance(self) -> list[Ended] | None:
        """Train for a slice. When all trials have ended, how each did, in their order; until then None.

        What breaks the program of a single trial is its end as FAILED, with the reason and `error.txt`; but WriteError
        or StorageError where nothing can be written, which is no fault of a trial's.
        """
        ended = self._advance()
        if self._away and ended is None:
            self._away.send()
        elif self._away:
            self._away.close()
        return ended

    def _advance(self) -> list[Ended] | None:
        try:
            if self._rows is None:
                if not self._waiting:  # an earlier worker died when all was done but said
                    return self._end()
                self._trials = self._waiting.pop(0)
                self._rows = self._begin()
            elif self._scheduler:
                self._scheduler.told = {}
            assert self._records is not None
            until = time.perf_counter() + SLICE_SECONDS
            for epoch_ends in self._rows:
                if epoch_ends:
                    if self._scheduler and not self._scheduler.meet(self._program, self._records):
                        break
                    checkpoint.save(self._place, self._program, self._records)
                if self._told or time.perf_counter() >= until:
                    return None
            self._records.close(self._program, finished=True)
            if self._camera:
                self._camera.finish()
            self._keep([judge(self.run, trial) for trial, _ in self._trials])
        except WriteError:
            self._close()
            raise
        except Exception as error:
            self._break(error)
        self._filming.close()
        self._frames = self.progress["frames"]
        self._rows = self._program = self._records = None
        return None if self._waiting else self._end()

    @property
    def progress(self) -> dict[str, Any]:
        """Frames of all members together, the mean of their moving averages (None before an episode ended)."""
        if self._program is None or self._records is None:
            return {"frames": self._frames, "mean": None}
        means = self._records.means
        frames = self._frames + self._program.spent
        return {"frames": frames, "mean": sum(means) / len(means) if means else None, **self._told}

    @property
    def _told(self) -> dict[str, float]:
        """What is reported where the training waits for a decision on it, which is saved by then; else nothing."""
        return self._scheduler.told if self._scheduler else {}

    def stop(self) -> None:
        """Leave the training where it is: models and states are saved as those of stopped sessions."""
        if self._rows is not None:
            self._leave()
        self._lock.close()
        if self._away:
            self._away.close()

    def _leave(self) -> None:
        assert self._rows is not None
        self._close()
        assert self._records is not None
        if not self._told:  # else whoever was told says how it ends
            self._records.close(self._program, finished=False)

    def _close(self) -> None:
        """Close the environments: the training ends here."""
        self.over = True
        self._filming.close()
        if self._rows is not None:
            self._rows.close()  # type: ignore[attr-defined]  # it is a generator
        self._rows = None

    def _end(self) -> list[Ended]:
        self.over = True
        self._lock.close()
        return sorted(self._ended, key=lambda ended: ended.trial)

    @property
    def _place(self) -> Path:
        """Where the checkpoint of the program lies."""
        return checkpoint.place(self.run, self._trials[0][0])

    def _begin(self) -> Iterator[bool]:
        sys.path += [place for place in self.order.path if place not in sys.path]
        with loading():
            from slmx.search.scheduler import scheduler_of
            from slmx.session import Program, Session
            from slmx.spec.dump import restore
            from slmx.spec.search_space import Domain

        sessions = []
        for trial, raw in self._trials:
            spec = restore(raw)
            sessions += [Session(spec, trial, index) for index in range(spec.meta.max_session)]
        domains = [Domain(**{**raw, "args": tuple(raw["args"])}) for raw in self.order.domains]
        self._scheduler = scheduler_of(sessions[0].spec, domains, self.order.known)
        pauses = self._scheduler.pauses() if self._scheduler else ()
        with loading():  # torch and the environments
            self._program = program = Program(sessions, pauses=pauses)
        video = sessions[0].spec.meta.video
        places = [self.run / f"trial_{trial}" for trial, _ in self._trials]
        self._camera = self._filming.enter_context(filming(video if video and video.search else None, places))
        record = lambda left: Records(self.run, sessions, left, self._camera)
        self._records = program.watcher = checkpoint.resume(self._place, program, record)
        self._records.open_ports(program)
        if self._scheduler:
            self._scheduler.begin(program, self._records)
        return program.rows()

    def _keep(self, ended: list[Ended]) -> None:
        """What trials came to that were trained together is on the disk before it is believed."""
        write_ended(self.run, ended)
        checkpoint.remove(self._place)
        self._ended += ended

    def _break(self, error: Exception) -> None:
        if len(self._trials) > 1:
            middle = len(self._trials) // 2
            self._waiting = [self._trials[:middle], self._trials[middle:], *self._waiting]
            checkpoint.remove(self._place)
            return
        ((trial, _),) = self._trials
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
        with whole(self.run / f"trial_{trial}" / "error.txt") as file:
            file.write("".join(traceback.format_exception(error)))
        if self._records is not None:
            self._records.fail_all(reason)
        self._keep([Ended(trial, "FAILED", reason)])


class Away:
    """A folder of a worker's own for the trials of an order whose directory is on another machine."""

    def __init__(self, order: Order):
        assert order.storage is not None
        self._home = tempfile.TemporaryDirectory(prefix="slmx", ignore_cleanup_errors=True)
        self._store = Store.at(order.storage, Path(self._home.name))
        self.folder = self._store.folder
        self.folder.mkdir()
        trials = [trial for trial, _ in order.trials]
        self._parts = [*(self.folder / f"trial_{trial}" for trial in trials), self.folder / ENDED]
        self._parts += [checkpoint.place(self.folder, trial) for trial in trials]
        self._store.pull(*self._parts)

    def send(self) -> None:
        """Copy what is new to where the others find it."""
        self._store.push(*self._parts)

    def close(self) -> None:
        """Send all, and remove the folder."""
        if self.folder.exists():
            self.send()
            self._home.cleanup()


def judge(run: Path, number: int) -> Ended:
    """How a trial ended that is over, from what it left; its trial.csv is written."""
    from slmx.analysis.files import TrialFiles
    from slmx.analysis.objective import further_objectives
    from slmx.analysis.rungs import rung_scores
    from slmx.analysis.trial import write_trial

    trial = TrialFiles(run / f"trial_{number}")
    _, row = write_trial(trial)
    rungs = rung_scores(trial.directory)
    if row["state"] == "DONE" and math.isfinite(row["objective"]):
        others = [row[column] if math.isfinite(row[column]) else None for column in further_objectives(trial)]
        return Ended(number, "DONE", score=row["objective"], rungs=rungs, others=others, row=row)
    culled = row["state"] == "CULLED"
    reasons = dict.fromkeys(session.reason for session in trial.sessions if session.failed is not culled)
    why = "; ".join(reasons) or "its objective is not a number"
    return Ended(number, "CULLED" if culled else "FAILED", why, rungs=rungs, row=row)
