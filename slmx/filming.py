"""The process that films the models of a training, see slmx/camera.py: `main` is what it does.

It is told by lines of its standard input, and ends with it: a training that is killed leaves none behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slmx.analysis.files import TrialFiles
from slmx.camera import ERRORS, PLACE, draw_without_window
from slmx.env import filmable, make
from slmx.errors import SlmxError
from slmx.spec.dump import restore

if TYPE_CHECKING:
    from slmx.spec.model import Spec

NICE = 10  # what is trained goes first


class Over(Exception):
    """Nobody waits for films any more."""


def main() -> None:
    """Film what lies there whenever there is a line to read, until "finish" is one, or there are no more."""
    os.nice(NICE)
    draw_without_window()
    trials = [Path(trial) for trial in json.loads(sys.stdin.readline())]
    discard(trials, ".session_*.mp4")  # of an earlier process, which was killed or has not ended yet
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # graphics libraries like to introduce themselves
        try:
            probe(filmed_spec(trials[0]))
        except Exception as error:
            wrong = f"{error}" if isinstance(error, SlmxError) else f"{type(error).__name__}: {error}"
            print(json.dumps(wrong), file=answer)
            return
        print("ready", file=answer)
    asked, over, last = threading.Event(), threading.Event(), threading.Event()
    asked.set()  # what an earlier process left

    def listen() -> None:
        for line in sys.stdin:
            if line == "finish\n":
                last.set()
            asked.set()
        # Nobody writes any more: what was begun, by a training that was killed, stays half a model. It is removed at
        # once, for another training may go on here before this process ends.
        discard(trials, ".session_*.tmp")
        over.set()
        asked.set()

    threading.Thread(target=listen, daemon=True).start()
    with contextlib.suppress(Over):
        while not over.is_set():
            asked.wait()
            asked.clear()  # first: what is said from here on is seen below, or in the next round
            finishing = last.is_set()
            for trial in trials:
                film_all(trial, over)
            if finishing:
                os._exit(0)  # at once: a thread waits for lines still


def discard(trials: Iterable[Path], halves: str) -> None:
    """Remove what was begun, by pattern."""
    for trial in trials:
        for half in (trial / PLACE).glob(halves):
            with contextlib.suppress(OSError):  # it may be gone
                half.unlink()


def film_all(trial: Path, over: threading.Event) -> None:
    """Film the models that wait in a trial's folder, the earlier first; Over once `over` is set."""
    waiting = list((trial / PLACE).glob("session_*.safetensors"))
    for path in sorted(waiting, key=lambda path: int(path.stem.rpartition("_")[2])):
        try:
            film(trial, path, over)
        except Over:
            raise
        except Exception as error:
            if over.is_set():  # another process may be at the same model, and finds it where it lay
                raise Over from error
            with (trial / PLACE / ERRORS).open("a") as file:
                file.write(f"{path.stem}: {traceback.format_exc()}\n")
        path.unlink(missing_ok=True)


def film(trial: Path, model: Path, over: threading.Event) -> None:
    """Film the first episode of its session's evaluations, greedily played by a model; a file for each environment."""
    from slmx.display import Film
    from slmx.evaluation import evaluate
    from slmx.model_file import read_model
    from slmx.session import Program, Session

    spec = filmed_spec(trial)
    session = int(model.stem.split("_")[1])
    program = Program([Session(spec, TrialFiles(trial).number, session)])
    tensors, frame, _ = read_model(model)
    program.load([tensors])
    program.stand_at(frame)
    films: dict[int, tuple[Film, Path, Path]] = {}

    def see(picture: np.ndarray, env: int) -> None:
        if over.is_set():
            raise Over
        if env not in films:
            name = f"{model.stem}.mp4" if len(spec.env) == 1 else f"{model.stem}_env_{env}.mp4"
            hidden = model.with_name(f".{Path(name).stem}.{os.getpid()}.mp4")
            films[env] = Film(hidden), hidden, model.with_name(name)
        films[env][0].show(picture)

    try:
        evaluate(program, 1, see=see)
        for shown, hidden, path in films.values():
            shown.close()
            hidden.replace(path)
    finally:
        for shown, hidden, _ in films.values():
            shown.close()
            hidden.unlink(missing_ok=True)


def filmed_spec(trial: Path) -> Spec:
    """The spec of a trial with environments that can be seen, on the CPU, in one thread."""
    spec = restore(TrialFiles(trial).record["spec"])
    seen = [filmable(env) for env in spec.env]
    meta = spec.meta.model_copy(update={"device": "cpu", "threads": 1})
    return spec.model_copy(update={"meta": meta, "env": [env.model_copy(update={"workers": 0}) for env in seen]})


def probe(spec: Spec) -> None:
    """Look at each environment once. What cannot be done here raises its error, or ends this process."""
    for one in spec.env:
        env = make(one, np.zeros((1, 1), np.int64), "rgb_array")
        try:
            env.reset()
            env.render()
        finally:
            env.close()
