"""Environments of gymnasium stepped by processes beside one another, for those that are slow because they are Python.

Observations, rewards and ends come through shared memory without a name, so that nothing of it outlives the processes;
they end with the one that started them, whatever ends that. gymnasium's own AsyncVectorEnv has a process for every
copy, forked from one with torch's threads in it, which is not safe.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from slmx.env.base import Env
from slmx.env.gymnasium import GymnasiumEnv
from slmx.env.spec import EnvSpec

PATIENCE = 5.0  # seconds in which a worker may end by itself
ALIGNED = 64  # bytes, a line of the cache
START = (
    "import sys; from multiprocessing.connection import Connection; pipe = Connection(int(sys.argv[1])); "
    "sys.path[:] = pipe.recv(); from slmx.env.workers import work; work(pipe, int(sys.argv[2]))"
)


class WorkerEnv(GymnasiumEnv):
    """The copies of GymnasiumEnv in equal consecutive shares to `workers` processes; what each emits is the same.

    What is raised in a process is raised here; ChildProcessError where one dies.
    """

    def __init__(self, spec: EnvSpec, seeds: np.ndarray, render_mode: str | None = None, threads: int = 1):
        Env.__init__(self, spec, seeds, render_mode, threads)
        count, flat = min(spec.workers, seeds.size), seeds.ravel()
        self._name, self._workers = spec.name, []
        with _memory(_size(self, seeds.size)) as memory:
            self._shared = Shared(memory, self, seeds.size)
            try:
                for share in np.array_split(np.arange(seeds.size), count):
                    own = slice(int(share[0]), int(share[-1]) + 1)
                    self._workers.append(Worker(memory, (spec, flat[own], own, seeds.size, render_mode)))
                self._hear()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        for worker in self._workers:
            worker.tell("close")
        for worker in self._workers:
            worker.end()
        self._workers = []

    def _begin(self) -> np.ndarray:
        self._ask("begin")
        return self._shared.obs.copy()

    def _advance(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        self._shared.action[:] = action
        self._ask("advance")
        shared = self._shared
        return shared.obs.copy(), shared.reward.copy(), shared.terminated.copy(), shared.truncated.copy()

    def _restart(self, ended: np.ndarray) -> np.ndarray:
        self._shared.ended[:] = False
        self._shared.ended[ended] = True
        self._ask("restart")
        return self._shared.obs[ended, None]

    def _picture(self) -> np.ndarray:
        self._workers[0].tell("picture")
        return self._workers[0].hear(self._name)

    def _ask(self, what: str) -> None:
        for worker in self._workers:
            worker.tell(what)
        self._hear()

    def _hear(self) -> None:
        for worker in self._workers:
            worker.hear(self._name)


class Worker:
    """A process that steps some of the copies, and the two ends by which it is told and heard."""

    def __init__(self, memory: int, task: tuple[Any, ...]):
        self._pipe, other = Pipe()
        with other:
            handles = (other.fileno(), memory)
            # its standard input is nothing but the sign that this process lives
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, *map(str, handles)], stdin=subprocess.PIPE, pass_fds=handles,
                start_new_session=True,
            )  # fmt: skip
        self.tell(sys.path)
        self.tell(task)

    def tell(self, what: Any) -> None:
        """Send something, if it is still there to hear it."""
        with contextlib.suppress(OSError):
            self._pipe.send(what)

    def hear(self, name: str) -> Any:
        """What it answers; what was raised there is raised."""
        try:
            error, answer = self._pipe.recv()
        except (EOFError, OSError) as lost:
            code = self._process.wait()
            raise ChildProcessError(f"a process that steps {name} ended with code {code}") from lost
        if error is not None:
            raise error
        return answer

    def end(self) -> None:
        """Wait for its end, and bring it about if it takes too long."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe.close()
        assert self._process.stdin is not None
        self._process.stdin.close()


class Shared:
    """Arrays in shared memory for N copies: actions in, observations, rewards and ends out, and who begins anew."""

    def __init__(self, memory: int, env: Env, copies: int):
        self._map, self._at = mmap.mmap(memory, _size(env, copies)), 0
        kind = np.float64 if isinstance(env.action_space, Box) else np.int64
        self.action = self._array((copies, *(env.action_space.shape or ())), kind)
        self.reward = self._array((copies,), np.float64)
        self.terminated, self.truncated, self.ended = (self._array((copies,), np.bool_) for _ in range(3))
        self.obs = self._array((copies, *env.obs_space.shape), env.obs_space.dtype)

    def _array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self._at = -(-self._at // ALIGNED) * ALIGNED
        found = np.ndarray(shape, dtype, self._map, self._at)
        self._at += found.nbytes
        return found


def _size(env: Env, copies: int) -> int:
    """Bytes that are enough for Shared: actions and rewards of 8, three marks of 1, observations."""
    obs = math.prod(env.obs_space.shape) * np.dtype(env.obs_space.dtype).itemsize
    return copies * (8 * math.prod(env.action_space.shape or ()) + 8 + 3 + obs) + 6 * ALIGNED


@contextlib.contextmanager
def _memory(size: int) -> Iterator[int]:
    """The handle of so much memory without a name, while it is handed on."""
    with contextlib.ExitStack() as stack:
        if hasattr(os, "memfd_create"):
            handle = os.memfd_create("slmx")
            stack.callback(os.close, handle)
        else:
            handle = stack.enter_context(tempfile.TemporaryFile()).fileno()
        os.truncate(handle, size)
        yield handle


def work(pipe: Connection, memory: int) -> None:
    """What a worker does: make its copies, and do with them what it is told until it is told to close them."""
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    spec, seeds, own, copies, render_mode = pipe.recv()
    env: GymnasiumEnv | None = None
    try:
        env = GymnasiumEnv(spec, seeds[None], render_mode)
        shared = Shared(memory, env, copies)
        answer: Any = None
        while True:
            pipe.send((None, answer))
            what, answer = pipe.recv(), None
            if what == "begin":
                shared.obs[own] = env._begin()
            elif what == "advance":
                emitted = shared.obs, shared.reward, shared.terminated, shared.truncated
                for array, values in zip(emitted, env._advance(shared.action[own]), strict=True):
                    array[own] = values
            elif what == "restart" and (ended := np.flatnonzero(shared.ended[own])).size:
                shared.obs[own][ended] = env._restart(ended)[:, 0]
            elif what == "picture":
                answer = env._picture()
            elif what == "close":
                return
    except Exception as error:
        _send(pipe, error)
    finally:
        if env is not None:
            env.close()


def _send(pipe: Connection, error: Exception) -> None:
    """Send what was raised, as it is where it can travel, with where it was raised."""
    where = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a process that steps environments:\n{where}")
    with contextlib.suppress(OSError):
        pipe.send((error, None))


def _outlive_nobody() -> None:
    """End this process with the one that started it, whatever it is at."""
    os.read(0, 1)
    os._exit(0)
