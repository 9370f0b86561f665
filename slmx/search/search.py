"""A search as it goes: hands out orders, hears how trials end, keeps journal and files. Knows no ray."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmx.record import settle, write_json, write_spec
from slmx.search.job import Ended, Order
from slmx.search.journal import Journal
from slmx.search.plan import Plan, Trial
from slmx.spec.dump import dump

if TYPE_CHECKING:
    from slmx.spec.model import Spec


@dataclass
class Running:
    """A program at work: its trials, its frames so far and at its end, the mean return of its sessions."""

    trials: list[Trial]
    total: int
    frames: int = 0
    mean: float | None = None


@dataclass
class Search:
    """The state of a search.

    `backends` and `fitness` are what every trial's spec.json says of its environments.
    """

    spec: Spec
    directory: Path
    plan: Plan
    backends: list[str]
    fitness: dict[str, Any]
    running: dict[str, Running] = field(default_factory=dict)
    ended: dict[int, Ended] = field(default_factory=dict)
    best: tuple[float, Trial] | None = None
    frames_done: int = 0
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.directory)

    @property
    def finished(self) -> bool:
        """Whether every trial came to its end."""
        return self.plan.exhausted and not self.running and not self.plan.misfits

    @property
    def frames(self) -> int:
        """Frames so far, of all sessions together."""
        return self.frames_done + sum(program.frames for program in self.running.values())

    @property
    def total_frames(self) -> int:
        """About as many frames as there will be."""
        return self.plan.total * frames_of(self.spec)

    def count(self, state: str) -> int:
        """How many trials ended so."""
        return sum(ended.state == state for ended in self.ended.values())

    def order(self, program: str) -> Order | None:
        """What the next program is to train, its trials' directories made; None where there is nothing left."""
        trials = self.plan.next()
        for misfit in self.plan.misfits:
            self._found(misfit, self.spec)
            self._end(misfit, Ended(misfit.number, "FAILED", misfit.reason))
        self.plan.misfits = []
        if not trials:
            return None
        specs = []
        for trial in trials:
            assert trial.spec is not None
            self._found(trial, trial.spec)
            specs.append((trial.number, dump(trial.spec)))
        self.running[program] = Running(trials, sum(frames_of(trial.spec) for trial in trials if trial.spec))
        path = [str(Path(place).resolve()) for place in sys.path]
        return Order(str(self.directory.resolve()), specs, path)

    def hear(self, program: str, progress: Mapping[str, Any]) -> None:
        """How far a program is."""
        running = self.running[program]
        running.frames, running.mean = progress["frames"], progress["mean"]

    def end(self, program: str, ended: list[Ended], frames: int) -> None:
        """A program came to its end, and so its trials."""
        running = self.running.pop(program)
        self.frames_done += frames
        by_number = {own.trial: own for own in ended}
        for trial in running.trials:
            self._end(trial, by_number[trial.number])

    def lose(self, program: str, reason: str) -> None:
        """A program's worker died: its trials failed."""
        self._drop(program, "FAILED", reason)

    def stop(self) -> None:
        """Nothing runs any more, whatever was under way: say so of what has not said it."""
        for program in list(self.running):
            self._drop(program, "STOPPED", "the search was interrupted")

    def _drop(self, program: str, state: str, reason: str) -> None:
        running = self.running.pop(program)
        self.frames_done += running.frames
        for trial in running.trials:
            self._end(trial, Ended(trial.number, state, reason))

    def _found(self, trial: Trial, spec: Spec) -> None:
        """The directory of a trial, with its setting and spec, and its line in the journal."""
        directory = self.directory / f"trial_{trial.number}"
        directory.mkdir()
        setting = {d.path: trial.setting.get(d.path, value_at(spec, d.path)) for d in self.plan.searcher.space.domains}
        if not trial.number:
            trial.setting = {path: value for path, value in setting.items() if value is not None}
        write_json(directory / "setting.json", setting)
        write_spec(directory, dump(spec), self.backends, self.fitness)
        self.journal.asked(trial.number, setting)

    def _end(self, trial: Trial, ended: Ended) -> None:
        meta = self.spec.meta
        settle(self.directory / f"trial_{trial.number}", meta.max_session, meta.seed, ended.state, ended.reason)
        self.ended[trial.number] = ended
        self.journal.ended(trial.number, ended.state, ended.reason, ended.score)
        if ended.state != "STOPPED":
            self.plan.tell(trial, ended.score)
        if ended.score is not None:
            sign = 1 if meta.objective.mode == "max" else -1
            if self.best is None or sign * ended.score > sign * self.best[0]:
                self.best = (ended.score, trial)


def frames_of(spec: Spec) -> int:
    """About as many frames as the sessions of a trial take together."""
    return sum(env.max_frame for env in spec.env) * spec.meta.max_session


def value_at(spec: Spec, path: str) -> Any:
    """What a spec says at a dotted path, as plain data; None where it says nothing."""
    node: Any = dump(spec)
    for part in path.split("."):
        if isinstance(node, list):
            node = node[int(part)] if part.isdigit() and int(part) < len(node) else None
        else:
            node = node.get(part) if isinstance(node, dict) else None
    return node
