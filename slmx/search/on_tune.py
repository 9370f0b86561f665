"""A search on Ray Tune: one Tune trial is one program. Tune executes; journal and tables are the lab's own.

Of Ray only its public interface is used. Its loggers, its printing and its stored state are turned off, for all that is
worth keeping is in the run's directory.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.search import Searcher

from slmx.errors import SpecError
from slmx.search.job import Job, Order
from slmx.search.journal import Ended

if TYPE_CHECKING:
    from slmx.search.search import Search
    from slmx.spec.model import ResourceSpec

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # they write five files a trial and lose rows
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own state is never read
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a program without a share of a GPU sees none
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
}
"""Ray's settings, which it reads from the environment: set while a search runs."""
STORE = 100 * 2**20  # bytes of Ray's object store: hardly anything goes through it
SHORT = Path("/tmp")  # where sockets have short names: they hold 107 bytes


class Worker(tune.Trainable):
    """Trains one program after another, a slice at a time, in a process that imports torch once."""

    def setup(self, config: dict[str, Any]) -> None:
        self.job = Job(Order(**config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        ended = self.job.advance()
        return {"done": ended is not None, "ended": [asdict(own) for own in ended or ()], **self.job.progress}

    def cleanup(self) -> None:
        self.job.stop()


class Programs(Searcher):
    """Gives each Tune trial its program, and hears what it says."""

    def __init__(self, search: Search, show: Callable[[], None]):
        super().__init__()
        self.search, self.show = search, show

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
        self.show()

    def save(self, checkpoint_path: str) -> None:
        """Nothing of the search is kept by Tune."""

    def restore(self, checkpoint_path: str) -> None:
        """Nor read from it."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()  # Tune writes what it is given to a file that is never read


class Interrupt(tune.Stopper):
    """Ctrl-C: once, and running programs are told to stop and save what there is; twice, and all ends at once.

    A patient one only notes it, however often.
    """

    def __init__(self, patient: bool = False) -> None:
        self.asked, self.patient = False, patient

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.asked

    def stop_all(self) -> bool:
        return self.asked

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear Ctrl-C while this lasts."""

        def hear(number: int, frame: object) -> None:
            if self.asked and not self.patient:
                raise KeyboardInterrupt
            self.asked = True

        if threading.current_thread() is not threading.main_thread():
            yield  # Ctrl-C is heard in the main thread alone
            return
        before = signal.signal(signal.SIGINT, hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def local_ray() -> Iterator[Path]:
    """A Ray of one's own on this machine while this lasts, and a folder that Tune may fill; nothing of it is left.

    Where this process has a Ray already, that one is used, and left as it is.
    """
    folder = Path(tempfile.mkdtemp(prefix="slmx", dir=SHORT if SHORT.is_dir() else None))
    with _environment(SETTINGS), _silence("ray", "ray.tune"):
        own = not ray.is_initialized()
        try:
            if own:
                with _undisturbed():
                    ray.init(
                        address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL,
                        object_store_memory=STORE, _temp_dir=str(folder),
                    )  # fmt: skip
            yield folder
        finally:
            if own:
                with _undisturbed():
                    ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C is heard when this is over: half a Ray cannot be ended."""
    interrupt = Interrupt(patient=True)
    with interrupt.listening():
        yield
    if interrupt.asked:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a while."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _silence(*names: str) -> Iterator[None]:
    """Loggers that say nothing for a while. What breaks is heard by other ways."""
    before = {name: logging.getLogger(name).disabled for name in names}
    for name in names:
        logging.getLogger(name).disabled = True
    try:
        yield
    finally:
        for name, disabled in before.items():
            logging.getLogger(name).disabled = disabled


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
    trainable = tune.with_resources(Worker, {"cpu": resources.cpu, "gpu": resources.gpu})
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=Programs(search, show), num_samples=-1, max_concurrent_trials=at_once, reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="search", storage_path=str(folder), stop=interrupt, verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )  # fmt: skip
    try:
        with interrupt.listening(), contextlib.redirect_stdout(io.StringIO()):
            tuner.fit()
    finally:
        search.stop()
    return interrupt.asked
