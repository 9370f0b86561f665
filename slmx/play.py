"""Playing a saved model, and finding the one that is meant."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slmx.camera import draw_without_window
from slmx.errors import SlmxError
from slmx.model_file import find_model, read_model
from slmx.table import written

if TYPE_CHECKING:
    from slmx.analysis.files import Session as Ended
    from slmx.session import Program, Session
    from slmx.spec.model import Spec
    from slmx.watch import Evaluation


@dataclass(frozen=True)
class Played:
    """Greedy episodes of a saved model, and whether they repeat its evaluation in its training.

    `trial`: its number, where it is one of a search; `frame`: of a model from before the end, else None.
    """

    trial: int | None
    session: int
    frame: int | None
    evaluations: list[Evaluation]
    stored: list[float] | None

    @property
    def returns(self) -> list[float]:
        return [evaluation.total for evaluation in self.evaluations]

    @property
    def repeats(self) -> bool:
        """Whether these are the returns of the stored evaluation, to the digits of its table."""
        return self.stored is not None and [written(x) for x in self.returns] == [written(x) for x in self.stored]


def enjoy(
    directory: Path,
    episodes: int | None = None,
    session: int | None = None,
    seed: int | None = None,
    render: str | None = None,
    video: Path | None = None,
    model: str = "last",
) -> Played:
    """Play a saved model greedily.

    `directory`: of a run or a trial; of a search it is the best trial. `model`: "last", "best", or the frame of another
    that was kept. By default of the first session that left it, with the seeds and the number of episodes of its
    evaluation, whose returns it then repeats exactly; `seed` draws others. What is shown or filmed of an environment
    without pictures is its twin in gymnasium.
    """
    from slmx.analysis.files import TrialFiles
    from slmx.env import filmable
    from slmx.evaluation import evaluate, evaluation_seeds
    from slmx.member.streams import integer_seeds
    from slmx.session import Program, Session

    if render or video:
        draw_without_window()
    trial = find_trial(directory)
    files = TrialFiles(trial)
    spec, ended = read_trial(trial)
    chosen, path = find_model(trial, model, session)
    seen = [filmable(env) for env in spec.env] if render or video else spec.env
    # what was trained on a GPU plays anywhere, and repeats there if anything does
    device = "auto" if spec.meta.device == "cuda" else spec.meta.device
    meta = spec.meta.model_copy(update={"device": device})
    itself, spec = seen == spec.env, spec.model_copy(update={"env": seen, "meta": meta})
    tensors, frame, members = read_model(path)
    # in company as large as at its training, because a BLAS may round one matrix product otherwise than several
    company = 1 if render or video else members or len(ended)
    program = Program([Session(spec, files.number, chosen)] * company)
    try:
        program.load([tensors] * company)
    except ValueError as error:
        raise SlmxError(f"{path}: {error}") from error
    program.stand_at(frame)
    count = episodes or spec.meta.eval_episode

    def draw(own: Session, env: int, copies: int) -> Sequence[int]:
        if seed is None:
            return evaluation_seeds(own, env, copies)
        return integer_seeds(np.random.SeedSequence([seed, env]), copies)

    if render or video:
        evaluations = _show(program, count, draw, render, video)
    else:
        evaluations = [evaluation for evaluation in evaluate(program, count, draw) if evaluation.member == 0]
    stored = None
    if seed is None and count == spec.meta.eval_episode and itself:
        longest = program.ticks.index(max(program.ticks))
        stored = stored_returns(trial, chosen, longest, None if frame is None else program.frames[longest])
    return Played(None if files.setting is None else files.number, chosen, frame, evaluations, stored)


def _show(
    program: Program,
    count: int,
    draw: Callable[[Session, int, int], Sequence[int]],
    render: str | None,
    video: Path | None,
) -> list[Evaluation]:
    """Play one episode after another, before the eyes of a viewer; a film for each of several environments."""
    from slmx.display import Film, Window
    from slmx.evaluation import evaluate

    envs = len(program.spec.env)
    films: list[Film] = []
    window = Window() if render == "human" else None

    def see(picture: np.ndarray, env: int) -> None:
        if window:
            window.show(picture)
        if films:
            films[env].show(picture)

    evaluations = []
    try:
        if video and envs > 1:
            films += (Film(video.with_stem(f"{video.stem}_env_{env}")) for env in range(envs))
        elif video:
            films.append(Film(video))
        for i in range(count):
            # of each agent's episodes in an environment, which follow one another there
            one = lambda own, env, copies, i=i: draw(own, env, count * copies)[i::count]
            evaluations += evaluate(program, 1, one, see)
    finally:
        for viewer in (*films, *([window] if window else [])):
            viewer.close()
    return sorted(evaluations, key=lambda played: (played.env, played.agent))


def find_trial(directory: Path) -> Path:
    """The directory of a trial: that itself, the best of a search's, or a training's.

    Where no trial of a search has come to its end, the first of those that left a model.
    """
    from slmx.analysis.best import best_trial
    from slmx.analysis.files import TrialFiles

    if (directory / "sessions.json").is_file():
        return directory
    best = best_trial(directory)
    models = directory.glob("trial_*/model/*.safetensors")
    left = sorted({path.parents[1] for path in models}, key=lambda trial: TrialFiles(trial).number)
    places = [directory / f"trial_{best}"] if best is not None else [*left, directory / "trial_0"]
    for place in places:
        if (place / "sessions.json").is_file():
            return place
    raise SlmxError(
        f"{directory}: no trained model here; expected the directory of a run, data/NAME_TIME, or of its trial"
    )


def read_trial(trial: Path) -> tuple[Spec, list[Ended]]:
    """The resolved spec of a trial, and its sessions as they ended."""
    from slmx.analysis.files import TrialFiles
    from slmx.spec.dump import restore

    files = TrialFiles(trial)
    return restore(files.record["spec"]), files.sessions


def stored_returns(trial: Path, session: int, env: int, frame: int | None) -> list[float] | None:
    """The returns of a session's evaluation at this frame of an environment, or of its last, in order.

    `env`: that whose frames are used up last. None where there was no such evaluation.
    """
    from slmx.analysis.files import read_table

    path = trial / f"eval_{session}.csv"
    if not path.exists():
        return None
    table = read_table(path, ("agent", "env", "frame", "return"))
    # all evaluations have equally many rows, and stay at the last frame of an environment whose frames are used up
    frames = table.loc[table["env"] == env, "frame"].unique().tolist()
    if frame not in (None, *frames) or not frames:
        return None
    number, size = len(frames) - 1 if frame is None else frames.index(frame), len(table) // len(frames)
    return table["return"].iloc[number * size : (number + 1) * size].astype(float).tolist()


def has_screen() -> bool:
    """Whether a window could be opened."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
