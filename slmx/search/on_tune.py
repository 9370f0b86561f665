"""A search on Ray Tune: one Tune trial is one program. Tune executes; journal and tables are the lab's own.

Of Ray only its public interface is used. Its loggers, its printing and its stored state are turned off, for all that is
worth keeping is in the run's directory.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.search import Searcher

from slmx import stop
from slmx.errors import FULL, SpecError, WriteError
from slmx.search.job import Job, Order
from slmx.search.journal import Ended
from slmx.search.node import NodeError, watched
from slmx.search.scheduler import scheduler_of
from slmx.search.tune_schedulers import TuneScheduler
from slmx.storage import StorageError

if TYPE_CHECKING:
    from slmx.search.search import Search
    from slmx.spec.model import ResourceSpec

ROUNDING = 1e-9  # of a division of fractions


class Worker(tune.Trainable):
    """Trains one program after another, a slice at a time, in a process that imports torch once."""

    def setup(self, config: dict[str, Any]) -> None:
        self.job = Job(Order(**config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.job.stop()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        try:
            ended = self.job.advance()
        except (WriteError, StorageError) as error:
            return {"done": True, "ended": [], "broken": error, **self.job.progress}
        return {"done": ended is not None, "ended": [asdict(own) for own in ended or ()], **self.job.progress}

    def cleanup(self) -> None:
        self.job.stop()


class Programs(Searcher):
    """Gives each Tune trial its program, and hears what it says."""

    def __init__(self, search: Search, interrupt: Interrupt, show: Callable[[], None]):
        super().__init__()
        self.search, self.interrupt, self.show = search, interrupt, show

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True  # what is searched is not Tune's concern

    def suggest(self, trial_id: str) -> Any:
        order = None
        with self.interrupt.minding():
            order = None if self.interrupt.asked else self.search.order(trial_id)
            self.show()
        if order is not None:
            return asdict(order)
        return None if self.search.running else Searcher.FINISHED  # None: to be asked again later

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        with self.interrupt.minding():
            if trial_id in self.search.running:
                self.search.hear(trial_id, result)
            self.show()

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        with self.interrupt.minding():
            if trial_id in self.search.running and not error:  # else it was stopped, or Lives hears why
                self._complete(trial_id, result)
            self.show()

    def _complete(self, program: str, result: Mapping[str, Any] | None) -> None:
        self.interrupt.begun.discard(program)
        if result:
            self.search.hear(program, result)
        if result and "broken" in result:
            raise result["broken"]
        if result and result["ended"]:
            self.search.end(program, [Ended(**own) for own in result["ended"]], result["frames"])
        elif not self.interrupt.asked:
            self.search.dismiss(program)

    def save(self, checkpoint_path: str) -> None:
        """Nothing of the search is kept by Tune."""

    def restore(self, checkpoint_path: str) -> None:
        """Nor read from it."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()  # Tune writes what it is given to a file that is never read


class Lives(tune.Callback):
    """Hears which programs have a worker, and of workers that die."""

    def __init__(self, search: Search, interrupt: Interrupt):
        self.search, self.interrupt = search, interrupt

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.interrupt.begun.add(trial.trial_id)
        self.search.wake(trial.trial_id)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()  # likewise

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.interrupt.begun.discard(trial.trial_id)
        if not self.interrupt.asked:  # else whoever asked may have told the worker too
            with self.interrupt.minding():
                self.search.lose(trial.trial_id, reason_of(Path(trial.error_file).read_text()))


class Interrupt(tune.Stopper):
    """Being told to stop: once, and running programs stop and save what there is; twice, and all ends at once."""

    def __init__(self, search: Search) -> None:
        self.search, self.asked = search, False
        self.error: Exception | None = None
        self.alone = False  # whether there is no Ray any more
        self.begun: set[str] = set()
        """Programs that have a worker, or had one when they came to rest."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.asked

    def stop_all(self) -> bool:
        """Whether Tune may end, which then waits for no program longer than five seconds."""
        return self.alone or (self.asked and not any(map(self.works, self.search.running)))

    def works(self, program: str) -> bool:
        """Whether a program has a worker now."""
        return program in self.begun and not self.search.running[program].rests

    @contextlib.contextmanager
    def minding(self) -> Iterator[None]:
        """What breaks meanwhile ends the search: Tune would take it for the failure of a program."""
        try:
            yield
        except Exception as error:
            self.asked, self.error = True, self.error or error

    def abandon(self) -> None:
        """There is no Ray any more to run programs."""
        self.error = self.error or NodeError(self.search.directory)
        self.asked = self.alone = True

    def hear(self) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


def reason_of(text: str) -> str:
    """Why a worker died, by what Ray says of it."""
    if "its node has died" in text:
        return "its node was lost"
    if "its worker process has died" in text:
        return "its worker died; is there enough memory?"
    if "actor is temporarily unavailable" in text:
        return "its node could not be reached"
    return text.strip().splitlines()[-1]


def workers(resources: ResourceSpec) -> int:
    """How many programs run at once. SpecError where there is not enough for one."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = {name: share for name, share in (("CPU", resources.cpu), ("GPU", resources.gpu)) if share}
    for name, share in asked.items():
        if share > (has := max(node.get(name, 0) for node in nodes)):
            raise SpecError(f"meta.resources.{name.lower()}", f"{share:g} for each program, but there is {has:g} here")
    at_once = sum(min(int(node.get(name, 0) / share + ROUNDING) for name, share in asked.items()) for node in nodes)
    if not at_once:
        raise SpecError("meta.resources", "no node has as many cores and GPUs together as a program is to get")
    return at_once


def run(search: Search, resources: ResourceSpec, at_once: int, folder: Path, show: Callable[[], None]) -> bool:
    """Run a search to its end; whether it was interrupted. `show` is called whenever something is heard."""
    interrupt = Interrupt(search)
    try:
        with stop.heard(interrupt.hear), watched(interrupt.abandon):
            for attempt in itertools.count():
                tuner = _tuner(search, resources, at_once, folder / str(attempt), interrupt, show)
                try:
                    tuner.fit()
                    break
                except OSError as error:
                    if error.errno not in FULL:
                        raise
                    raise WriteError(error.filename or folder, error) from error
                except RuntimeError as error:
                    # Where Ray itself ends a worker, for the sake of its node's memory, Tune ends all programs.
                    if not isinstance(error.__cause__, RayError):
                        raise
                    for program in list(search.running):
                        if interrupt.works(program):
                            search.lose(program, "its node had no memory left")
                        else:
                            search.put_back(program)
    finally:
        search.stop()
    if interrupt.error:
        raise interrupt.error
    return interrupt.asked


def _tuner(
    search: Search, resources: ResourceSpec, at_once: int, folder: Path, interrupt: Interrupt, show: Callable[[], None]
) -> tune.Tuner:
    scheduler = scheduler_of(search.spec)
    judge, most = None, at_once
    if isinstance(scheduler, TuneScheduler):
        judge = scheduler.judge(search.rest)
        most = None if scheduler.holds else at_once
    return tune.Tuner(
        tune.with_resources(Worker, {"cpu": resources.cpu, "gpu": resources.gpu}),
        tune_config=tune.TuneConfig(
            search_alg=Programs(search, interrupt, show), num_samples=-1, max_concurrent_trials=most, reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id, scheduler=judge,
        ),
        run_config=tune.RunConfig(
            name="search", storage_path=str(folder), stop=interrupt, verbose=0, callbacks=[Lives(search, interrupt)],
            failure_config=tune.FailureConfig(max_failures=0),  # what is tried again is the search's concern
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )  # fmt: skip
