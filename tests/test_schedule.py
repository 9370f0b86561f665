"""Schedules: checked as a whole, gone through in order, gone on with; and a spec run once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slmx import benchmark, lab, play, schedule
from slmx.errors import SlmxError, SpecErrors
from slmx.once import find_runs, once
from slmx.run_directory import read_state, write_state
from slmx.schedule import ScheduleRun
from slmx.spec.build import build
from tests.command import call
from tests.sweeps import STEEP, raw_of, write

ROOT = Path(__file__).parents[1]
SPECS = {
    "ppo": raw_of("PPO"),
    "dqn": raw_of("DQN"),
    "steep": raw_of("PPO", net=STEEP),
    "found": raw_of("PPO", search={"agent.0.algorithm.gamma": [0.9]}),
}
BENCHMARK = {"small": {"benchmark": {"algorithm": {"A2C": {"a2c.json": "a2c"}}, "env": {"discrete": "CartPole-v1"}}}}
Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], ScheduleRun]:
    """Runs a schedule in a folder of spec files, in silence and without graphs."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "specs.json", SPECS)
    write(tmp_path / "a2c.json", {"a2c": raw_of("A2C")})
    write(tmp_path / "bench.json", BENCHMARK)

    def run(content: Any, **given: Any) -> ScheduleRun:
        jobs = schedule.check(write(tmp_path / "all.json", content))
        return schedule.run(jobs, Path("data"), **{"quiet": True, "graphs": False, **given})

    return run


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command; its exit code, what it printed, and its errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call(monkeypatch, *arguments)
        return code, *capsys.readouterr()

    return run


def data() -> list[str]:
    """The names of the runs in the data folder, without their times."""
    return sorted(re.sub(r"_\d{8}_\d{6}(_\d+)?$", "", path.name) for path in Path("data").iterdir())


def test_everything_wrong_is_told_before_anything_starts(run: Callable[[Any], ScheduleRun]) -> None:
    wrong = {
        "specs.json": {"ppo": "tran", "dqm": "train", "dqn": "search", "steep": ["train"], "found": "benchmark"},
        "bench.json": {"small": "train", "smal": "benchmark"},
        "nothing.json": {"x": "train"},
        "a2c.json": {},
        "folder": {"x": "train"},
    }
    Path("broken.json").write_text("{")
    write(Path("slips.json"), {"a": raw_of("PPO") | {"mta": {}}})
    with pytest.raises(SpecErrors) as caught:
        run(wrong | {"broken.json": {"x": "train"}, "slips.json": {"a": "train"}})
    here = f"{Path.cwd()}/"
    assert str(caught.value).replace(here, "").splitlines() == [
        'all.json: specs.json: ppo: unknown mode "tran"; did you mean "train"?',
        'all.json: specs.json: there is no spec "dqm"; did you mean "dqn"?',
        "all.json: specs.json: dqn: search: there is nothing to search",
        'all.json: specs.json: steep: unknown mode ["train"]; known: train, search, benchmark, dev',
        "all.json: specs.json: found: is a spec, which stands in a file of specs alone",
        "all.json: bench.json: small: is a benchmark, which stands in a file of benchmarks alone",
        'all.json: bench.json: there is no benchmark "smal"; did you mean "small"?',
        'all.json: nothing.json: no such file; did you mean "bench.json"?',
        "all.json: a2c.json: must be a mapping {spec_name: mode}, not {}",
        "all.json: folder: is no spec file; one ends in .json, .yaml, .yml",
        "all.json: broken.json: line 1, column 2: expecting property name enclosed in double quotes",
        'all.json: slips.json: a: mta: unknown key; did you mean "meta"?',
    ]
    assert not Path("data").exists()


def test_a_failure_stops_nothing_and_is_tried_again(run: Callable[[Any], ScheduleRun]) -> None:
    jobs = {"specs.json": {"ppo": "train", "steep": "train", "dqn": "dev"}, "bench.json": {"small": "benchmark"}}
    first = run(jobs)
    assert [outcome.state for outcome in first.outcomes] == ["DONE", "FAILED", "DONE", "DONE"] and first.failed
    assert "not a finite number" in first.outcomes[1].reason
    assert data() == ["dqn", "ppo", "small", "steep"]
    again = run(jobs)
    assert [outcome.earlier for outcome in again.outcomes] == [True, False, True, True] and again.failed
    assert [outcome.directory for outcome in again.outcomes if outcome.earlier] == [
        outcome.directory for outcome in first.outcomes if outcome.state == "DONE"
    ]
    assert data() == ["dqn", "ppo", "small", "steep", "steep"]


def test_only_exactly_the_same_spec_is_skipped(run: Callable[[Any], ScheduleRun]) -> None:
    jobs = {"specs.json": {"ppo": "train"}}
    assert not run(jobs).outcomes[0].earlier
    write(Path("specs.json"), {"ppo": raw_of("PPO") | {"search": {"agent.0.algorithm.gamma": [0.9]}}})
    assert not run(jobs).outcomes[0].earlier, "another spec of the same name"
    write(Path("specs.json"), {"ppo": raw_of("PPO")})
    assert run(jobs).outcomes[0].earlier
    write(Path("specs.json"), {"other": raw_of("PPO")})
    assert not run({"specs.json": {"other": "train"}}).outcomes[0].earlier, "the same spec of another name"


def test_a_benchmark_that_failed_goes_on_in_its_directory(
    run: Callable[[Any], ScheduleRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise OSError("no disk")

    jobs = {"bench.json": {"small": "benchmark"}}
    with monkeypatch.context() as patch:
        patch.setattr(lab, "standard", broken)
        first = run(jobs)
    assert first.outcomes[0].reason == "1 of 1 cell not DONE" and data() == ["small"]
    second = run(jobs)
    assert second.outcomes[0].directory == first.outcomes[0].directory and not second.failed and data() == ["small"]


def test_the_table_says_what_became_of_each(
    run: Callable[[Any], ScheduleRun], said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = {"specs.json": {"ppo": "train", "steep": "train"}, "bench.json": {"small": "benchmark"}}
    Path("config").mkdir()
    write(Path("config/experiments.json"), jobs)
    code, out, err = said("run", "--no-graphs")
    assert code == 1 and not err
    lines = out.splitlines()
    assert lines[0] == "[1/3] specs.json: ppo, train" and "[3/3] bench.json: small, benchmark" in lines
    header, *rows, why, last = lines[-6:]
    assert header.split() == ["spec", "mode", "state", "reached", "time", "directory"]
    assert [row.split()[:4] for row in rows] == [
        ["specs.json:", "ppo", "train", "DONE"],
        ["specs.json:", "steep", "train", "FAILED"],
        ["bench.json:", "small", "benchmark", "DONE"],
    ]
    assert "return " in rows[0] and "1 cell" in rows[2]
    assert why.startswith("specs.json: steep FAILED: ") and "not a finite number" in why
    assert all("data/" in row for row in rows)
    assert last == "to try again what FAILED (1 of 3), run the same command again"
    write(Path("config/experiments.json"), {"specs.json": {"ppo": "train"}})
    code, out, _ = said("run", "--no-graphs")
    assert code == 0 and "DONE earlier: data/ppo_" in out
    assert said("run", "--quiet") == (0, "", "")


@pytest.mark.slow
def test_ctrl_c_stops_all_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write(
        tmp_path / "specs.json", SPECS | {"long": raw_of("PPO") | {"env": {"name": "CartPole-v1", "max_frame": 30_000}}}
    )
    write(tmp_path / "all.json", {"specs.json": {"long": "train", "dqn": "train"}})
    command = [sys.executable, "-m", "slmx", "run", "all.json", "--no-graphs"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    waited = time.monotonic()
    while not (rows := list((tmp_path / "data").glob("long_*/trial_0/session_1.csv"))) or rows[0].stat().st_size < 500:
        assert time.monotonic() - waited < 60 and running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130 and "Traceback" not in err
    assert [line.split()[2:4] for line in out.splitlines()[-3:-1]] == [["train", "STOPPED"], ["train", "OPEN"]]
    assert out.splitlines()[-1] == "stopped; to go on, run the same command again"
    (long,) = (tmp_path / "data").glob("long_*")
    assert read_state(long) == ("train", "STOPPED")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0 and [line.split()[3] for line in done.stdout.splitlines()[-2:]] == ["DONE", "DONE"]
    assert list((tmp_path / "data").glob("long_*")) == [long]


def test_schedules_that_cannot_be_run(run: Callable[[Any], ScheduleRun], said: Said) -> None:
    write(Path("all.json"), {"specs.json": {"ppo": "train", "dqn": "search"}})
    nothing = "all.json: specs.json: dqn: search: there is nothing to search\n"
    assert said("run", "all.json") == (2, "", nothing)
    assert said("check", "all.json") == (2, "", nothing)
    write(Path("all.json"), {"specs.json": {"ppo": "train"}})
    assert said("check", "all.json") == (0, "all.json: 1 experiment, no errors\n", "")
    itself = "all.json is a schedule, which says itself what is run in which mode; {} fits nothing\n"
    assert said("run", "all.json", "ppo", "train") == (2, "", itself.format("ppo train"))
    assert said("run", "all.json", "-s", "x=1") == (2, "", itself.format("-s x"))
    said_ = said("run", "all.json", "--set", "meta.sed=1")
    assert said_ == (2, "", 'all.json: specs.json: ppo: meta.sed: unknown key; did you mean "seed"?\n')
    assert not Path("data").exists()


def test_settings_reach_every_spec(run: Callable[[Any], ScheduleRun], said: Said) -> None:
    write(Path("all.json"), {"specs.json": {"ppo": "train"}, "bench.json": {"small": "benchmark"}})
    assert said("run", "all.json", "--set", "env.0.max_frame=160", "--no-graphs", "-q") == (0, "", "")
    (ppo,), (a2c,) = Path("data").glob("ppo_*"), Path("data").glob("small_*/A2C_*")
    assert [play.read_trial(place / "trial_0")[0].env[0].max_frame for place in (ppo, a2c)] == [160, 160]


def test_a_run_that_stopped_is_gone_on_with(tmp_path: Path) -> None:
    spec = build("ppo", raw_of("PPO"))
    first = once(spec, "train", tmp_path, quiet=True, graphs=False)
    assert first.state == "DONE" and first.directory is not None and first.seconds > 0
    table = (first.directory / "experiment.csv").read_bytes()
    write_state(first.directory, "train", "RUNNING")
    again = once(spec, "train", tmp_path, quiet=True, graphs=False)
    assert (again.state, again.directory, again.earlier) == ("DONE", first.directory, False)
    assert (first.directory / "experiment.csv").read_bytes() == table
    write_state(first.directory, "train", "FAILED")
    other = once(spec, "train", tmp_path, quiet=True, graphs=False)
    assert other.directory not in (None, first.directory)
    assert set(find_runs(tmp_path, spec, "train").values()) == {"DONE", "FAILED"}
    assert once(spec, "train", tmp_path, quiet=True, graphs=False).directory == other.directory, "what is DONE counts"


def test_a_run_that_another_process_holds_is_left_alone(tmp_path: Path) -> None:
    spec = build("ppo", raw_of("PPO"))
    first = once(spec, "train", tmp_path, quiet=True, graphs=False)
    assert first.directory is not None
    write_state(first.directory, "train", "RUNNING")
    hold = f"import fcntl, time; f = open({str(first.directory / 'spec.json')!r}, 'a'); fcntl.flock(f, fcntl.LOCK_EX)"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{hold}; print('held', flush=True); time.sleep(60)"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        outcome = once(spec, "train", tmp_path, quiet=True, graphs=False)
    finally:
        holder.terminate()
        holder.communicate()
    assert outcome.state == "FAILED" and "another process is running this" in outcome.reason
    assert read_state(first.directory) == ("train", "RUNNING")


def test_what_another_process_ends_meanwhile_is_not_run_again(
    run: Callable[[Any], ScheduleRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = {"specs.json": {"ppo": "train"}, "bench.json": {"small": "benchmark"}}
    first = run(jobs)
    for (module, mode), outcome in zip(((lab, "train"), (benchmark, "benchmark")), first.outcomes, strict=True):
        assert outcome.directory is not None
        write_state(outcome.directory, mode, "RUNNING")
        monkeypatch.setattr(module, "resume", lambda directory, *_, mode=mode: write_state(directory, mode, "DONE"))
    again = run(jobs)
    assert [(outcome.state, outcome.earlier) for outcome in again.outcomes] == [("DONE", True)] * 2
    assert [outcome.directory for outcome in again.outcomes] == [outcome.directory for outcome in first.outcomes]
    assert data() == ["ppo", "small"]


def test_what_lies_in_the_data_folder_beside_runs_is_no_matter(tmp_path: Path) -> None:
    for name, content in (("a", "{"), ("b", '{"mode": "train", "state": "DONE"}'), ("c", '{"mode": 3, "state": 4}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(content)
    assert find_runs(tmp_path, build("ppo", raw_of("PPO")), "train") == {}
    assert find_runs(tmp_path / "nowhere", build("ppo", raw_of("PPO")), "train") == {}


def test_the_shipped_schedule_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    jobs = schedule.check(schedule.default())
    assert {job.mode for job in jobs} >= {"train", "search"}
    assert not schedule.is_schedule({"ppo": raw_of("PPO")}) and not schedule.is_schedule([])


def test_without_a_schedule_there_is_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SlmxError, match=r"config/experiments\.json: no such file here; `slmx run SPEC_FILE`"):
        schedule.default()
