"""Ray for a while: one's own on this machine, of which nothing is left whatever ends the search; or a cluster's."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from slmx import stop
from slmx.alongside import alongside
from slmx.errors import SlmxError
from slmx.search import cluster
from slmx.search.reaper import marked, reaped

if TYPE_CHECKING:
    import threading

    from slmx.spec.model import Spec

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # they write five files a trial and lose rows
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own state is never read
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # else brackets of settings that are judged together would never fill
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # there is something to judge at pauses alone
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a program without a share of a GPU sees none
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_memory_monitor_refresh_ms": "0",  # Tune ends where Ray ends a worker for memory; the system can do so
}
"""Ray's settings, which it reads from the environment: set while a search runs."""
STORE = 100 * 2**20  # bytes of Ray's object store: hardly anything goes through it
LOOK = 0.02  # seconds between two looks whether Ray has been left
FAREWELL = 0.3  # seconds after that in which it takes leave of its processes, which takes 5 where they are gone
SHORT = Path("/tmp")  # where sockets have short names: they hold 107 bytes


@contextlib.contextmanager
def ray_for(spec: Spec, meanwhile: Sequence[str] = ()) -> Iterator[Path]:
    """The Ray that a spec asks for while this lasts, and a folder that Tune may fill; what Ray prints goes nowhere.

    `meanwhile`: modules that are imported while it starts.
    """
    address = spec.meta.ray_address
    one = local_ray(meanwhile) if address in (None, "local") else joined_ray(address, spec, meanwhile)
    with contextlib.redirect_stdout(io.StringIO()), one as folder:
        yield folder


@contextlib.contextmanager
def local_ray(meanwhile: Sequence[str] = ()) -> Iterator[Path]:
    """A Ray of one's own on this machine; nothing of it is left. `meanwhile`: modules to import while it starts.

    Where this process has a Ray already, that one is used, and left as it is.
    """
    with _settled() as (folder, mark):
        if ray.is_initialized():
            yield folder
            return
        try:
            with undisturbed(), _environment(mark), _apart(), _importing(meanwhile):
                ray.init(
                    address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL,
                    object_store_memory=STORE, _temp_dir=str(folder),
                )  # fmt: skip
            yield folder
        finally:
            with alongside(partial(_end_processes, folder), "ending"):
                _end()


@contextlib.contextmanager
def joined_ray(address: str, spec: Spec, meanwhile: Sequence[str] = ()) -> Iterator[Path]:
    """A part in the cluster at this address, with the code that the spec needs; the cluster stays as it is.

    `meanwhile`: modules to import while it is joined.
    SlmxError where it cannot be joined.
    """
    cluster.ask(address)
    with _settled() as (folder, _):
        if ray.is_initialized():
            raise SlmxError(f"{address}: this process has another Ray")
        try:
            with _importing(meanwhile):
                ray.init(
                    address=address, log_to_driver=False, logging_level=logging.CRITICAL,
                    runtime_env={"py_modules": cluster.modules(spec), "env_vars": SETTINGS},
                )  # fmt: skip
            yield folder
        finally:
            _end()


@contextlib.contextmanager
def _settled() -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder, the mark of processes that belong to it, and Ray's settings."""
    folder = Path(tempfile.mkdtemp(prefix="slmx", dir=SHORT if SHORT.is_dir() else None))
    with reaped(folder) as mark, _environment(SETTINGS), _silence("ray", "ray.tune"):
        yield folder, mark


@contextlib.contextmanager
def _importing(modules: Sequence[str]) -> Iterator[None]:
    """Import modules in a thread; they are there when this is over."""

    def work(over: threading.Event) -> None:
        for name in modules:
            importlib.import_module(name)

    with alongside(work, "importing"):
        yield


def _end() -> None:
    """End Ray, or leave it."""
    with undisturbed():
        gc.collect()  # what is left of Tune refers to Ray, which ends the process where that is freed meanwhile
        ray.shutdown()


def _end_processes(folder: Path, over: threading.Event) -> None:
    """End the processes of one's own Ray soon after it has been left: told to, they take a second over it."""
    while ray.is_initialized():
        if over.wait(LOOK):
            return
    over.wait(FAREWELL)
    for pid in marked(str(folder)):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """What is told to stop meanwhile hears it when this is over: half a Ray cannot be used, nor ended."""
    asked: list[bool] = []
    with stop.heard(lambda: asked.append(True)):
        try:
            yield
        except SystemExit:  # Ray's own way to hear SIGTERM while it starts
            asked.append(True)
    if asked:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Processes that are started meanwhile begin a session of their own.

    What is told to all processes of a terminal or a job, Ctrl-C, SIGTERM or that the terminal is gone, then reaches the
    driver alone, which tells Ray's workers to stop and save.
    """
    begun = _started_apart()
    begun.append(True)
    try:
        yield
    finally:
        begun.pop()


@cache
def _started_apart() -> list[bool]:
    """Whether a process that is started now begins a session: what is called in a new process cannot be taken back."""
    begun: list[bool] = []
    os.register_at_fork(after_in_child=lambda: os.setsid() if begun else None)
    return begun


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
