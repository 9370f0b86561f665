"""What a training leaves on disk: tidy rows, states, models. The layout of data/ is in slmx/README.md."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmx.camera import PLACE
from slmx.errors import SlmxError
from slmx.model_file import write_model
from slmx.run_directory import LINEAGE, RUNGS
from slmx.table import Table
from slmx.view import PLACE as VIEWS
from slmx.view import write_view
from slmx.whole import together, write_json, writing

if TYPE_CHECKING:
    from torch import Tensor

    from slmx.camera import Camera
    from slmx.session import Program, Session
    from slmx.watch import Episode, Evaluation, Model, View

WINDOW = 100  # episodes in a moving average
FLUSH_SECONDS = 1.0  # between two times that rows are brought into the files: opening hundreds of them takes its time
EPISODE_COLUMNS = ("frame", "agent", "env", "body", "episode", "return", "length", "end")
EVALUATION_COLUMNS = ("frame", "agent", "env", "episode", "seed", "return", "length")


class Recorder:
    """Writes the tables of one trial's sessions into its directory as their program goes.

    They are the members from `first` on of the program. Rows reach the files within a second, or with the next that
    are told, so a killed run leaves what it had done. Wall-clock times lie apart in speed.csv: all other tables are
    repeated byte for byte by the same spec and seed. `left`: what `state` gave; the tables are cut back to what they
    were then and go on from there.
    `camera`: who films, if anybody does.
    """

    def __init__(
        self,
        directory: Path,
        sessions: Sequence[Session],
        first: int = 0,
        left: dict[str, Any] | None = None,
        camera: Camera | None = None,
    ):
        self.directory, self.sessions, self.first, self.camera = directory, list(sessions), first, camera
        self.company = len(self.sessions)  # the members of their program
        with writing(directory):
            (directory / "model").mkdir(parents=True, exist_ok=True)
        left = left or {}
        fresh = {"state": "RUNNING", "reason": "", "frame": 0}
        self.states: list[dict[str, Any]] = left.get("states") or [
            {"session": s.index, "seed": s.spec.meta.seed, **fresh} for s in sessions
        ]
        self._kept: dict[str, tuple[int, list[str]]] = left.get("tables", {})
        self._episodes = [self._table(f"episodes_{s.index}.csv", EPISODE_COLUMNS) for s in sessions]
        self._evaluations = [self._table(f"eval_{s.index}.csv", EVALUATION_COLUMNS) for s in sessions]
        names = [f"session_{s.index}.csv" for s in sessions]
        self._rows = [self._table(name, ()) if name in self._kept else None for name in names]
        self._speed = self._table("speed.csv", ("frame", "seconds", "frames_per_second"))
        self._notes = {name: self._table(name, ()) for name in (RUNGS, LINEAGE) if name in self._kept}
        for name in {RUNGS, LINEAGE} - set(self._notes):
            (directory / name).unlink(missing_ok=True)
        self._ports: list[dict[tuple[int, int], _Port]] = left.get("ports", [])
        self._last = time.perf_counter()
        self._started = self._last - left.get("seconds", 0.0)
        self._flushed = -math.inf
        self._last_frames = left.get("frames", 0)
        self.means: list[float] = left.get("means", [])
        self._best: list[float] = left.get("best", [-math.inf] * len(sessions))
        self._models: list[str] = left.get("models", [])
        self._reached: dict[int, float] = {}
        self._open_models(anew=not left)
        self._save_states()

    @property
    def trial(self) -> int:
        """The trial's number."""
        return self.sessions[0].trial

    def state(self) -> dict[str, Any]:
        """What it takes to go on from here; all that was written so far is on the disk when this returns."""
        self._sync()
        return {
            "states": self.states,
            "tables": {table.path.name: (table.lines, table.columns) for table in self._tables()},
            "ports": self._ports,
            "means": self.means,
            "best": self._best,
            "models": self._models,
            "frames": self._last_frames,
            "seconds": self._last - self._started,
        }

    def open_ports(self, program: Program) -> None:
        """Name the ports `(agent, env)` of which every session has rows."""
        self._ports = self._ports or [{port: _Port() for port in program.space.counts} for _ in self.sessions]

    def episodes(self, episodes: list[Episode]) -> None:
        for ep in episodes:
            m = ep.member - self.first
            if self.states[m]["state"] == "FAILED":
                continue
            port = self._ports[m][ep.agent, ep.env]
            row = (ep.frame, ep.agent, ep.env, ep.body, port.count, ep.total, ep.length, ep.end)
            self._episodes[m].add(row)
            port.add(ep.total, ep.length)

    def row(self, frames: list[int], alive: list[bool], measures: list[dict[str, list[float]]]) -> None:
        names = list(dict.fromkeys(name for own in measures for name in own))
        alive = alive[self.first : self.first + len(self.sessions)]
        for m, lives in enumerate(alive):
            if not lives:
                continue
            self.states[m]["frame"] = frames[0]
            table = self._rows[m]
            if table is None:
                columns = ("frame", "agent", "env", "episode", "return", "return_ma", "length")
                path = self.directory / f"session_{self.sessions[m].index}.csv"
                table = self._rows[m] = Table(path, (*columns, *names))
            for (agent, env), port in self._ports[m].items():
                values = {
                    "frame": frames[env], "agent": agent, "env": env, "episode": port.count,
                    **port.drain(), **{name: own[self.first + m] for name, own in measures[agent].items()},
                }  # fmt: skip
                table.add_named(values)
        now = time.perf_counter()
        seen = sum(frames) * len(alive)
        rate = (seen - self._last_frames) / max(now - self._last, 1e-9)
        self._speed.add((frames[0], round(now - self._started, 3), round(rate, 1)))
        self._last, self._last_frames = now, seen
        if now - self._flushed >= FLUSH_SECONDS:
            self.flush()
            self._flushed = now
        self.means = [
            ma
            for own, lives in zip(self._ports, alive, strict=True)
            for port in own.values()
            if lives and not math.isnan(ma := port.moving_average)
        ]

    def evaluations(self, evaluations: list[Evaluation]) -> None:
        counts: dict[tuple[int, int, int], int] = {}
        returns: dict[int, list[float]] = {}
        for ev in evaluations:
            m = ev.member - self.first
            if self.states[m]["state"] == "FAILED":
                continue
            key = (m, ev.agent, ev.env)
            counts[key] = counts.get(key, -1) + 1
            row = (ev.frame, ev.agent, ev.env, counts[key], ev.seed, ev.total, ev.length)
            self._evaluations[m].add(row)
            returns.setdefault(m, []).append(ev.total)
        self._reached = {m: sum(own) / len(own) for m, own in returns.items()}
        for table in self._evaluations:
            table.flush()

    def models(self, frame: int, model: Model, regular: bool) -> None:
        """Keep the models that were just evaluated: where `regular` all, and where it is asked for each that is best.

        A session's best is that of the highest mean of an evaluation's returns, of equals the first; one whose mean is
        no number is never best.
        """
        for m, mean in self._reached.items():
            session = self.sessions[m]
            if regular:
                self._keep(f"session_{session.index}_{frame}", model(self.first + m), frame)
            if mean > self._best[m]:
                self._best[m] = mean
                if session.spec.meta.save in ("best", "all"):
                    self._keep(f"session_{session.index}_best", model(self.first + m), frame)
                if session.spec.meta.video and session.spec.meta.video.best:
                    self._film(m, frame, model)

    def film(self, frame: int, model: Model) -> None:
        """Have the sound sessions filmed that are to be."""
        for m, state in enumerate(self.states):
            if state["state"] != "FAILED":
                self._film(m, frame, model)

    def views(self, frame: int, views: list[View]) -> None:
        """Keep what the sound sessions see, in a file for each agent and environment."""
        for view in views:
            session, state = self.sessions[view.member - self.first], self.states[view.member - self.first]
            if state["state"] == "FAILED":
                continue
            agent = f"_agent_{view.agent}" if len(session.spec.agent) > 1 else ""
            env = f"_env_{view.env}" if len(session.spec.env) > 1 else ""
            write_view(self.directory / VIEWS / f"session_{session.index}_{frame}{agent}{env}.png", view.image)

    def failed(self, member: int, frame: int, reason: str) -> None:
        self.states[member - self.first] |= {"state": "FAILED", "reason": reason, "frame": frame}
        self._save_states()

    def revive(self, member: int) -> None:
        """A session that had failed goes on: it has become a copy of a sound one."""
        state = self.states[member - self.first]
        if state["state"] == "FAILED":
            state |= {"state": "RUNNING", "reason": ""}
            self._save_states()

    def note(self, name: str, values: dict[str, Any]) -> None:
        """Add a row to rungs.csv or lineage.csv, whose columns are those of its first row."""
        if name not in self._notes:
            self._notes[name] = self._table(name, tuple(values))
        self._notes[name].add_named(values)
        self._notes[name].flush()

    def fail_all(self, reason: str) -> None:
        """Keep what there is when the program itself broke: no session came to its end, and there are no models."""
        for state in self.states:
            if state["state"] != "FAILED":
                state |= {"state": "FAILED", "reason": reason}
        self._save_states(sync=True)
        self._sync()

    def close(self, program: Program, finished: bool) -> None:
        """Save the models of all sessions that did not fail, and how each session ended.

        All is on the disk when this returns, so it may be said that the training has ended.
        """
        self.end(program, "DONE" if finished else "STOPPED")

    def end(self, program: Program, ended: str, reason: str = "") -> None:
        """Likewise, with how sessions ended that did not fail."""
        self._sync()
        sound = [m for m, state in enumerate(self.states) if state["state"] != "FAILED"]

        def write(m: int) -> None:
            path = self.directory / "model" / f"session_{self.sessions[m].index}.safetensors"
            write_model(path, program.model(self.first + m), self.company)

        together(write, sound)
        for m in sound:
            self.states[m] |= {"state": ended, "reason": reason, "frame": program.frames[0]}
        self._save_states(sync=True)

    def _film(self, m: int, frame: int, model: Model) -> None:
        """Hand a session's model to the camera, if there is one and the session is to be filmed."""
        session = self.sessions[m]
        video = session.spec.meta.video
        path = self.directory / PLACE / f"session_{session.index}_{frame}.safetensors"
        if self.camera and video and session.index in video.session and not path.exists():
            with writing(path):
                path.parent.mkdir(exist_ok=True)
            write_model(path, model(self.first + m), self.company, frame)
            self.camera.look()

    def _open_models(self, anew: bool) -> None:
        """Find the models that were kept so far, or begin with none. SlmxError where one of them is gone."""
        place = self.directory / "model"
        if anew:
            for path in [path for s in self.sessions for path in place.glob(f"session_{s.index}[._]*safetensors")]:
                path.unlink()
        for name in self._models:
            if not (place / name).exists():
                raise SlmxError(f"{place / name}: no such file")

    def _keep(self, name: str, model: dict[str, Tensor], frame: int) -> None:
        """Keep a model from before the end; it is on the disk before a checkpoint that knows of it."""
        path = self.directory / "model" / f"{name}.safetensors"
        write_model(path, model, self.company, frame)
        if path.name not in self._models:
            self._models.append(path.name)

    def _table(self, name: str, columns: Sequence[str]) -> Table:
        """A new table, or what an earlier recorder had of it."""
        return Table(self.directory / name, columns, self._kept.get(name))

    def _tables(self) -> list[Table]:
        tables = (*self._episodes, *self._evaluations, *self._rows, self._speed, *self._notes.values())
        return [table for table in tables if table is not None]

    def flush(self) -> None:
        """Bring all that was told so far into the files."""
        for table in self._tables():
            table.flush()

    def _sync(self) -> None:
        """Bring all that was told so far into the files, and wait until the disk has it."""
        self.flush()
        together(Table.sync, self._tables())

    def _save_states(self, sync: bool = False) -> None:
        write_json(self.directory / "sessions.json", self.states, sync)


class Records:
    """The tables of a program whose sessions are of several trials, each trial's in its directory `trial_{t}`.

    Sessions of one trial follow one another on the member axis. `left`: what `state` gave; `camera`: as of a Recorder.
    """

    def __init__(
        self,
        run: Path,
        sessions: Sequence[Session],
        left: dict[int, dict[str, Any]] | None = None,
        camera: Camera | None = None,
    ):
        self.recorders: list[Recorder] = []
        for trial, group in groupby(sessions, lambda session: session.trial):
            if left is None or trial in left:  # else it had left when that was saved
                own = (left or {}).get(trial)
                self.recorders.append(Recorder(run / f"trial_{trial}", list(group), 0, own, camera))
        self._place()

    def _place(self) -> None:
        """Where on the member axis the sessions of each trial are."""
        self._of = [recorder for recorder in self.recorders for _ in recorder.sessions]
        for recorder in self.recorders:
            recorder.first, recorder.company = self._of.index(recorder), len(self._of)

    def state(self) -> dict[int, dict[str, Any]]:
        """What it takes to go on from here, by trial."""
        return {recorder.trial: recorder.state() for recorder in self.recorders}

    def leave(self, program: Program, reasons: Mapping[int, str]) -> list[int]:
        """These trials end as CULLED, each for its reason, where they have not failed; returns the members that stay.

        What the program tells from here on is of those members alone.
        """
        stay = [member for member, recorder in enumerate(self._of) if recorder.trial not in reasons]
        for recorder in self.recorders:
            if recorder.trial in reasons:
                recorder.end(program, "CULLED", reasons[recorder.trial])
        self.recorders = [recorder for recorder in self.recorders if recorder.trial not in reasons]
        self._place()
        return stay

    def rest(self, program: Program) -> None:
        """Save the models of sessions that may go on from here, or end here by somebody else's word."""
        for recorder in self.recorders:
            recorder.end(program, "RUNNING")

    @property
    def means(self) -> list[float]:
        """The moving averages of all sessions and ports that have one."""
        return [mean for recorder in self.recorders for mean in recorder.means]

    def open_ports(self, program: Program) -> None:
        for recorder in self.recorders:
            recorder.open_ports(program)

    def episodes(self, episodes: list[Episode]) -> None:
        for episode in episodes:
            self._of[episode.member].episodes([episode])

    def row(self, frames: list[int], alive: list[bool], measures: list[dict[str, list[float]]]) -> None:
        for recorder in self.recorders:
            recorder.row(frames, alive, measures)

    def evaluations(self, evaluations: list[Evaluation]) -> None:
        for recorder in self.recorders:
            recorder.evaluations([ev for ev in evaluations if self._of[ev.member] is recorder])

    def models(self, frame: int, model: Model, regular: bool) -> None:
        for recorder in self.recorders:
            recorder.models(frame, model, regular)

    def film(self, frame: int, model: Model) -> None:
        for recorder in self.recorders:
            recorder.film(frame, model)

    def views(self, frame: int, views: list[View]) -> None:
        for recorder in self.recorders:
            recorder.views(frame, [view for view in views if self._of[view.member] is recorder])

    def failed(self, member: int, frame: int, reason: str) -> None:
        self._of[member].failed(member, frame, reason)

    def flush(self) -> None:
        """Bring all that was told so far into the files."""
        for recorder in self.recorders:
            recorder.flush()

    def revive(self, member: int) -> None:
        self._of[member].revive(member)

    def fail_all(self, reason: str) -> None:
        for recorder in self.recorders:
            recorder.fail_all(reason)

    def close(self, program: Program, finished: bool) -> None:
        for recorder in self.recorders:
            recorder.close(program, finished)


class _Port:
    """The episodes of one member's agent in one environment: how many, the last hundred, those since the last row."""

    def __init__(self) -> None:
        self.count = 0
        self.window: deque[float] = deque(maxlen=WINDOW)
        self.fresh: list[tuple[float, int]] = []

    def add(self, total: float, length: int) -> None:
        self.count += 1
        self.window.append(total)
        self.fresh.append((total, length))

    @property
    def moving_average(self) -> float:
        return sum(self.window) / len(self.window) if self.window else math.nan

    def drain(self) -> dict[str, float]:
        fresh, self.fresh = self.fresh, []
        n = len(fresh) or math.nan
        return {
            "return": sum(total for total, _ in fresh) / n,
            "return_ma": self.moving_average,
            "length": sum(length for _, length in fresh) / n,
        }
