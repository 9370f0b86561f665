"""A search of which driver, workers and Ray's node are killed at random moments, and which is resumed each time."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

from slmx.run_directory import read_state
from slmx.search import reaper
from tests.processes import Command, running
from tests.search.specs import Keys, raw_of

SPACE: Keys = {"agent.algorithm.gamma__uniform": [0.9, 0.99], "agent.net": {"hid_layers__choice": [[8], [16]]}}
VICTIMS = ["driver"] * 3 + ["worker"] * 4 + ["node"] * 3
PATIENCE = 15  # seconds in which nothing may be left of a search that was killed


def raw(searcher: str) -> Keys:
    meta = {
        "max_trial": 7, "checkpoint_frequency": 4000, "log_frequency": 1000, "max_member": 4,
        "search_spec": {"name": searcher},
    }  # fmt: skip
    return raw_of(SPACE, {"max_frame": 120_000}, meta)


def of_kind(command: Command, kind: str) -> list[int]:
    """The processes of a search that are its driver, workers that train, or Ray's node."""
    if kind == "driver":
        return [command.process.pid]
    wanted = {"worker": b"ray::Worker", "node": b"raylet/raylet"}[kind]
    found = []
    for pid in processes(command):
        try:
            if wanted in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def processes(command: Command) -> set[int]:
    """All of a search; workers write over the environment by which the others are known."""
    known = command.alive()
    folders = {own[reaper.MARK] for own in known.values() if reaper.MARK in own}
    return known.keys() | {pid for folder in folders for pid in reaper.marked(folder)}


def trained(data: Path) -> int:
    """How much is in the tables of a search, which grow while it trains."""
    return sum(table.stat().st_size for table in data.glob("*/trial_*/session_0.csv"))


def left(run: Path) -> dict[str, bytes]:
    tables = [run / "experiment.csv", *sorted(run.glob("trial_*/*_[01].csv")), *sorted(run.glob("trial_*/*.json"))]
    return {str(table.relative_to(run)): table.read_bytes() for table in tables}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_killed_at_random_moments_and_resumed_it_leaves_the_same(searcher: str, tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps({"killed": raw(searcher)}))
    begin = ("run", file, "search", "--quiet", "--no-graphs", "--data")
    with running(*begin, tmp_path / "whole") as command:
        assert command.end(300) == (0, "", "")
    luck, data = random.Random(searcher), tmp_path / "killed"
    with ExitStack() as stack:
        command = stack.enter_context(running(*begin, data))
        for kind in luck.sample(VICTIMS, len(VICTIMS)):
            before = trained(data)
            command.wait_for(lambda before=before: trained(data) > before)
            time.sleep(luck.uniform(0, 2))
            while not (victims := of_kind(command, kind)):
                time.sleep(0.1)
            os.kill(luck.choice(victims), signal.SIGKILL)
            if kind == "worker":
                continue
            until = time.monotonic() + PATIENCE
            while survivors := processes(command):
                assert time.monotonic() < until, (kind, survivors)
                time.sleep(0.1)
            (run,) = data.iterdir()
            command = stack.enter_context(running("resume", run, "--quiet", "--no-graphs"))
        assert command.end(300) == (0, "", "")
    (run,), (whole,) = data.iterdir(), (tmp_path / "whole").iterdir()
    assert read_state(run) == ("search", "DONE")
    assert left(run) == left(whole)
    ended = [own["trial"] for path in run.glob("ended/*.json") for own in json.loads(path.read_text())]
    assert sorted(ended) == list(range(8)), "each trial ended once"
    for table in run.glob("trial_*/speed.csv"):
        assert pd.read_csv(table)["frame"].is_monotonic_increasing, "no frame was trained twice"
