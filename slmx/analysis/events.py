"""What TensorBoard shows: the tables of a run as event files, which grow with them.

The tables are the truth, wherever they are written: events are made from them by whoever asks, also after the run, and
made anew when a run is resumed. Each session is a run of TensorBoard of its own, `trial_0/session_1`, so that seeds lie
over one another; `trial_0` has the trial's speed and, of a search, its setting for the HPARAMS page.
"""

from __future__ import annotations

import contextlib
import csv
import math
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmx.alongside import alongside
from slmx.analysis.files import TrialFiles, read_table
from slmx.errors import SlmxError
from slmx.whole import writing

if TYPE_CHECKING:
    import threading

    import pandas as pd
    from tensorboardX.event_file_writer import EventsWriter

HOME = "tensorboard"
SECONDS = 5.0  # between two looks at the tables
KEYS = ("frame", "agent", "env")


@contextlib.contextmanager
def following(directory: Path, asked: bool) -> Iterator[None]:
    """While this lasts write events of a run whenever its tables have grown, if asked to, or if that was begun before.

    What cannot be written is raised at the end, as WriteError: the run itself goes on.
    """
    if not (asked or (directory / HOME).exists()):
        yield
        return

    def follow(over: threading.Event) -> None:
        with Events(directory) as events:
            while not over.wait(SECONDS):
                with contextlib.suppress(FileNotFoundError):  # what is begun anew is not there for a moment
                    events.update()
            events.update(finished=True)

    with alongside(follow, "events"):
        yield


def write_events(directory: Path) -> Path:
    """Write the events of a run as it lies there; where they are. SlmxError where it is no run's directory."""
    if not (directory / "spec.json").exists() or (directory / "sessions.json").exists():
        raise SlmxError(f"{directory}: events are written for a whole run, data/NAME_TIME")
    with Events(directory) as events:
        events.update(finished=True)
    return directory / HOME


class Events:
    """The event files of a run, in its folder `tensorboard`. WriteError where they cannot be written."""

    def __init__(self, directory: Path):
        self.directory, self.home = directory, directory / HOME
        with writing(self.home):
            shutil.rmtree(self.home, ignore_errors=True)
            self.home.mkdir()
        self._tables: dict[Path, _Table] = {}
        self._writers: dict[Path, _Writer] = {}
        self._ended: set[Path] = set()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *error: object) -> None:
        for writer in self._writers.values():
            writer.close()

    def update(self, finished: bool = False) -> None:
        """Write what the tables have got since; `finished`: they will get no more."""
        trials = sorted(path.parent for path in self.directory.glob("trial_*/sessions.json"))
        for trial in trials:
            if trial not in self._ended:
                self._follow(trial, finished)
        if finished:
            self._write_settings([TrialFiles(trial) for trial in trials])

    def _follow(self, trial: Path, finished: bool) -> None:
        files, home = TrialFiles(trial), self.home / trial.name
        over = finished or all(session.state != "RUNNING" for session in files.sessions)
        self._read(trial / "speed.csv", _Speed, home, files, over)
        for session in files.sessions:
            own = home / f"session_{session.session}"
            self._read(trial / f"session_{session.session}.csv", _Table, own, files, over)
            self._read(trial / f"eval_{session.session}.csv", _Evaluations, own, files, over)
        if over:
            self._ended.add(trial)
            for place in [place for place in self._writers if place.is_relative_to(home)]:
                self._writers.pop(place).close()  # an open file for every session of a large search would be too many

    def _read(self, path: Path, kind: type[_Table], home: Path, trial: TrialFiles, over: bool) -> None:
        if path.exists():
            if path not in self._tables:
                # one file for all tables of a folder: where a later one grows, TensorBoard looks into no earlier one
                writer = self._writers.setdefault(home, _Writer(home))
                self._tables[path] = kind(path, writer, trial)
            self._tables[path].update(over)
        if over:
            self._tables.pop(path, None)

    def _write_settings(self, trials: list[TrialFiles]) -> None:
        """The rows of the HPARAMS page, where the trials are of a search: their settings and what came of them."""
        path = self.directory / "experiment.csv"
        searched = [trial for trial in trials if trial.setting is not None]
        if searched and path.exists():
            experiment = read_table(path, ("trial", "objective", "final_return")).set_index("trial")
            for trial in searched:
                self._write_setting(trial, experiment)

    def _write_setting(self, trial: TrialFiles, experiment: pd.DataFrame) -> None:
        from tensorboardX.summary import hparams

        known = experiment.loc[trial.number] if trial.number in experiment.index else {}
        scores = {name: float(known[name]) for name in ("objective", "final_return") if name in known}
        values = trial.values.items()
        setting = {path: value if isinstance(value, bool | int | float) else str(value) for path, value in values}
        with _Writer(self.home / trial.directory.name, ".setting") as writer:  # of another name than the trial's speed
            for summary in hparams(setting, scores):
                writer.add(summary)
            for name, score in scores.items():
                writer.scalar(name, score, 0)


class _Writer:
    """An event file, made when there is something to write."""

    def __init__(self, home: Path, suffix: str = ""):
        self.home, self.suffix = home, suffix
        self._file: EventsWriter | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def scalar(self, tag: str, value: float, step: int) -> None:
        """A point of a curve; none where the value is not finite."""
        from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[attr-defined]  # made at run time

        if math.isfinite(value):
            self.add(Summary(value=[Summary.Value(tag=tag, simple_value=value)]), step)

    def add(self, summary: Any, step: int = 0) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event  # type: ignore[attr-defined]  # made at run time

        with writing(self.home):
            if self._file is None:
                self.home.mkdir(parents=True, exist_ok=True)
                self._file = EventsWriter(str(self.home / "events"), self.suffix)
            self._file.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        if self._file is not None:
            with writing(self.home):
                self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            with writing(self.home):
                self._file.close()
        self._file = None


class _Table:
    """A table that grows, as curves: one for each column that is no key."""

    def __init__(self, path: Path, writer: _Writer, trial: TrialFiles):
        self.path, self.writer, self.trial = path, writer, trial
        self._header = b""
        self._place = 0  # bytes that were read
        self._row = 0  # rows in them
        self._told = 0  # rows that were written as events

    def update(self, over: bool) -> None:
        """Write the points of new rows; `over`: there will be no more of them."""
        with self.path.open("rb") as file:
            header = file.readline()
            if header != self._header:  # a table that gets a column is written anew
                self._header, self._place, self._row = header, len(header), 0
            file.seek(self._place)
            content = file.read()
        content = content[: content.rfind(b"\n") + 1]  # a line may be only half there
        self._place += len(content)
        columns = header.decode().strip().split(",")
        for row in csv.DictReader(content.decode().splitlines(), columns):
            self._row += 1
            if self._row > self._told:  # else one that is written again, after the table was cut back to a checkpoint
                self._told = self._row
                self.tell(row)
        if over:
            self.finish()
        self.writer.flush()

    def tell(self, row: dict[str, str]) -> None:
        """Write what a row says."""
        for name, value in row.items():
            if name not in KEYS and value:
                self.writer.scalar(self.tag(name, row), float(value), int(row["frame"]))

    def finish(self) -> None:
        """Write what waited for more rows."""

    def tag(self, name: str, row: dict[str, str]) -> str:
        """A curve's name: the column's, after the agent's and the environment's where there are several."""
        if len(self.trial.agents) == len(self.trial.envs) == 1:
            return name
        return f"{self.trial.label(int(row['agent']), int(row['env']))}/{name}"


class _Speed(_Table):
    """A trial's frames per second."""

    def tell(self, row: dict[str, str]) -> None:
        self.writer.scalar("frames_per_second", float(row["frames_per_second"]), int(row["frame"]))


class _Evaluations(_Table):
    """The mean return of the greedy episodes of each evaluation."""

    def __init__(self, path: Path, writer: _Writer, trial: TrialFiles):
        super().__init__(path, writer, trial)
        self._waiting: list[dict[str, str]] = []

    def tell(self, row: dict[str, str]) -> None:
        if self._waiting and any(row[key] != self._waiting[0][key] for key in KEYS):
            self.finish()
        self._waiting.append(row)

    def finish(self) -> None:
        if self._waiting:
            mean = statistics.fmean(float(row["return"]) for row in self._waiting)
            first = self._waiting[0]
            self.writer.scalar(self.tag("eval_return", first), mean, int(first["frame"]))
        self._waiting = []
