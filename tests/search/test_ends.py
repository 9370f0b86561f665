"""However a search ends, no process of it is left, and nothing of its Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from slmx.search import reaper
from tests.processes import ROOT, Command, running
from tests.search.specs import raw_of

DRIVER = f"""
import subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from slmx.search.reaper import reaped
sleep = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
with reaped(Path(sys.argv[1])) as mark:
    ours, stranger = subprocess.Popen(sleep, env=mark), subprocess.Popen(sleep, env={{"SLMX_RAY": sys.argv[1] + "0"}})
    print(ours.pid, stranger.pid, flush=True)
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_reaper_ends_what_a_killed_driver_left_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, folder], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    ours, stranger = map(int, driver.stdout.readline().split())
    try:
        assert reaper.marked(str(folder)) == [ours]
        driver.kill()
        driver.wait()
        until = time.monotonic() + reaper.GRACE + 5
        while folder.exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        assert not alive(ours) and alive(stranger)
    finally:
        os.kill(stranger, signal.SIGKILL)
        driver.stdout.close()


WORKER = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
log = open(sys.argv[1] + "/worker.out", "w")
print(os.getpid(), flush=True)
time.sleep(600)
"""


def test_a_worker_whose_environment_is_written_over_is_known_by_its_output(tmp_path: Path) -> None:
    """As setproctitle does, by which Ray's workers name themselves."""
    folder, environment = tmp_path / "folder", {"PATH": os.environ["PATH"]}
    (folder / "else").mkdir(parents=True)
    names = [("ray::Worker", folder), ("python", folder), ("ray::Worker", folder / "else"), ("ray::Worker", tmp_path)]
    running = [
        subprocess.Popen(
            [name, "-c", WORKER, place], executable=sys.executable, env=environment, stdout=subprocess.PIPE
        )
        for name, place in names
    ]
    try:
        for process in running:
            assert process.stdout is not None and process.stdout.readline()
        assert sorted(reaper.marked(str(folder))) == sorted([running[0].pid, running[2].pid])
    finally:
        for process in running:
            process.kill()
            process.communicate()


def long_search(place: Path) -> tuple[object, ...]:
    """A search that does not end by itself, as arguments."""
    raw = raw_of(
        {"agent.algorithm.gamma__uniform": [0.9, 0.99]}, {"max_frame": 10**8}, {"log_frequency": 256, "max_member": 64}
    )
    (place / "long.json").write_text(json.dumps({"long": raw}))
    return "run", place / "long.json", "search", "--data", place / "data", "--no-graphs"


def folder_of(command: Command) -> Path:
    """Where its Ray keeps its files."""
    (folder,) = {own[reaper.MARK] for own in command.alive().values() if reaper.MARK in own}
    return Path(folder)


def trains(place: Path) -> bool:
    """Whether the search has come to train."""
    return any(rows.stat().st_size > 1000 for rows in place.glob("data/*/trial_*/session_1.csv"))


@pytest.mark.parametrize(
    "how", ["SIGINT", *(pytest.param(how, marks=pytest.mark.slow) for how in ("SIGTERM", "hang up"))]
)
def test_a_search_that_is_told_to_stop_keeps_what_there_is(how: str, tmp_path: Path) -> None:
    with running(*long_search(tmp_path), terminal=how == "hang up", cwd=tmp_path) as command:
        command.wait_for(lambda: trains(tmp_path))
        folder = folder_of(command)
        assert folder.is_dir()
        if how == "hang up":
            command.hang_up()
        else:
            command.tell(signal.Signals[how])
        code, out, err = command.end()
        assert not command.alive() and not folder.exists()
    assert code == 130 and not err and ("to go on: slmx resume" in out or how == "hang up")
    (directory,) = tmp_path.glob("data/*")
    table = pd.read_csv(directory / "experiment.csv")
    assert len(table) and set(table["state"]) == {"STOPPED"} and table["objective"].isna().all()
    trial = next(path.parent for path in directory.glob("trial_*/session_1.csv") if path.stat().st_size > 1000)
    states = json.loads((trial / "sessions.json").read_text())
    assert [state["state"] for state in states] == ["STOPPED", "STOPPED"] and states[0]["frame"] > 0
    assert len(pd.read_csv(trial / "session_1.csv")) > 2 and (trial / "model/session_1.safetensors").exists()
    journal = map(json.loads, (directory / "journal.jsonl").read_text().splitlines())
    ended = [line for line in journal if line["event"] == "ended"]
    assert {line["state"] for line in ended} == {"STOPPED"} and len(ended) == len(table)
    assert not (directory / "best_spec.json").exists()


@pytest.mark.slow
def test_nothing_is_left_of_a_search_whose_driver_was_killed(tmp_path: Path) -> None:
    with running(*long_search(tmp_path)) as command:
        command.wait_for(lambda: trains(tmp_path))
        folder = folder_of(command)
        command.process.kill()
        command.process.wait()
        until = time.monotonic() + 15
        while left := command.alive() or folder.exists():
            assert time.monotonic() < until, left
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", "SIGHUP", "SIGKILL"])
def test_nothing_is_left_of_a_search_that_is_ended_while_its_ray_starts(how: str, tmp_path: Path) -> None:
    with running(*long_search(tmp_path)) as command:
        command.wait_for(lambda: any(reaper.MARK in own for own in command.alive().values()))
        folder = folder_of(command)
        command.process.send_signal(signal.Signals[how])
        code, _, err = command.end()
        until = time.monotonic() + (15 if how == "SIGKILL" else 0)
        while left := command.alive() or folder.exists():
            assert time.monotonic() < until, left
            time.sleep(0.1)
    assert code == (-signal.SIGKILL if how == "SIGKILL" else 130) and not err
    assert not (tmp_path / "data").exists()
