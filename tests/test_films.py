"""Films of a training (meta.video): which there are, of what, and that they change nothing of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from imageio_ffmpeg import count_frames_and_secs

from slmx import camera, filming, lab
from slmx.display import Film
from slmx.env import EnvSpec, filmable
from slmx.errors import SpecError
from slmx.search.job import Job
from slmx.spec.build import build
from slmx.spec.check import problems
from slmx.spec.model import Spec
from tests.processes import running
from tests.programs import Keys, spec
from tests.search.test_job import finish, order_of
from tests.test_resume import A2C, interrupted, left, resumed, whole

ENV: Keys = {"name": "CartPole-v1", "max_frame": 600, "normalize_obs": True, "max_t": 30}


def filmed(env: Keys | None = None, meta: Keys | None = None, **video: Any) -> Spec:
    settings: Keys = {"max_session": 2, "log_frequency": 50, "eval_episode": 2, "eval_frequency": 200, "video": video}
    return spec(A2C, {"name": "Rollout"}, ENV | (env or {}), bodies=2, meta=settings | (meta or {}))


def without(one: Spec) -> Spec:
    return one.model_copy(update={"meta": one.meta.model_copy(update={"video": None})})


def films(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.removeprefix("trial_0/video/"): content for name, content in files.items() if "/video/" in name}


def tables(files: dict[str, bytes]) -> dict[str, bytes]:
    """All but the films and what says that there are any."""
    return {
        name: content for name, content in files.items() if "/video/" not in name and not name.endswith("spec.json")
    }


def test_films_change_nothing_and_show_the_first_episode_of_the_evaluation(tmp_path: Path) -> None:
    one = filmed(frequency=250, best=True, session=[1, 0])
    run = lab.train(one, tmp_path / "filmed", quiet=True, graphs=False)
    files = left(run.directory)
    assert tables(files) == tables(whole(without(one), tmp_path))
    lengths = {}
    for session in (0, 1):
        for name in (name for name in films(files) if name.startswith(f"session_{session}_")):
            lengths[name], _ = count_frames_and_secs(run.directory / "trial_0/video" / name)
    asked = {f"session_{s}_{frame}.mp4" for s in (0, 1) for frame in (200, 250, 500, 600)}
    assert asked <= set(lengths) <= asked | {"session_0_400.mp4", "session_1_400.mp4"}, "400 may have been the best"
    for session in (0, 1):
        played = lab.enjoy(run.directory, session=session)
        assert lengths[f"session_{session}_600.mp4"] == played.evaluations[0].length
    assert set(lengths) == set(films(files)), "and nothing else is left there"


@pytest.fixture(scope="module")
def often(tmp_path_factory: pytest.TempPathFactory) -> tuple[Spec, dict[str, bytes]]:
    """A spec with many films, and what it leaves."""
    one = filmed(frequency=100, meta={"checkpoint_frequency": 150})
    files = whole(one, tmp_path_factory.mktemp("often"))
    assert sorted(films(files)) == [f"session_0_{frame}.mp4" for frame in range(100, 601, 100)]
    return one, files


class Blind:
    """A camera that sees nothing."""

    def look(self) -> None:
        """At nothing."""


def test_what_was_not_filmed_before_a_kill_is_filmed_later(
    often: tuple[Spec, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And all else of a resumed run is the same."""
    one, expected = often
    with monkeypatch.context() as blind:
        blind.setattr(lab, "filming", lambda *_: contextlib.nullcontext(Blind()))
        directory = interrupted(one, tmp_path, 450)
    assert sorted(films(left(directory))) == [f"session_0_{frame}.safetensors" for frame in (100, 200, 300, 400)]
    (directory / "trial_0/video/.session_0_100.1.mp4").write_bytes(b"half a film")
    assert resumed(directory) == expected


def test_a_film_for_each_environment(tmp_path: Path) -> None:
    agent = {"name": "agent", "algorithm": A2C, "memory": {"name": "Rollout"}}
    agent["net"] = {"type": "MLP", "hid_layers": [8], "optim_spec": {"name": "Adam"}}
    envs = [ENV | {"max_frame": 100}, {"name": "FrozenLake-v1", "max_frame": 200, "max_t": 10}]
    meta = {"max_session": 1, "eval_episode": 1, "video": {"frequency": 100}}
    one = build("two", {"agent": agent, "env": envs, "body": {"num": 2}, "meta": meta})
    assert not problems(one)
    found = films(left(lab.train(one, tmp_path, quiet=True, graphs=False).directory))
    assert sorted(found) == [f"session_0_{frame}_env_{e}.mp4" for frame in (100, 200) for e in (0, 1)]


def test_several_choices_at_once_are_played_and_filmed(tmp_path: Path) -> None:
    env = {"name": "tests.env.probes:Dials", "max_frame": 200}
    one = filmed(env, {"eval_frequency": None}, end=True)
    run = lab.train(one, tmp_path, quiet=True, graphs=False)
    played = lab.enjoy(run.directory)
    assert played.repeats
    pictures, _ = count_frames_and_secs(run.directory / "trial_0/video/session_0_200.mp4")
    assert pictures == played.evaluations[0].length


def test_what_draws_no_pictures_is_filmed_as_its_twin() -> None:
    plain = EnvSpec(name="CartPole-v1", max_frame=1)
    assert filmable(plain) is plain
    lake = EnvSpec(name="FrozenLake-v1", max_frame=1)
    assert filmable(lake) == lake.model_copy(update={"backend": "gymnasium"})


UNSEEN: dict[str, tuple[Keys, str]] = {
    "no twin": (
        {"name": "Catch-v0"}, "envpool draws no pictures of Catch-v0, and gymnasium has no environment of that id",
    ),
    "no picture": ({"name": "tests.own:Worth"}, "gymnasium draws no pictures of tests.own:Worth"),
    "other options": (
        {"name": "FrozenLake-v1", "kwargs": {"size": 8}},
        "envpool draws no pictures of FrozenLake-v1, and gymnasium's cannot be run here: kwargs: FrozenLakeEnv: got an "
        "unexpected keyword argument 'size'; known: desc, is_slippery, map_name, reward_schedule, success_rate",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSEEN)
def test_what_cannot_be_seen_is_one_error(case: str) -> None:
    env, wrong = UNSEEN[case]
    env = {key: value for key, value in (ENV | {"normalize_obs": False} | env).items() if key != "max_t"}
    one = spec({"name": "Random"}, {}, env, {}, 2, {"max_session": 1, "video": {}})
    assert [str(error) for error in problems(one)] == [f"meta.video: env.0: {wrong}; without films set video null"]
    assert not problems(without(one))


WRONG: dict[str, tuple[Keys, str]] = {
    "nothing": ({"end": False}, "meta.video: films nothing; set frequency, best or end, or video null for none"),
    "late": (
        {"frequency": 600},
        "meta.video.frequency: films nothing before the end: 600 is not less than 600 frames; "
        "leave it out, and set end",
    ),
    "no such session": (
        {"session": [0, 2]}, "meta.video.session: there is no session 2: a trial has 2 sessions, from 0",
    ),
    "no search": ({"search": True}, "meta.video.search: does nothing: nothing is searched"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_films_that_nobody_would_make_are_errors(case: str) -> None:
    video, wrong = WRONG[case]
    assert [str(error) for error in problems(filmed(**video))] == [wrong]


def test_a_best_that_cannot_be_told_is_an_error() -> None:
    one = filmed(best=True, meta={"eval_frequency": None})
    assert [error.path for error in problems(one)] == ["meta.video.best"]


def beginning_with(code: str) -> str:
    """What the process that films runs, with something done first."""
    begin, _, rest = camera.START.partition("from slmx.filming")
    return f"{begin}exec({code!r}); from slmx.filming{rest}"


def test_what_cannot_be_seen_here_stops_a_run_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for render, says in (
        ("raise OSError('no light')", "OSError: no light"),
        ("os._exit(6)", "rendering ends the process"),
    ):
        start = f"from slmx.env.base import Env\nimport os\ndef dark(self):\n    {render}\nEnv.render = dark\n"
        with monkeypatch.context() as dark:
            dark.setattr(camera, "START", beginning_with(start))
            with pytest.raises(SpecError, match=f"meta.video: {says}"):
                lab.train(filmed(), tmp_path, quiet=True, graphs=False)
    assert not list(tmp_path.glob("*/trial_0/sessions.json")), "nothing had begun"
    (directory, _) = tmp_path.iterdir()
    assert films(resumed(directory)).keys() == {"session_0_600.mp4"}, "and it can begin where there is light"


def test_a_film_that_fails_harms_nobody_and_is_told(tmp_path: Path) -> None:
    """By default the end of session 0 is filmed."""
    directory = lab.train(filmed(), tmp_path, quiet=True, graphs=False).directory
    place = directory / "trial_0/video"
    (place / "session_0_100.safetensors").write_bytes(b"no model")
    filming.film_all(directory / "trial_0", threading.Event())
    assert sorted(path.name for path in place.iterdir()) == ["error.txt", "session_0_600.mp4"]
    assert (place / "error.txt").read_text().startswith("session_0_100: Traceback")


def wait_for(seen: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < until
        time.sleep(0.01)


SLOW = """
import threading, time
from slmx import filming
class Slow(threading.Event):
    def clear(self):
        time.sleep(1)
        super().clear()
threading.Event = Slow
filming.probe = filming.filmed_spec = str
"""


def test_the_last_word_is_heard_whenever_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the process forgets that it was asked to look, which here takes it a second."""
    monkeypatch.setattr(camera, "START", beginning_with(SLOW))
    own = camera.Camera([tmp_path])
    try:
        time.sleep(0.3)
        own._tell("finish")
        assert own._process.wait(20) == 0
    finally:
        own.close()


LATE = """
import time
from slmx import filming
def film_all(trial, over):
    while not (trial / "end").exists():
        time.sleep(0.01)
filming.probe, filming.filmed_spec, filming.film_all = str, str, film_all
"""


def test_a_process_that_outlives_its_training_leaves_the_next_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half models of the one go at once, and those of the other stay, however long it takes to end."""
    monkeypatch.setattr(camera, "START", beginning_with(LATE))
    half = tmp_path / "video" / ".session_0_100.safetensors.tmp"
    half.parent.mkdir()
    half.write_bytes(b"half")
    own = camera.Camera([tmp_path])
    try:
        own._input.close()
        wait_for(lambda: not half.exists())
        half.write_bytes(b"half of what a resumed training writes")
    finally:
        (tmp_path / "end").touch()
        own.close()
    assert half.exists()


def test_two_processes_film_the_same_model_each_in_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = lab.train(filmed(), tmp_path, quiet=True, graphs=False).directory
    place, seen = directory / "trial_0/video", []
    show = Film.show

    def shown(self: Film, picture: Any) -> None:
        seen.append({path.name for path in place.glob(".*")})
        show(self, picture)

    monkeypatch.setattr(Film, "show", shown)
    for number in (1, 2):
        shutil.copy(directory / "trial_0/model/session_0.safetensors", place / "session_0_600.safetensors")
        monkeypatch.setattr(os, "getpid", lambda number=number: number)
        filming.film_all(directory / "trial_0", threading.Event())
    assert set.union(*seen) == {".session_0_600.1.mp4", ".session_0_600.2.mp4"}
    assert [path.name for path in place.iterdir()] == ["session_0_600.mp4"]


def test_what_breaks_when_nobody_waits_for_it_any_more_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process films the model."""
    model = tmp_path / "video" / "session_0_100.safetensors"
    model.parent.mkdir()
    model.touch()

    def breaks(trial: Path, model: Path, over: threading.Event) -> None:
        over.set()
        raise FileNotFoundError("another process has removed what was begun")

    monkeypatch.setattr(filming, "film", breaks)
    with pytest.raises(filming.Over):
        filming.film_all(tmp_path, threading.Event())
    assert list(model.parent.iterdir()) == [model]


def test_trials_of_a_search_are_filmed_where_it_is_asked_for(tmp_path: Path) -> None:
    for search, expected in ((False, []), (True, [f"trial_{t}/video/session_1_320.mp4" for t in (0, 1)])):
        run = tmp_path / str(search)
        run.mkdir()
        finish(Job(order_of(run, [0.9, 0.99], video={"session": [1], "search": search})))
        assert sorted(str(path.relative_to(run)) for path in run.rglob("video/*")) == expected


@pytest.mark.parametrize(
    ("number", "frames"), [pytest.param(signal.SIGKILL, 10**7, marks=pytest.mark.slow), (signal.SIGINT, 4000)]
)
def test_nothing_goes_on_filming_when_a_run_is_ended(number: signal.Signals, frames: int, tmp_path: Path) -> None:
    """Be it in mid-training, or when nothing is left to do but to film."""
    raw = {
        "agent": {"name": "a", "algorithm": {"name": "Random"}}, "env": {"name": "Pendulum-v1", "max_frame": frames},
        "meta": {"max_session": 1, "log_frequency": 1000, "eval_episode": 1, "video": {"frequency": 100}},
    }  # fmt: skip
    (tmp_path / "spec.json").write_text(json.dumps({"long": raw}))
    with running("run", "spec.json", "train", "--no-graphs", cwd=tmp_path) as command:
        films = lambda: list(tmp_path.glob("data/*/trial_0/video/.session*.mp4"))
        ended = lambda: [path for path in tmp_path.glob("data/*/trial_0/sessions.json") if "DONE" in path.read_text()]
        command.wait_for(lambda: bool(films() and (ended() or frames > 4000)))
        assert len(command.alive()) >= 2
        command.gone(number)
    assert not list(tmp_path.glob("data/*/trial_0/video/.*")), "nor is half a film left"
