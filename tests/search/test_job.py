"""One program of a search, trained in slices, without Ray."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from slmx.algorithm.base import Algorithm
from slmx.algorithm.ppo import PPO
from slmx.run_directory import write_spec
from slmx.search import job
from slmx.search.job import Job, Order
from slmx.search.journal import Ended
from slmx.spec.dump import dump
from slmx.whole import write_json
from tests.search.specs import AGENT, spec_of
from tests.test_resume import lasting, on_the_disk


def order_of(run: Path, gammas: list[float], **meta: object) -> Order:
    """An order for a trial of each gamma, their directories made as a search makes them."""
    trials = []
    for number, gamma in enumerate(gammas):
        agent = {"name": "ppo", "algorithm": {"name": "PPO", "time_horizon": 16, "minibatch_size": 32, "gamma": gamma}}
        agent |= {"memory": AGENT["memory"], "net": AGENT["net"]}
        spec = spec_of({}, agent=agent, meta=dict(meta))
        (run / f"trial_{number}").mkdir()
        write_json(run / f"trial_{number}" / "setting.json", {"agent.0.algorithm.gamma": gamma})
        write_spec(run / f"trial_{number}", dump(spec), ["envpool"], {})
        trials.append((number, dump(spec)))
    return Order(str(run), trials, sys.path)


def finish(running: Job) -> list[Ended]:
    while True:
        if (ended := running.advance()) is not None:
            return ended


def states(run: Path, trial: int) -> list[str]:
    return [state["state"] for state in json.loads((run / f"trial_{trial}" / "sessions.json").read_text())]


def test_a_job_goes_on_where_a_slice_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "SLICE_SECONDS", 0.0)
    running = Job(order_of(tmp_path, [0.9, 0.99]))
    frames = []
    while (ended := running.advance()) is None:
        frames.append(running.progress["frames"])
    assert frames == [320, 640, 960, 1280], "320 frames of two sessions of two trials, a row each 80"
    assert [(own.trial, own.state) for own in ended] == [(0, "DONE"), (1, "DONE")] and running.over
    assert all(isinstance(own.score, float) for own in ended)
    running.stop()
    assert states(tmp_path, 0) == ["DONE", "DONE"]


@pytest.mark.parametrize("breaks", [False, True])
def test_a_trial_has_ended_when_the_disk_has_all_of_it(
    breaks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, learn = on_the_disk(monkeypatch), PPO.learn

    def broken(self: PPO, *args: Any) -> None:
        learn(self, *args)
        if breaks:
            raise ArithmeticError("0.9 is too much")

    monkeypatch.setattr(PPO, "learn", broken)
    ended = finish(Job(order_of(tmp_path, [0.9])))
    assert [own.state for own in ended] == ["FAILED" if breaks else "DONE"]
    assert disk.items() >= lasting(tmp_path / "trial_0").items()
    assert list(disk)[-1] == tmp_path / "ended/program_0.json"


def test_a_job_that_is_stopped_saves_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "SLICE_SECONDS", 0.0)
    running = Job(order_of(tmp_path, [0.9]))
    running.stop()
    assert not (tmp_path / "trial_0" / "sessions.json").exists(), "it had not begun"
    assert running.advance() is None
    running.stop()
    assert states(tmp_path, 0) == ["STOPPED"] * 2 and (tmp_path / "trial_0/model/session_1.safetensors").exists()


def test_a_setting_that_breaks_its_program_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = PPO.learn

    def breaks(self: Algorithm, *args: object, **more: object) -> object:
        if (self.hp.gamma == 0.5).any():
            raise ArithmeticError("0.5 is too much")
        return learn(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(PPO, "learn", breaks)
    ended = finish(Job(order_of(tmp_path, [0.9, 0.5, 0.95, 0.99, 0.8])))
    assert [own.state for own in ended] == ["DONE", "FAILED", "DONE", "DONE", "DONE"]
    assert ended[1].reason.startswith("ArithmeticError: 0.5 is too much (test_job.py, line") and ended[1].score is None
    assert [path.parent.name for path in tmp_path.glob("trial_*/error.txt")] == ["trial_1"]
    assert [states(tmp_path, trial) for trial in (1, 3)] == [["FAILED"] * 2, ["DONE"] * 2]


def test_a_spec_that_the_worker_cannot_read_fails_with_the_reason(tmp_path: Path) -> None:
    good = order_of(tmp_path, [0.9])
    raw = json.loads(json.dumps(good.trials[0][1]))
    raw["agent"][0]["algorithm"]["name"] = "nowhere_to_be_found:PPO"
    (ended,) = finish(Job(Order(good.directory, [(0, raw)], good.path)))
    assert ended.state == "FAILED" and 'there is no module "nowhere_to_be_found"' in ended.reason
