"""A small data directory, made by hand: two sessions that finish and one that fails."""

import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from choreographer.browsers import Chromium

from slmx.analysis.graph import png

FITNESS = {
    "CartPole-v1": {"rand_return": 20, "std_return": 220, "std_frame": 1000, "source": "by hand"},
    "Acrobot-v1": {"rand_return": -500, "std_return": -100, "std_frame": 1000, "source": "by hand"},
}


def write_run(root: Path, envs=("CartPole-v1",), failed=(2,), sessions=3, fitness=FITNESS) -> Path:
    """Sessions of ten rows, each after 10 episodes of 1 frame; session s returns 220 - 20 s (env 0) and -100."""
    run = root / "demo_20260101_000000"
    trial = run / "trial_0"
    trial.mkdir(parents=True)
    agents = [{"name": "ppo"}]
    record = {"spec": {"name": "demo", "agent": agents, "env": [{"name": env} for env in envs]}, "fitness": fitness}
    for directory in (run, trial):
        (directory / "spec.json").write_text(json.dumps(record))
    states = []
    for s in range(sessions):
        fails = s in failed
        rows, episodes, evaluations = [], [], []
        for row in range(3 if fails else 10):
            for e in range(len(envs)):
                total = (220.0 - 20 * s) if e == 0 else -100.0
                frame = 10 * (row + 1)
                rows.append(
                    {"frame": frame, "agent": 0, "env": e, "episode": frame, "return": total, "return_ma": total}
                    | {"length": 1, "loss": 1 / frame, "entropy": 0.5, "grad_norm": 1.0, "opt_step": row + 1}
                )
                episodes += [
                    {"frame": 10 * row + i + 1, "agent": 0, "env": e, "body": 0, "episode": 10 * row + i}
                    | {"return": total, "length": 1, "end": "terminated"}
                    for i in range(10)
                ]
        for frame in (50, 100):
            for e in range(len(envs)):
                evaluations += [
                    {"frame": frame, "agent": 0, "env": e, "episode": i, "seed": i, "return": frame + i, "length": 1}
                    for i in range(2)
                ]
        pd.DataFrame(rows).to_csv(trial / f"session_{s}.csv", index=False)
        pd.DataFrame(episodes).to_csv(trial / f"episodes_{s}.csv", index=False)
        if not fails:
            pd.DataFrame(evaluations).to_csv(trial / f"eval_{s}.csv", index=False)
        state = {"state": "FAILED", "reason": "the loss is not finite"} if fails else {"state": "DONE", "reason": ""}
        states.append({"session": s, "seed": 7, **state, "frame": 30 if fails else 100})
    (trial / "sessions.json").write_text(json.dumps(states))
    speed = pd.DataFrame({"frame": [10, 20], "seconds": [0.1, 0.2], "frames_per_second": [100.0, 110.0]})
    speed.to_csv(trial / "speed.csv", index=False)
    return run


@pytest.fixture
def make_run(tmp_path):
    return partial(write_run, tmp_path)


@pytest.fixture
def run(make_run) -> Path:
    return make_run()


@pytest.fixture
def set_browser(monkeypatch):
    """Let the search for a browser end at a path of the test's choice, or None."""

    def set_to(path: str | None) -> None:
        monkeypatch.setattr(png, "browser_path", lambda: path)
        monkeypatch.setattr(Chromium, "find_browser", lambda **_: path)

    return set_to
