"""The lab: runs a spec in a mode, and leaves its record."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slmx import stop
from slmx.camera import filming
from slmx.errors import SlmxError, SpecError, WriteError
from slmx.lazy import loading
from slmx.lock import owning
from slmx.play import enjoy, has_screen
from slmx.record import Recorder
from slmx.run_directory import OVER, has_ended, make_directory, read_facts, write_spec, write_state
from slmx.space import resolve
from slmx.spec.dump import dump
from slmx.storage import mirrored, store_of
from slmx.whole import resumable, writing

if TYPE_CHECKING:
    import pandas as pd

    from slmx.display import Display
    from slmx.env.base import Spaces
    from slmx.search.display import SearchDisplay
    from slmx.search.experiment import SearchRun
    from slmx.session import Program, Session
    from slmx.spec.model import AgentSpec, EnvSpec, Spec

RANDOM_EPISODES = 100  # from which the random return of an environment without a standard is measured
DEV_FRAMES = 5000


@dataclass(frozen=True)
class Run:
    """What a training left: its directory, a row per session, agent and environment, and whether it was interrupted."""

    directory: Path
    table: pd.DataFrame
    interrupted: bool

    @property
    def failed(self) -> bool:
        """Whether no session came to its end."""
        return not self.interrupted and bool((self.table["state"] == "FAILED").all())


def train(
    spec: Spec,
    data: Path,
    quiet: bool = False,
    graphs: bool = True,
    check: bool = False,
    display: Display | None = None,
    tensorboard: bool = False,
) -> Run:
    """Train all sessions of one trial as one program; write tables, models and graphs under `data`.

    `check` looks at every update for numbers that are not finite; `tensorboard` writes event files as well. Ctrl-C ends
    the training and keeps what there is.
    """
    from slmx.display import Display
    from slmx.footprint import refuse_what_cannot_fit
    from slmx.session import Program

    refuse_what_cannot_fit(spec, spec.meta.max_session)
    with loading():
        program = Program(_sessions(spec))
    display = display or Display(quiet)
    directory = make_directory(data, spec.name, spec.meta.storage)
    trial = directory / "trial_0"
    with writing(trial):
        trial.mkdir()
    fitness = {env.name: standard(env, spaces) for env, spaces in zip(spec.env, program.spaces, strict=True)}
    backends = [spaces.backend for spaces in program.spaces]
    for place in (directory, trial):
        write_spec(place, dump(spec), backends, fitness)
    with owning(directory):
        return _train(directory, program, display, graphs, check, tensorboard)


def resume(
    directory: Path,
    quiet: bool = False,
    graphs: bool = True,
    display: Display | None = None,
    address: str | None = None,
    tensorboard: bool = False,
) -> Run | SearchRun | None:
    """Go on with a run that was killed or stopped, as if it had not been; None where it had come to its end.

    `display` shows a training; `address`: of another Ray cluster for a search; `tensorboard`: write its event files, as
    is done anyway where the run had them. SlmxError where the directory is not of a run, or the run is under way.
    """
    from slmx.analysis.files import read_record
    from slmx.display import Display
    from slmx.env import describe
    from slmx.footprint import refuse_what_cannot_fit
    from slmx.search.display import SearchDisplay
    from slmx.session import Program
    from slmx.spec.dump import restore

    facts = read_facts(directory)
    mode, state = facts.pop("mode"), facts.pop("state")
    if state in OVER:
        return None
    record = read_record(directory)
    if address is not None:
        if mode != "search":
            raise SlmxError(f"--address: only searches run on a cluster, and {directory} is of a {mode}")
        record["spec"]["meta"]["ray_address"] = address
    spec = restore(record["spec"])
    if (backends := [describe(env).backend for env in spec.env]) != record["backend"]:
        here, there = ", ".join(backends), ", ".join(record["backend"])
        raise SlmxError(f"{directory}: was begun with environments of {there}, and here they would be of {here}")
    if mode == "search":
        return _search(spec, lambda: directory, facts, SearchDisplay(quiet), graphs, tensorboard)
    refuse_what_cannot_fit(spec, spec.meta.max_session)
    with owning(directory):
        if has_ended(directory):  # another process has brought it there meanwhile
            return None
        return _train(directory, Program(_sessions(spec)), display or Display(quiet), graphs, False, tensorboard)


def _sessions(spec: Spec) -> list[Session]:
    from slmx.session import Session

    return [Session(spec, 0, index) for index in range(spec.meta.max_session)]


def _train(directory: Path, program: Program, display: Display, graphs: bool, check: bool, tensorboard: bool) -> Run:
    """Train to the end from where a checkpoint left off, if there is one. The directory is this process's own."""
    from slmx import checkpoint
    from slmx.analysis.analyze import analyze
    from slmx.analysis.events import following
    from slmx.analysis.files import read_table

    trial, left = directory / "trial_0", checkpoint.place(directory, 0)
    record = lambda state: Recorder(trial, program.sessions, left=state, camera=camera)
    with (
        mirrored(store_of(program.spec.meta.storage, directory)),
        resumable(directory),
        following(directory, tensorboard),
        contextlib.ExitStack() as beside,
    ):
        write_state(directory, "train", "RUNNING")
        camera = beside.enter_context(filming(program.spec.meta.video, [trial]))
        recorder = checkpoint.resume(left, program, record)
        recorder.open_ports(program)
        program.watcher = recorder
        display.begin(program, directory)
        interrupted, complete = False, False
        try:
            for epoch_ends in program.rows(check):
                stop.check()
                if epoch_ends:
                    checkpoint.save(left, program, recorder)
                else:
                    display.progress(program, recorder)
            complete = True
        except KeyboardInterrupt:
            interrupted = True
        except WriteError:
            raise
        except Exception as error:
            recorder.fail_all(f"{type(error).__name__}: {error}")
            raise
        finally:
            if not complete:
                with contextlib.suppress(WriteError):
                    write_state(directory, "train", "STOPPED")
        display.end(interrupted, graphs)
        recorder.close(program, complete)
        analyze(directory, graphs=graphs)
        if camera and complete:
            camera.finish()
        run = Run(directory, read_table(trial / "trial.csv"), interrupted)
        if complete:
            write_state(directory, "train", "FAILED" if run.failed else "DONE")
            checkpoint.remove(left)
            checkpoint.tidy(directory)
    display.results(run)
    return run


def search(
    spec: Spec,
    data: Path,
    quiet: bool = False,
    graphs: bool = True,
    display: SearchDisplay | None = None,
    tensorboard: bool = False,
) -> SearchRun:
    """Try settings of a spec's search block on Ray; write tables, models, the journal and the best spec under `data`.

    The best of them are then validated on fresh seeds. Ctrl-C ends the search and keeps what there is. `tensorboard`:
    write event files as well.
    """
    from slmx.search.display import SearchDisplay

    display = display or SearchDisplay(quiet)
    place = lambda: make_directory(data, spec.name, spec.meta.storage)
    run = _search(spec, place, {}, display, graphs, tensorboard)
    assert run is not None  # nobody else knows of it
    return run


def _search(
    spec: Spec,
    place: Callable[[], Path],
    facts: dict[str, Any],
    display: SearchDisplay,
    graphs: bool,
    tensorboard: bool,
) -> SearchRun | None:
    """Search in the directory that `place` makes or names; `facts`: what run.json says there of an earlier process.

    None where one has brought it to its end meanwhile.
    """
    with loading():
        from slmx.env import describe
        from slmx.search.experiment import Experiment, searcher_of

    searcher, spaces = searcher_of(spec), [describe(env) for env in spec.env]
    fitness = {env.name: standard(env, own) for env, own in zip(spec.env, spaces, strict=True)}
    backends = [own.backend for own in spaces]
    return Experiment(spec, searcher, backends, fitness, display, graphs, tensorboard).run(place, facts)


def brief(spec: Spec) -> Spec:
    """The spec cut to what a short look takes: one session of a few thousand frames with many table rows.

    Every agent learns in them: as many as a rollout has are left, and updates begin with the second quarter.
    """
    space = resolve(spec.body, len(spec.agent), len(spec.env))
    longest = 1 + max(getattr(agent.algorithm, "time_horizon", 0) for agent in spec.agent)  # SARSA takes one step more
    frames = [min(env.max_frame, max(DEV_FRAMES, longest * space.rows[e])) for e, env in enumerate(spec.env)]
    lived = Counter()
    for (agent, env), steps in space.steps(frames).items():
        lived[agent] += steps * space.counts[agent, env]
    agents = [_begun_by(agent, lived[a] // 4) for a, agent in enumerate(spec.agent)]
    envs = [env.model_copy(update={"max_frame": own}) for env, own in zip(spec.env, frames, strict=True)]
    meta = {"max_session": 1, "log_frequency": max(1, min(frames) // 20), "eval_episode": 3}
    return spec.model_copy(update={"agent": agents, "env": envs, "meta": spec.meta.model_copy(update=meta)})


def _begun_by(agent: AgentSpec, frame: int) -> AgentSpec:
    """An agent that begins to learn by this frame, where its algorithm says when."""
    start = getattr(agent.algorithm, "training_start_step", 0)
    if start <= frame:
        return agent
    return agent.model_copy(update={"algorithm": agent.algorithm.model_copy(update={"training_start_step": frame})})


def dev(spec: Spec, data: Path, quiet: bool = False, graphs: bool = True, tensorboard: bool = False) -> Run:
    """A short look at one session: a few thousand frames, every table row shown, every update checked."""
    from slmx.display import Display

    run = train(
        brief(spec), data, quiet, graphs, check=True, display=Display(quiet, verbose=True), tensorboard=tensorboard
    )
    if has_screen() and not (run.failed or run.interrupted) and _can_be_seen(spec):
        enjoy(run.directory, episodes=1, render="human")
    return run


def _can_be_seen(spec: Spec) -> bool:
    """Whether there are pictures of all its environments."""
    from slmx.env import filmable

    try:
        return all(filmable(env) for env in spec.env)
    except SpecError:
        return False


def standard(env: EnvSpec, spaces: Spaces) -> dict[str, Any]:
    """The fitness standard of an environment: the lab's table's, or measured.

    An environment that the table does not know has its random return measured, and the reward threshold with which it
    is registered, if any, as its standard.
    """
    import json

    table = json.loads(resources.files("slmx").joinpath("specs/_fitness.json").read_text())
    if env.name in table:
        return table[env.name]
    mean, _ = random_return(env, spaces)
    threshold = spaces.reward_threshold
    known = threshold is not None and threshold > mean
    source = f"random: mean of {RANDOM_EPISODES} episodes, measured before the training; standard: " + (
        "the registered reward threshold" if known else "none known, so there is no strength"
    )
    return {"rand_return": mean, "std_return": threshold if known else None, "std_frame": None, "source": source}


def random_return(env: EnvSpec, spaces: Spaces, episodes: int = RANDOM_EPISODES) -> tuple[float, float]:
    """Mean return of uniformly random actions over one episode each of `episodes` copies, and its standard error.

    It repeats exactly; the random returns in spec/_fitness.json are means of 1000 episodes.
    """
    from gymnasium.spaces import Box

    from slmx.env import make
    from slmx.evaluation import LONGEST_EPISODE

    rng = np.random.default_rng(0)
    running = make(env, rng.integers(2**31, size=(1, episodes)))
    space, shape = spaces.action_space, (1, running.rows, *(spaces.action_space.shape or ()))
    total, open_ = np.zeros((1, running.rows)), np.ones((1, running.rows), bool)
    try:
        running.reset()
        for _ in range(LONGEST_EPISODE):
            if isinstance(space, Box):
                low, high = np.maximum(space.low, -1e3), np.minimum(space.high, 1e3)
                action = rng.uniform(low, high, size=shape).astype(np.float32)
            else:
                action = rng.integers(spaces.choices or spaces.action_size, size=shape)
            step = running.step(action)
            total += step.reward * open_
            open_ &= ~step.finished
            if not open_.any():
                break
    finally:
        running.close()
    return float(total.mean()), float(total.std(ddof=1) / np.sqrt(total.size))
