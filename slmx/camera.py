"""Films of a training, made beside it by a process of its own (slmx/filming.py), so that it goes on and nothing of it
changes: no number, no random stream, no graphics library in it.

A model that is to be filmed lies in the trial's folder `video`, on the disk, until its film lies there: a run that was
killed films it when it goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from slmx.errors import SpecError
from slmx.whole import writing

if TYPE_CHECKING:
    from slmx.spec.model import VideoSpec

PLACE = "video"  # the folder of a trial for its films
ERRORS = "error.txt"  # beside the films: why there is none of a model
PATIENCE = 10.0  # seconds in which the process may end by itself
START = "import json, sys; sys.path[:] = json.loads(sys.stdin.readline()); from slmx.filming import main; main()"


class Camera:
    """Films the models that are put into the folders `video` of these trials, which are one program's.

    SpecError where nothing of the environments can be seen here.
    """

    def __init__(self, trials: Sequence[Path]):
        self._trials = list(trials)
        self._process = subprocess.Popen(
            [sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._tell(json.dumps(sys.path))
        self._tell(json.dumps([str(trial.absolute()) for trial in trials]))
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if answer != "ready\n":
            self.close()
            wrong = json.loads(answer) if answer else "rendering ends the process: is there no graphics library (EGL)?"
            raise SpecError("meta.video", wrong)

    def look(self) -> None:
        """There is a model to film."""
        self._tell("look")

    def finish(self) -> None:
        """Wait until all is filmed."""
        self._tell("finish")
        if code := self._process.wait():  # models that were not filmed lie there still
            place = self._trials[0] / PLACE
            with writing(place):
                place.mkdir(exist_ok=True)
            with (place / ERRORS).open("a") as file:
                file.write(f"the process that films ended with code {code}\n")

    def close(self) -> None:
        """End the process, whatever it is at."""
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    @property
    def _input(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died, which is seen at the end
            self._input.write(f"{line}\n")
            self._input.flush()


@contextlib.contextmanager
def filming(video: VideoSpec | None, trials: Sequence[Path]) -> Iterator[Camera | None]:
    """A camera for these trials while this lasts, if meta.video asks for films."""
    if video is None:
        yield None
        return
    camera = Camera(trials)
    try:
        yield camera
    finally:
        camera.close()


def draw_without_window() -> None:
    """Have MuJoCo look for no window where there is no screen."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl")
