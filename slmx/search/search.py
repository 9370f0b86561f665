"""A search as it goes: hands out orders, hears how trials end, keeps journal and files. Knows no ray."""

from __future__ import annotations

import json
import sys
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmx import checkpoint
from slmx.analysis.files import TrialFiles
from slmx.errors import SlmxError
from slmx.plain import value_at
from slmx.run_directory import is_culled, settle, write_spec
from slmx.search.job import Order, judge
from slmx.search.journal import ENDED, Ended, Journal, read_ended, write_ended
from slmx.search.plan import Plan, Trial
from slmx.search.scheduler import scheduler_of
from slmx.spec.dump import dump
from slmx.whole import write_json, writing

if TYPE_CHECKING:
    from slmx.spec.model import Spec
    from slmx.storage import Store

ATTEMPTS = 2  # times that a program is begun whose worker dies, before its halves are, or its trial is given up
DEATHS = 20  # of workers of a program, after each of which it had come further, that are taken for no fault of its own


@dataclass
class Running:
    """A program under way: its trials, its frames so far and at its end, the mean return of its sessions.

    `order`: what its worker is told, the `attempt`-th time since it came further, of which its workers died `deaths`
    times before. `rests`: whether it waits for others, paused or not even begun. `saved`: what tells the checkpoint
    with which it began from any other.
    """

    trials: list[Trial]
    order: Order
    total: int
    attempt: int = 1
    deaths: int = 0
    frames: int = 0
    mean: float | None = None
    rests: bool = False
    saved: Hashable = None


@dataclass
class Search:
    """The state of a search.

    Programs are numbered in the order in which they are asked for. A searcher that learns is told their results in that
    order: before program p is asked for, those of programs up to p - `lag`, and of no other. So is a scheduler that
    goes by scores of other programs. With `lag` programs at once that is hardly ever waited for, and the search
    repeats, whichever program is the quicker.

    What has ended is read from the directory, so a search that was left goes on: its trials are asked for again, and
    those that have ended are not trained again.

    `backends` and `fitness` are what every trial's spec.json says of its environments. `store`: what carries files to
    and from workers that share no folder with this process.
    """

    spec: Spec
    directory: Path
    plan: Plan
    backends: list[str]
    fitness: dict[str, Any]
    lag: int = 1
    store: Store | None = None
    running: dict[str, Running] = field(default_factory=dict)
    ended: dict[int, Ended] = field(default_factory=dict)
    best: tuple[float, Trial] | None = None
    frames_done: int = 0
    journal: Journal = field(init=False)
    _programs: list[list[Trial]] = field(default_factory=list)
    _told: int = 0  # programs of which the searcher has heard
    _again: list[Running] = field(default_factory=list)  # programs whose worker died

    def __post_init__(self) -> None:
        self.journal = Journal(self.directory)
        self._known = read_ended(self.directory)
        scheduler = scheduler_of(self.spec)
        self._share = scheduler.share() if scheduler else 1.0
        self._compares = scheduler is not None and scheduler.shares
        self._holds = scheduler is not None and scheduler.holds
        if self.journal.path.exists():
            self.journal.resumed()

    @property
    def sign(self) -> int:
        """1 where more of the objective is better, -1 where less is."""
        return 1 if self.spec.meta.objective.mode == "max" else -1

    @property
    def finished(self) -> bool:
        """Whether every trial came to its end."""
        return sum(ended.state != "STOPPED" for ended in self.ended.values()) == self.plan.total

    @property
    def frames(self) -> int:
        """Frames so far, of all sessions together."""
        return self.frames_done + sum(program.frames for program in self.running.values())

    @property
    def total_frames(self) -> int:
        """About as many frames as there will be."""
        return int(self.plan.total * frames_of(self.spec) * self._share)

    def count(self, state: str) -> int:
        """How many trials ended so."""
        return sum(ended.state == state for ended in self.ended.values())

    def order(self, program: str) -> Order | None:
        """What the next program is to train, its trials' directories made.

        None where there is nothing left, or nothing before a running program has ended.
        """
        if self._again:
            self.running[program] = self._again.pop(0)
            return self.running[program].order
        while True:
            heard = max(0, len(self._programs) - self.lag + 1)
            waits = self.plan.asks or (self._compares and not self.plan.exhausted)
            if waits and not self._tell(heard):
                return None
            trials = self.plan.next()
            for misfit in self.plan.misfits:
                self._found(misfit, self.spec)
                self._end(misfit, Ended(misfit.number, "FAILED", misfit.reason))
                self.plan.tell(misfit, self.ended[misfit.number])
            self.plan.misfits = []
            if not trials:
                return None
            self._programs.append(trials)
            specs = [(trial.number, self._found(trial, trial.spec)) for trial in trials if trial.spec is not None]
            if not all(trial.number in self._known for trial in trials):
                break
            for trial in trials:
                self.frames_done += int(frames_of(trial.spec or self.spec) * self._share)
                self._end(trial, self._known[trial.number])
        path = [str(Path(place).resolve()) for place in sys.path]
        domains = [asdict(domain) for domain in self.plan.searcher.space.domains]
        known = self._rungs(heard) if self._compares else []
        storage = None
        if self.store:
            self.store.push(*(self._home(trial) for trial in trials))
            storage = self.store.uri_of(self.directory)
        order = Order(str(self.directory.resolve()), specs, path, domains, known, storage)
        self.running[program] = self._begun(trials, order)
        return order

    def _begun(self, trials: list[Trial], order: Order, attempt: int = 1, deaths: int = 0) -> Running:
        total = int(sum(frames_of(trial.spec) for trial in trials if trial.spec) * self._share)
        return Running(trials, order, total, attempt, deaths, rests=self._holds, saved=self._saved(trials))

    def _saved(self, trials: list[Trial]) -> Hashable:
        """What tells the checkpoints of these trials from others, wherever they are written."""
        places = [checkpoint.place(self.directory, trial.number) for trial in trials]
        if self.store:
            return self.store.there(*places)
        return tuple(place.stat().st_mtime_ns if place.exists() else None for place in places)

    def _rungs(self, count: int) -> list[list[float | None]]:
        """At each rung the objectives of the trials of the first `count` programs, but for the spec's own setting."""
        ended = [self.ended[trial.number] for trials in self._programs[:count] for trial in trials if trial.number]
        most = max((len(own.rungs) for own in ended), default=0)
        return [[own.rungs[rung] for own in ended if rung < len(own.rungs)] for rung in range(most)]

    def _tell(self, count: int) -> bool:
        """Tell the searcher how the first `count` programs ended, in their order; False where one has not."""
        for trials in self._programs[self._told : count]:
            if not all(trial.number in self.ended for trial in trials):
                return False
            for trial in trials:
                self.plan.tell(trial, self.ended[trial.number])
            self._told += 1
        return True

    def hear(self, program: str, progress: Mapping[str, Any]) -> None:
        """How far a program is."""
        running = self.running[program]
        running.frames, running.mean = progress["frames"], progress["mean"]
        self._gather(running)

    def rest(self, program: str) -> None:
        """A program waits for others."""
        self.running[program].rests = True

    def wake(self, program: str) -> None:
        """A program has a worker, for the first time or again."""
        self.running[program].rests = False

    def put_back(self, program: str) -> None:
        """A program that has no worker is begun anew, as it is: that others lost theirs is no fault of its own."""
        running = self.running.pop(program)
        self._again.append(self._begun(running.trials, running.order, running.attempt, running.deaths))

    def end(self, program: str, ended: list[Ended], frames: int) -> None:
        """A program came to its end, and so its trials."""
        running = self.running.pop(program)
        self._gather(running)
        self.frames_done += frames
        by_number = {own.trial: own for own in ended}
        for trial in running.trials:
            self._end(trial, by_number[trial.number])

    def dismiss(self, program: str) -> None:
        """A scheduler ended a program at a pause: its setting is culled, which is on the disk before it is believed."""
        running, meta = self.running.pop(program), self.spec.meta
        self._gather(running)
        name = getattr(meta.scheduler_spec, "name", "")
        self.frames_done += running.frames
        for trial in running.trials:
            directory = self.directory / f"trial_{trial.number}"
            frame = max(session.frame for session in TrialFiles(directory).sessions)
            settle(directory, meta.max_session, meta.seed, "CULLED", f"stopped by {name} at frame {frame}")
            ended = judge(self.directory, trial.number)
            write_ended(self.directory, [ended])
            self._end(trial, ended)
            if self.store:
                self.store.push(directory, self.directory / ENDED)
                self.store.remove(checkpoint.place(self.directory, trial.number))

    def lose(self, program: str, reason: str) -> None:
        """A program's worker died. What it had not come to the end of is tried again.

        First as it was, for its node may have been the reason, and again whenever it had come further since it began;
        then in halves, for one of its trials may be, or all may take too much memory together. A trial that is alone
        then has failed.
        """
        running = self.running.pop(program)
        self._gather(running)
        known = read_ended(self.directory)
        self.journal.lost([trial.number for trial in running.trials], reason)
        for trial in running.trials:
            if trial.number in known:
                self.frames_done += int(frames_of(trial.spec or self.spec) * self._share)
                self._end(trial, known[trial.number])
        left = [trial for trial in running.trials if trial.number not in known]
        further = len(left) < len(running.trials) or self._saved(left) != running.saved
        if further and running.deaths < DEATHS:
            self._try_again(left, running, deaths=running.deaths + 1)
        elif running.attempt < ATTEMPTS:
            self._try_again(left, running, running.attempt + 1, running.deaths)
        elif len(left) > 1:
            middle = len(left) // 2
            self._try_again(left[:middle], running)
            self._try_again(left[middle:], running)
        elif left:
            write_ended(self.directory, self._give_up(replace(running, trials=left), "FAILED", reason))

    def _try_again(self, trials: list[Trial], before: Running, attempt: int = 1, deaths: int = 0) -> None:
        """Have some trials of a program trained together by another worker."""
        if trials:
            numbers = {trial.number for trial in trials}
            specs = [(number, spec) for number, spec in before.order.trials if number in numbers]
            self._again.append(self._begun(trials, replace(before.order, trials=specs), attempt, deaths))

    def _gather(self, running: Running) -> None:
        """Bring here what a worker has written elsewhere."""
        if self.store:
            self.store.pull(*(self._home(trial) for trial in running.trials), self.directory / ENDED)

    def _home(self, trial: Trial) -> Path:
        return self.directory / f"trial_{trial.number}"

    def stop(self) -> None:
        """Nothing runs any more, whatever was under way: say so of what has not said it."""
        for running in [*self.running.values(), *self._again]:
            self._give_up(running, "STOPPED", "the search was interrupted")
        self.running, self._again = {}, []

    def _give_up(self, running: Running, state: str, reason: str) -> list[Ended]:
        """End what a program has left under way; returns how its trials ended."""
        self.frames_done += running.frames
        ended = []
        for trial in running.trials:
            left = is_culled(self.directory / f"trial_{trial.number}")
            ended.append(judge(self.directory, trial.number) if left else Ended(trial.number, state, reason))
            self._end(trial, ended[-1])
        return ended

    def _found(self, trial: Trial, spec: Spec) -> dict[str, Any]:
        """Make the directory of a trial, with its setting and spec, which is returned as plain data.

        SlmxError where another setting lies there already.
        """
        directory = self.directory / f"trial_{trial.number}"
        raw, path = dump(spec), directory / "setting.json"
        setting = {d.path: trial.setting.get(d.path, value_at(raw, d.path)) for d in self.plan.searcher.space.domains}
        if not trial.number:
            trial.setting = {path: value for path, value in setting.items() if value is not None}
        if path.exists():
            if json.loads(path.read_text()) != json.loads(json.dumps(setting)):
                raise SlmxError(f"{path}: asked again, the searcher gives another setting; its version may be another")
            return raw
        with writing(directory):
            directory.mkdir(exist_ok=True)
        write_spec(directory, raw, self.backends, self.fitness)
        write_json(path, setting)
        self.journal.asked(trial.number, setting)
        return raw

    def _end(self, trial: Trial, ended: Ended) -> None:
        meta = self.spec.meta
        settle(self.directory / f"trial_{trial.number}", meta.max_session, meta.seed, ended.state, ended.reason)
        self.ended[trial.number] = ended
        if ended.state != "STOPPED":  # its worker may have been lost, or have had a folder of its own
            checkpoint.remove(checkpoint.place(self.directory, trial.number))
        if trial.number not in self._known:
            self.journal.ended(ended)
        if ended.score is not None and (self.best is None or self.sign * ended.score > self.sign * self.best[0]):
            self.best = (ended.score, trial)
        trial.spec = None  # it is on the disk, and a search may have thousands


def frames_of(spec: Spec) -> int:
    """About as many frames as the sessions of a trial take together."""
    return sum(env.max_frame for env in spec.env) * spec.meta.max_session
