"""One program of a search, trained in slices wherever it runs. Knows no ray: an order comes in, progress goes out."""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmx.record import Records

SLICE_SECONDS = 0.5  # of training between two signs of life


@dataclass(frozen=True)
class Order:
    """What a program is to train: plain values, for they travel.

    `trials`: number and spec (as `dump` writes it) of each; `path`: where the sender's modules are found.
    """

    directory: str
    trials: list[tuple[int, dict[str, Any]]]
    path: list[str]


@dataclass(frozen=True)
class Ended:
    """How one trial ended: `score` is None unless it is DONE."""

    trial: int
    state: str
    reason: str = ""
    score: float | None = None


class Job:
    """Trains the trials of an order as one program; each records itself in its own directory."""

    def __init__(self, order: Order):
        self.order, self.run = order, Path(order.directory)
        self.over = False
        self._rows: Iterator[None] | None = None
        self._program: Any = None
        self._records: Records | None = None

    def advance(self) -> list[Ended] | None:
        """Train for a slice. At the end of the program: how each trial ended; until then None.

        Whatever breaks the program is the end of its trials as FAILED, with the reason and `error.txt`.
        """
        try:
            if self._rows is None:
                self._rows = self._begin()
            until = time.perf_counter() + SLICE_SECONDS
            for _ in self._rows:
                if time.perf_counter() >= until:
                    return None
            self.over = True
            assert self._records is not None
            self._records.close(self._program, finished=True)
            return [self._judge(trial) for trial, _ in self.order.trials]
        except Exception as error:
            self.over = True
            return self._break(error)

    @property
    def progress(self) -> dict[str, Any]:
        """Frames of all members together, the mean of their moving averages (None before an episode ended)."""
        if self._program is None or self._records is None:
            return {"frames": 0, "mean": None}
        means = self._records.means
        frames = sum(self._program.frames) * self._program.members
        return {"frames": frames, "mean": sum(means) / len(means) if means else None}

    def stop(self) -> None:
        """Leave the training where it is: models and states are saved as those of stopped sessions."""
        if self.over or self._rows is None:
            return
        self.over = True
        self._rows.close()  # type: ignore[attr-defined]  # it is a generator, and closes its environments
        assert self._records is not None
        self._records.close(self._program, finished=False)

    def _begin(self) -> Iterator[None]:
        sys.path += [place for place in self.order.path if place not in sys.path]
        from slmx.session import Program, Session
        from slmx.spec.dump import restore

        sessions = []
        for trial, raw in self.order.trials:
            spec = restore(raw)
            sessions += [Session(spec, trial, index) for index in range(spec.meta.max_session)]
        self._records = Records(self.run, sessions)
        self._program = Program(sessions, self._records)
        self._records.open_ports(self._program)
        return self._program.rows()

    def _judge(self, number: int) -> Ended:
        from slmx.analysis.analyze import analyze_trial
        from slmx.analysis.files import TrialFiles

        trial = TrialFiles(self.run / f"trial_{number}")
        _, row = analyze_trial(trial)
        if row["state"] == "DONE" and math.isfinite(row["objective"]):
            return Ended(number, "DONE", score=row["objective"])
        reasons = dict.fromkeys(session.reason for session in trial.sessions if session.failed)
        return Ended(number, "FAILED", "; ".join(reasons) or "its objective is not a number")

    def _break(self, error: Exception) -> list[Ended]:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
        text = "".join(traceback.format_exception(error))
        for trial, _ in self.order.trials:
            (self.run / f"trial_{trial}" / "error.txt").write_text(text)
        if self._records is not None:
            self._records.fail_all(reason)
        return [Ended(trial, "FAILED", reason) for trial, _ in self.order.trials]
