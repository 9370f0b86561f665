"""A training that is left and resumed leaves what the uninterrupted one leaves, byte for byte."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slmx import checkpoint, lab
from slmx.alongside import alongside
from slmx.display import Display
from slmx.errors import SlmxError, WriteError
from slmx.lock import owning
from slmx.record import Recorder
from slmx.run_directory import read_state
from slmx.session import Program, Session
from slmx.spec.build import build
from slmx.spec.check import check_one
from slmx.spec.model import Spec
from slmx.table import Table
from slmx.watch import Silence
from tests import test_members as members
from tests.command import call
from tests.programs import Keys, program, spec

ROOT = Path(__file__).parents[1]
CLOCKS = ("speed.csv",)
A2C: Keys = {"name": "A2C", "time_horizon": 4}
ENV: Keys = {"name": "CartPole-v1", "max_frame": 600, "normalize_obs": True, "normalize_reward": True}
SEEN: Keys = {"name": "tests.probes:Drift", "max_frame": 600, "kwargs": {"image": True}, "normalize_reward": True}


class Leaving(Display):
    """A display before which somebody presses Ctrl-C when there are so many frames."""

    def __init__(self, frame: int):
        super().__init__(quiet=True)
        self.frame = frame

    def progress(self, program: Program, recorder: Recorder) -> None:
        if program.frames[0] >= self.frame:
            raise KeyboardInterrupt


def tiny(algorithm: Keys = A2C, memory: Keys | None = None, env: Keys | None = None, **meta: int | str | None) -> Spec:
    settings = {"max_session": 2, "log_frequency": 50, "checkpoint_frequency": 150, "eval_frequency": 200, **meta}
    memory = {"name": "Rollout"} if memory is None else memory
    return spec(algorithm, memory, ENV | (env or {}), bodies=2, meta=settings)


def left(run: Path) -> dict[str, bytes]:
    """The files of a run, but for what a clock wrote."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in CLOCKS]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def whole(one: Spec, data: Path) -> dict[str, bytes]:
    return left(lab.train(one, data / "whole", quiet=True, graphs=False).directory)


def interrupted(one: Spec, data: Path, frame: int) -> Path:
    run = lab.train(one, data / "parts", graphs=False, display=Leaving(frame))
    assert run.interrupted and read_state(run.directory) == ("train", "STOPPED")
    return run.directory


def resumed(directory: Path) -> dict[str, bytes]:
    run = lab.resume(directory, quiet=True, graphs=False)
    assert isinstance(run, lab.Run) and not run.interrupted and read_state(directory) == ("train", "DONE")
    return left(directory)


@pytest.mark.parametrize("way", members.WAYS)
def test_every_algorithm_goes_on_where_it_was_left(way: str, tmp_path: Path) -> None:
    algorithm, memory, net, _ = members.WAYS[way]
    meta: Keys = {"max_session": 2, "log_frequency": 50, "checkpoint_frequency": 150}
    plain = ENV if "discrete" in members.kinds_of(way) else ENV | {"name": "Pendulum-v1"}
    env = (SEEN if members.sees_images(way) else plain) | {"max_frame": 300}
    one = spec(algorithm, memory, env, members.NET | net if algorithm["name"] != "Random" else {}, 2, meta)
    expected = whole(one, tmp_path)
    directory = interrupted(one, tmp_path, 250)
    assert (directory / "checkpoint").is_dir()
    assert resumed(directory) == expected
    assert not (directory / "checkpoint").exists(), "what is finished needs no checkpoint"


@pytest.mark.parametrize("net", [{}, {"type": "RNN", "rnn_hidden_size": 8, "prev_action_reward": True}])
def test_agents_of_several_choices_at_once_go_on_where_they_were_left(net: Keys, tmp_path: Path) -> None:
    env = {"name": "tests.probes:Drift", "max_frame": 600, "kwargs": {"actions": "multidiscrete"}}
    meta: Keys = {"max_session": 2, "log_frequency": 50, "checkpoint_frequency": 150}
    one = spec(A2C, {"name": "Rollout"}, env, members.NET | net, 2, meta)
    assert resumed(interrupted(one, tmp_path, 500)) == whole(one, tmp_path)


@pytest.mark.parametrize(
    "frame", [50, pytest.param(150, marks=pytest.mark.slow), pytest.param(350, marks=pytest.mark.slow), 600]
)
def test_it_does_not_matter_when_it_was_left(frame: int, tmp_path: Path) -> None:
    one = tiny()
    assert resumed(interrupted(one, tmp_path, frame)) == whole(one, tmp_path)


def test_it_may_be_left_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny()
    directory = interrupted(one, tmp_path, 200)
    with monkeypatch.context() as leaving:
        leaving.setattr("slmx.display.Display", lambda quiet: Leaving(400))
        run = lab.resume(directory, graphs=False)
        assert isinstance(run, lab.Run) and run.interrupted
    assert resumed(directory) == whole(one, tmp_path)


def test_several_environments_of_which_one_is_over_already(tmp_path: Path) -> None:
    agent = {"name": "a2c", "algorithm": A2C, "memory": {"name": "Rollout"}, "net": members.NET}
    envs = [ENV, {"name": "Acrobot-v1", "max_frame": 200}]
    meta = {"max_session": 2, "log_frequency": 50, "checkpoint_frequency": 150, "eval_episode": 1}
    one = build("two", {"agent": agent, "env": envs, "body": {"num": 2}, "meta": meta})
    assert resumed(interrupted(one, tmp_path, 450)) == whole(one, tmp_path)


def test_a_session_that_failed_stays_failed(tmp_path: Path) -> None:
    session = Session(tiny(env={"name": "tests.own:Poisoned"}), 0, 1)
    sick = {
        "name": "tests.own:Poisoned",
        "kwargs": {"seeds": (session.seeds("env", 0).generate_state(2) >> 1).tolist()},
    }
    one = tiny(env=sick)
    expected = whole(one, tmp_path)
    states = [own["state"] for own in json.loads(expected["trial_0/sessions.json"])]
    assert states == ["DONE", "FAILED"]
    assert resumed(interrupted(one, tmp_path, 350)) == expected


def test_killed_by_the_system(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    raw = {
        "agent": {"name": "a2c", "algorithm": A2C, "memory": {"name": "Rollout"}, "net": members.NET},
        "env": {"name": "CartPole-v1", "max_frame": 5000}, "body": {"num": 2},
        "meta": {"max_session": 2, "log_frequency": 100, "checkpoint_frequency": 1000, "eval_episode": 1},
    }  # fmt: skip
    path.write_text(json.dumps({"killed": raw}))
    options = ["--quiet", "--no-graphs", "--data", tmp_path / "parts"]
    running = subprocess.Popen([sys.executable, "-m", "slmx", "run", path, "train", *options], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("parts/*/checkpoint/program_0.pt")):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.05)
    time.sleep(0.1)
    running.send_signal(signal.SIGKILL)
    running.wait()
    (directory,) = (tmp_path / "parts").iterdir()
    assert read_state(directory) == ("train", "RUNNING")
    assert resumed(directory) == whole(check_one(path, None), tmp_path)


@pytest.mark.parametrize("damage", ["cut off", "other bytes", "gone", "tables gone", "tables cut off"])
def test_what_is_damaged_is_trained_again(damage: str, tmp_path: Path) -> None:
    one = tiny()
    directory = interrupted(one, tmp_path, 450)
    path, table = checkpoint.place(directory, 0), directory / "trial_0" / "episodes_1.csv"
    content = path.read_bytes()
    if damage == "cut off":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "other bytes":
        path.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    elif damage == "gone":
        path.unlink()
    elif damage == "tables gone":
        table.unlink()
    else:
        table.write_text(table.read_text()[:100])
    assert resumed(directory) == whole(one, tmp_path)


def test_what_cannot_be_written_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny()
    directory = interrupted(one, tmp_path, 450)
    before, rewrite = left(directory), Table._rewrite
    full = iter([OSError(errno.ENOSPC, "No space left on device")])  # until somebody makes room

    def written(self: Table, rows: Iterable[list[Any]]) -> None:
        for error in full:
            raise WriteError(self.path, error)
        rewrite(self, rows)

    with monkeypatch.context() as disk:
        disk.setattr(Table, "_rewrite", written)
        with pytest.raises(WriteError, match="No space left on device; once that is mended, go on with: slmx resume"):
            lab.resume(directory, quiet=True, graphs=False)
    assert left(directory) == before | {"run.json": (directory / "run.json").read_bytes()}
    assert resumed(directory) == whole(one, tmp_path)


def test_what_is_not_damaged_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = interrupted(tiny(), tmp_path, 450)
    begun: list[int] = []
    epoch = Program._epoch
    monkeypatch.setattr(Program, "_epoch", lambda self, *args: begun.append(self.frames[0]) or epoch(self, *args))
    resumed(directory)
    assert begun == [300, 450]


def on_the_disk(monkeypatch: pytest.MonkeyPatch) -> dict[Path, bytes]:
    """What the disk is known to have of each file; the one that was waited for last stands last."""
    found: dict[Path, bytes] = {}
    wait = os.fsync

    def waiting(handle: int) -> None:
        wait(handle)
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if path.is_file():
            path, content = path.with_name(path.name.removeprefix(".").removesuffix(".tmp")), path.read_bytes()
            found.pop(path, None)
            found[path] = content

    monkeypatch.setattr(os, "fsync", waiting)
    return found


def lasting(trial: Path) -> dict[Path, bytes]:
    """The files of a trial that cannot be made again of others."""
    paths = [*trial.glob("*_?.csv"), trial / "speed.csv", trial / "sessions.json", *trial.glob("model/*")]
    assert len(paths) > 4
    return {path: path.read_bytes() for path in paths}


def test_a_run_is_done_when_the_disk_has_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = on_the_disk(monkeypatch)
    directory = lab.train(tiny(env={"max_frame": 100}), tmp_path, quiet=True, graphs=False).directory
    assert disk.items() >= lasting(directory / "trial_0").items()
    assert list(disk)[-1] == directory / "run.json"


def test_a_finished_run_has_nothing_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = lab.train(tiny(), tmp_path, quiet=True, graphs=False)
    before = left(run.directory)
    assert lab.resume(run.directory) is None
    assert call(monkeypatch, "resume", run.directory) == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert left(run.directory) == before


def test_the_command_resumes_the_newest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = interrupted(tiny(), tmp_path, 450)
    assert call(monkeypatch, "resume", "--data", directory.parent, "--no-graphs") == 0
    out = capsys.readouterr().out
    assert "goes on from frame 300" in out and "trained after" in out


def test_a_moved_run_goes_on(tmp_path: Path) -> None:
    one = tiny()
    directory = interrupted(one, tmp_path, 450)
    moved = tmp_path / "elsewhere"
    shutil.move(directory, moved)
    assert resumed(moved) == whole(one, tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    directory = interrupted(tiny(), tmp_path, 450)
    with owning(directory), pytest.raises(SlmxError, match="another process is running this"):
        lab.resume(directory)
    resumed(directory)


def test_what_another_process_has_ended_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, ended = interrupted(tiny(), tmp_path, 450), {}

    def late(run: Path) -> AbstractContextManager[None]:
        monkeypatch.undo()
        ended.update(resumed(run))
        return owning(run)

    monkeypatch.setattr(lab, "owning", late)
    assert lab.resume(directory, quiet=True, graphs=False) is None
    assert left(directory) == ended


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SlmxError, match="not the directory of a run"):
        lab.resume(tmp_path)
    directory = interrupted(tiny(), tmp_path, 450)
    (directory / "run.json").write_text("{")
    with pytest.raises(SlmxError, match="not the directory of a run"):
        lab.resume(directory)


def test_an_epoch_cuts_episodes_off_and_begins_with_new_ones() -> None:
    env = {"name": "tests.own:Corridor", "max_frame": 100}
    one = spec({"name": "Random"}, {}, env, {}, 2, {"checkpoint_frequency": 20})
    program = Program([Session(one, 0, index) for index in range(2)], Silence())
    seen = []
    update = program.agents[0].update

    def noted(obs, action, step) -> None:  # type: ignore[no-untyped-def]
        seen.append((program.tick, obs[0].clone(), step[0]))
        update(obs, action, step)

    program.agents[0].update = noted  # type: ignore[method-assign]
    ends = list(program.rows())
    assert ends.count(True) == 4, "an epoch in every 20 frames, and none begins at the end"
    for (tick, _, step), (_, following, _) in itertools.pairwise(seen):
        if tick % 10 == 0:
            assert step.done.all() and (step.terminated | step.truncated).all()
            assert not (step.terminated & step.truncated).any()
            assert (following[..., 0] < 0.5).all(), "new episodes begin in the first half"
        else:
            assert (step.obs == following).all()
    final = seen[-1][2]
    assert not final.done.all(), "the end of the training cuts nothing off"
    lengths = sum(episode.length for episode in program.watcher.returns)  # type: ignore[attr-defined]
    assert lengths < 200, "episodes that were cut off are not recorded"


def test_checkpoints_are_written_while_others_are_removed(tmp_path: Path) -> None:
    saved, places = program(tiny()), [checkpoint.place(tmp_path, trial) for trial in range(2)]
    recording = SimpleNamespace(state=dict)

    def remove(over: threading.Event) -> None:
        while not over.is_set():
            checkpoint.remove(places[1])

    with alongside(remove, "remover"):
        for _ in range(100):
            checkpoint.save(places[0], saved, recording)
            checkpoint.tidy(tmp_path)
            assert places[0].exists()
            checkpoint.remove(places[0])
    checkpoint.tidy(tmp_path)
    assert not places[0].parent.exists()
