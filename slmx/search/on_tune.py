"""A search on Ray Tune: one Tune trial is one program. Tune executes; journal and tables are the lab's own.

Of Ray only its public interface is used. Its loggers, its printing and its stored state are turned off, for all that is
worth keeping is in the run's directory.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.search import Searcher

from slmx import stop
from slmx.errors import SpecError
from slmx.search.job import Job, Order
from slmx.search.journal import Ended
from slmx.search.scheduler import scheduler_of
from slmx.search.start import local_ray
from slmx.search.tune_schedulers import TuneScheduler

__all__ = ["local_ray", "run", "workers"]

if TYPE_CHECKING:
    from slmx.search.search import Search
    from slmx.spec.model import ResourceSpec


class Worker(tune.Trainable):
    """Trains one program after another, a slice at a time, in a process that imports torch once."""

    def setup(self, config: dict[str, Any]) -> None:
        self.job = Job(Order(**config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.job.stop()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        ended = self.job.advance()
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
        order = self.search.order(trial_id)
        self.show()
        if order is not None:
            return asdict(order)
        return Searcher.FINISHED if self.search.plan.exhausted else None  # None: to be asked again later

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        if trial_id in self.search.running:
            self.search.hear(trial_id, result)
        self.show()

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        if trial_id in self.search.running:  # else it was stopped
            if result:
                self.search.hear(trial_id, result)
            if result and result.get("ended"):
                ended = [Ended(**own) for own in result["ended"]]
                self.search.end(trial_id, ended, result["frames"])
            elif error:
                self.search.lose(trial_id, "its worker died; is there enough memory?")
            elif not self.interrupt.asked:
                self.search.dismiss(trial_id)
        self.show()

    def save(self, checkpoint_path: str) -> None:
        """Nothing of the search is kept by Tune."""

    def restore(self, checkpoint_path: str) -> None:
        """Nor read from it."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()  # Tune writes what it is given to a file that is never read


class Interrupt(tune.Stopper):
    """Being told to stop: once, and running programs stop and save what there is; twice, and all ends at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.asked

    def stop_all(self) -> bool:
        return self.asked

    def hear(self) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def workers(resources: ResourceSpec) -> int:
    """How many programs run at once. SpecError where there is not enough for one."""
    there = ray.cluster_resources()
    shares = []
    for name, asked in (("CPU", resources.cpu), ("GPU", resources.gpu)):
        has = there.get(name, 0)
        if asked > has:
            raise SpecError(f"meta.resources.{name.lower()}", f"{asked:g} for each program, but there is {has:g} here")
        if asked:
            shares.append(int(has / asked))
    return min(shares)


def run(search: Search, resources: ResourceSpec, at_once: int, folder: Path, show: Callable[[], None]) -> bool:
    """Run a search to its end; whether it was interrupted. `show` is called whenever something is heard."""
    interrupt = Interrupt()
    scheduler = scheduler_of(search.spec)
    judge, most = None, at_once
    if isinstance(scheduler, TuneScheduler):
        judge = scheduler.judge(search.rest)
        most = None if scheduler.holds else at_once
    trainable = tune.with_resources(Worker, {"cpu": resources.cpu, "gpu": resources.gpu})
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=Programs(search, interrupt, show), num_samples=-1, max_concurrent_trials=most, reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id, scheduler=judge,
        ),
        run_config=tune.RunConfig(
            name="search", storage_path=str(folder), stop=interrupt, verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )  # fmt: skip
    try:
        with stop.heard(interrupt.hear), contextlib.redirect_stdout(io.StringIO()):
            tuner.fit()
    finally:
        search.stop()
    return interrupt.asked
