"""Benchmarks from end to end: their tables, cells that fail or are stopped, and cells that are added later."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slmx import benchmark, lab, schedule
from slmx.analysis.benchmark import analyze_benchmark
from slmx.analysis.standards import load_standards
from slmx.benchmark import BenchmarkRun, seed_beside
from slmx.display import Brief
from slmx.errors import SlmxError, WriteError
from slmx.lock import owning
from slmx.run_directory import read_state, write_state
from slmx.spec.benchmark import Benchmark, check_benchmark
from slmx.spec.build import build
from tests.command import call
from tests.sweeps import STEEP, raw_of, write

SPECS = {
    "ppo": raw_of("PPO"),
    "dqn": raw_of("DQN"),
    "a2c": raw_of("A2C"),
    "swing": raw_of("A2C", "Pendulum-v1"),
    "steep": raw_of("PPO", net=STEEP),
    "found": raw_of("PPO", search={"agent.0.algorithm.gamma": [0.9]}),
}
SMALL: dict[str, Any] = {
    "algorithm": {"PPO": {"specs.json": "ppo"}, "DQN": {"specs.json": "dqn"}},
    "env": {"discrete": ["CartPole-v1", "Acrobot-v1"]},
}
TABLES = ("benchmark.csv", "benchmark_aggregate.csv")


def load(folder: Path, content: Any) -> Benchmark:
    """A benchmark whose file lies beside a spec file in a folder."""
    write(folder / "specs.json", SPECS)
    return check_benchmark(write(folder / "small.json", {"small": {"benchmark": content}}))


def run(data: Path, content: Any = SMALL, **given: Any) -> BenchmarkRun:
    """Run a benchmark in silence, without graphs."""
    return benchmark.run(load(data / "files", content), data, **{"quiet": True, "graphs": False, **given})


def tables(directory: Path) -> list[bytes]:
    return [(directory / name).read_bytes() for name in TABLES]


def cells(directory: Path) -> dict[str, str]:
    """The state of each cell."""
    table = pd.read_csv(directory / "benchmark.csv")
    return {f"{row['algorithm']} {row['env']}": row["state"] for row in table.to_dict("records")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkRun:
    """Two algorithms in two environments."""
    return run(tmp_path_factory.mktemp("whole"))


def test_a_benchmark_leaves_runs_tables_and_a_graph(whole: BenchmarkRun) -> None:
    assert not whole.failed and not whole.interrupted
    assert read_state(whole.directory) == ("benchmark", "DONE")
    runs = sorted(re.sub(r"_\d{8}_\d{6}$", "", path.parent.name) for path in whole.directory.glob("*/run.json"))
    assert runs == ["DQN_Acrobot-v1", "DQN_CartPole-v1", "PPO_Acrobot-v1", "PPO_CartPole-v1"]
    analyze_benchmark(whole.directory)
    assert (whole.directory / "benchmark_graph.html").exists()
    assert not list(whole.directory.glob(".*")), "nothing temporary stays"
    (ppo,) = whole.directory.glob("PPO_Acrobot-v1_*")
    assert lab.enjoy(ppo).repeats, "a cell is a run as any other"
    seconds = pd.read_csv(whole.directory / "benchmark_seconds.csv")
    assert seconds["state"].tolist() == ["DONE"] * 4 and (seconds["seconds"] > 0).all()


def test_a_row_says_what_the_runs_of_a_cell_reached(whole: BenchmarkRun) -> None:
    assert whole.table["algorithm"].tolist() == ["PPO", "DQN"] * 2
    assert whole.table["made_for"].tolist() == ["CartPole-v1"] * 4
    for row in pd.read_csv(whole.directory / "benchmark.csv").to_dict("records"):
        (found,) = whole.directory.glob(f"{row['algorithm']}_{row['env']}_*/experiment.csv")
        trial = pd.read_csv(found).iloc[0]
        keys = ["state", "sessions", "failed", "frames", "final_return", "final_return_low", "return_ma"]
        assert pd.Series(row)[keys].equals(trial[keys])
        assert (row["sessions"], row["max_frame"], row["frames"]) == (2, 320, 640)
        standard = load_standards()[row["env"]]
        assert standard.std_return is not None
        span = standard.std_return - standard.rand_return
        for end in ("", "_low", "_high"):
            assert row[f"score{end}"] == pytest.approx((row[f"final_return{end}"] - standard.rand_return) / span)


def test_the_aggregate_is_over_all_seeds_of_all_environments(whole: BenchmarkRun) -> None:
    aggregated = pd.read_csv(whole.directory / "benchmark_aggregate.csv").to_dict("records")
    assert [(row["actions"], row["algorithm"], row["sessions"]) for row in aggregated] == [
        ("discrete", "PPO", 4), ("discrete", "DQN", 4),
    ]  # fmt: skip
    for row in aggregated:
        assert row["environments"] == "CartPole-v1 Acrobot-v1"
        own = whole.table.loc[whole.table["algorithm"] == row["algorithm"], "score"]
        assert row["mean"] == pytest.approx(own.mean()) and row["iqm_low"] <= row["iqm"] <= row["iqm_high"]


def test_tables_are_made_again_from_files_alone(whole: BenchmarkRun, tmp_path: Path) -> None:
    copied = tmp_path / "moved"
    shutil.copytree(whole.directory, copied)
    for name in TABLES:
        (copied / name).unlink()
    for _ in range(2):
        analyze_benchmark(copied, graphs=False)
        assert tables(copied) == tables(whole.directory)


def test_the_same_benchmark_writes_the_same_tables(whole: BenchmarkRun, tmp_path: Path) -> None:
    again = run(tmp_path)
    assert tables(again.directory) == tables(whole.directory)


def test_an_interrupted_benchmark_goes_on_where_it_was(
    whole: BenchmarkRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []

    def interrupt(*_: Any) -> None:
        shown.append(1)
        if len(shown) == 6:  # four rows a cell: in the midst of the second
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Brief, "progress", interrupt)
        stopped = run(tmp_path)
    directory = stopped.directory
    assert stopped.interrupted and read_state(directory) == ("benchmark", "STOPPED")
    assert list(cells(directory).values()) == ["DONE", "STOPPED", "OPEN", "OPEN"]
    first, second = (next(directory.glob(f"{name}_CartPole-v1_*")) for name in ("PPO", "DQN"))
    before = (first / "trial_0" / "speed.csv").read_bytes()
    assert stopped.table["score"].notna().tolist() == [True, False, False, False]
    assert pd.read_csv(directory / "benchmark_aggregate.csv").empty, "no algorithm has ended in all environments"
    ended = benchmark.resume(directory, quiet=True, graphs=False)
    assert ended is not None and not ended.failed and tables(directory) == tables(whole.directory)
    assert (first / "trial_0" / "speed.csv").read_bytes() == before, "what was finished was not touched"
    assert [path.name for path in directory.glob("DQN_CartPole-v1_*")] == [second.name], "the stopped run went on"
    assert benchmark.resume(directory) is None


def test_a_killed_benchmark_runs_only_what_is_not_there(whole: BenchmarkRun, tmp_path: Path) -> None:
    directory = tmp_path / "killed"
    shutil.copytree(whole.directory, directory)
    (lost,) = directory.glob("PPO_Acrobot-v1_*")
    shutil.rmtree(lost)
    write_state(directory, "benchmark", "RUNNING")
    rows = (directory / "benchmark_seconds.csv").read_text().count("\n")
    ended = benchmark.resume(directory, quiet=True, graphs=False)
    assert ended is not None and tables(directory) == tables(whole.directory)
    assert (directory / "benchmark_seconds.csv").read_text().count("\n") == rows + 1


def test_a_benchmark_that_another_process_has_ended_meanwhile_is_left_alone(
    whole: BenchmarkRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "ended"
    shutil.copytree(whole.directory, directory)
    write_state(directory, "benchmark", "RUNNING")

    def late(*held: Any) -> contextlib.AbstractContextManager[None]:
        write_state(directory, "benchmark", "DONE")
        return owning(*held)

    monkeypatch.setattr(benchmark, "owning", late)
    monkeypatch.setattr(benchmark, "once", None)
    assert benchmark.resume(directory, quiet=True, graphs=False) is None


def test_cells_are_added_to_an_earlier_benchmark(whole: BenchmarkRun, tmp_path: Path) -> None:
    directory = tmp_path / "grown"
    shutil.copytree(whole.directory, directory)
    more = {
        "algorithm": {"A2C": {"specs.json": ["a2c", "swing"]}, "PPO": {"specs.json": "ppo"}},
        "env": {"discrete": ["Acrobot-v1", "CartPole-v1"], "continuous": "Pendulum-v1"},
    }
    grown = run(tmp_path, more, into=directory)
    assert grown.directory == directory and not grown.failed
    assert [f"{row['env']} {row['algorithm']}" for row in grown.table.to_dict("records")] == [
        "CartPole-v1 PPO", "CartPole-v1 DQN", "CartPole-v1 A2C", "Acrobot-v1 PPO", "Acrobot-v1 DQN", "Acrobot-v1 A2C",
        "Pendulum-v1 A2C", "Pendulum-v1 PPO",
    ]  # fmt: skip
    old = grown.table.loc[grown.table["algorithm"].isin(["PPO", "DQN"]) & (grown.table["actions"] == "discrete")]
    pd.testing.assert_frame_equal(old.reset_index(drop=True), whole.table)
    aggregated = pd.read_csv(directory / "benchmark_aggregate.csv")
    assert aggregated.groupby("actions")["algorithm"].agg(set).to_dict() == {
        "discrete": {"PPO", "DQN", "A2C"}, "continuous": {"A2C", "PPO"},
    }  # fmt: skip
    with pytest.raises(SlmxError, match=r"grown has another PPO in CartPole-v1 \(env.0.max_frame: 160, not 320\)"):
        run(tmp_path, SMALL | {"max_frame": 160}, into=directory)
    assert read_state(directory) == ("benchmark", "DONE"), "nothing was begun"
    with pytest.raises(SlmxError, match=r"benchmark\.json: no such file"):
        run(tmp_path, into=tmp_path / "files")
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == ["small.json", "specs.json"]


def test_a_cell_that_fails_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    content = {
        "algorithm": {"steep": {"specs.json": "steep"}, "A2C": {"specs.json": "a2c"}},
        "env": {"discrete": ["CartPole-v1"]},
    }
    ended = run(tmp_path, content)
    assert ended.failed and read_state(ended.directory) == ("benchmark", "FAILED")
    assert ended.table["state"].tolist() == ["FAILED", "DONE"]
    failed = ended.table.iloc[0]
    assert "not a finite number" in failed["reason"] and failed[["final_return", "score"]].isna().all()
    aggregated = pd.read_csv(ended.directory / "benchmark_aggregate.csv").set_index("algorithm")
    assert aggregated.loc["steep", "iqm"] == 0, "as random play, not left out"
    again = benchmark.resume(ended.directory, quiet=True, graphs=False)
    assert again is not None and again.failed and len(list(ended.directory.glob("steep_*"))) == 2, "it is tried anew"
    assert len(list(ended.directory.glob("A2C_*"))) == 1


def test_a_cell_that_breaks_before_it_leaves_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(env: Any, spaces: Any) -> Any:
        if env.name == "Acrobot-v1":
            raise OSError("the disk is gone")
        return {"rand_return": 20.0, "std_return": 475.0, "std_frame": None, "source": ""}

    with monkeypatch.context() as patch:
        patch.setattr(lab, "random_return", lambda *_: (0.0, 0.0))
        patch.setattr(lab, "standard", broken)
        ended = run(tmp_path, SMALL | {"algorithm": {"PPO": {"specs.json": "ppo"}}})
    assert "OSError: the disk is gone" in capsys.readouterr().err, "what breaks unforeseen shows its traceback"
    assert ended.table["state"].tolist() == ["DONE", "FAILED"]
    assert ended.table["reason"].tolist() == ["", "OSError: the disk is gone"]
    again = benchmark.resume(ended.directory, quiet=True, graphs=False)
    assert again is not None and again.table["state"].tolist() == ["DONE", "DONE"]
    assert again.table["reason"].tolist() == ["", ""]


def test_a_cell_that_is_left_in_its_midst_is_gone_on_with(
    whole: BenchmarkRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = iter([OSError(errno.ENOSPC, "No space left on device")])  # until somebody makes room

    def progress(*_: Any) -> None:
        for error in full:
            raise WriteError("a table", error)

    with monkeypatch.context() as patch:
        patch.setattr(Brief, "progress", progress)
        ended = run(tmp_path, quiet=False)
    directory, said = ended.directory, " ".join(capsys.readouterr().out.split())
    assert ended.failed and not ended.interrupted and read_state(directory) == ("benchmark", "FAILED")
    assert list(cells(directory).values()) == ["RUNNING", "DONE", "DONE", "DONE"]
    assert "No space left on device; once that is mended, go on with" in ended.table["reason"].iloc[0]
    assert "PPO in CartPole-v1 RUNNING: cannot write a table: No space left on device" in said
    assert f"to try again what is not DONE: slmx resume {directory}" in said
    aggregated = pd.read_csv(directory / "benchmark_aggregate.csv")
    assert aggregated["algorithm"].tolist() == ["DQN"], "a full disk is no random play"
    again = benchmark.resume(directory, quiet=True, graphs=False)
    assert again is not None and not again.failed and tables(directory) == tables(whole.directory)
    assert len(list(directory.glob("PPO_CartPole-v1_*"))) == 1


@pytest.mark.usefixtures("without_ray")
def test_a_search_that_is_left_in_its_midst_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slmx.search import on_tune
    from slmx.search.node import NodeError

    def killed(search: Any, *_: Any) -> None:
        raise NodeError(search.directory)

    content = {"algorithm": {"PPO": {"specs.json": "found"}}, "env": {"discrete": "CartPole-v1"}, "search": True}
    with monkeypatch.context() as patch:
        patch.setattr(on_tune, "run", killed)
        ended = run(tmp_path, content)
    assert ended.failed and read_state(ended.directory) == ("benchmark", "FAILED")
    assert ended.table["state"].tolist() == ["STOPPED"]
    assert ended.table["reason"].iloc[0].startswith("Ray's process on this machine was killed")
    again = benchmark.resume(ended.directory, quiet=True, graphs=False)
    assert again is not None and again.table[["state", "reason"]].to_numpy().tolist() == [["DONE", ""]]
    assert len(list(ended.directory.glob("PPO_CartPole-v1_2*"))) == 1


def test_a_broken_file_of_one_cell_is_told_in_its_row(whole: BenchmarkRun, tmp_path: Path) -> None:
    directory = tmp_path / "broken"
    shutil.copytree(whole.directory, directory)
    (run_,) = directory.glob("DQN_Acrobot-v1_*")
    (run_ / "trial_0" / "session_1.csv").write_text("")
    table = analyze_benchmark(directory, graphs=False)
    assert table["state"].tolist() == ["DONE", "DONE", "DONE", "FAILED"]
    assert "session_1.csv: not a table" in table["reason"].iloc[3]
    (run_ / "run.json").write_text('{"mode": ')
    assert analyze_benchmark(directory, graphs=False)["state"].tolist() == ["DONE", "DONE", "DONE", "OPEN"]
    write_state(directory, "benchmark", "RUNNING")
    ended = benchmark.resume(directory, quiet=True, graphs=False)
    assert ended is not None and tables(directory) == tables(whole.directory)


def test_an_environment_without_a_standard_has_returns_and_no_scores(tmp_path: Path) -> None:
    content = {"algorithm": {"PPO": {"specs.json": "ppo"}}, "env": {"discrete": "tests.own:Corridor"}}
    ended = run(tmp_path, content)
    analyze_benchmark(ended.directory)
    (row,) = ended.table.to_dict("records")
    assert row["state"] == "DONE" and -0.5 < row["final_return"] <= 1 and pd.isna(row["score"])
    assert pd.read_csv(ended.directory / "benchmark_aggregate.csv").empty
    assert "no standard: tests.own:Corridor" in (ended.directory / "benchmark_graph.html").read_text()


@pytest.mark.usefixtures("without_ray")
def test_a_search_and_its_best_on_other_seeds(tmp_path: Path) -> None:
    content = {"algorithm": {"PPO": {"specs.json": "found"}}, "env": {"discrete": "CartPole-v1"}, "search": True}
    ended = run(tmp_path, content)
    assert ended.table[["mode", "state", "sessions"]].to_numpy().tolist() == [["search", "DONE", 2]]
    (searched,) = ended.directory.glob("PPO_CartPole-v1_2*")
    (best,) = ended.directory.glob("PPO_CartPole-v1_best_*")
    assert len(pd.read_csv(searched / "experiment.csv")) >= 2
    assert schedule.reached(searched, "search").startswith("final_return ")
    (searched / "validation.csv").write_text("rank,trial,test_score\n1,1,12.5\n2,0,11\n,2,\n")
    assert schedule.reached(searched, "search") == "final_return 12.5 on fresh seeds"
    seeds = [json.loads((place / "spec.json").read_text())["spec"]["meta"]["seed"] for place in (searched, best)]
    assert seeds == [0, 1]
    trained = pd.read_csv(best / "experiment.csv").iloc[0]
    assert ended.table["final_return"].iloc[0] == trained["final_return"]
    before = tables(ended.directory)
    shutil.rmtree(best)
    analyze_benchmark(ended.directory, graphs=False)
    assert cells(ended.directory) == {"PPO CartPole-v1": "OPEN"}
    write_state(ended.directory, "benchmark", "RUNNING")
    again = benchmark.resume(ended.directory, quiet=True, graphs=False)
    assert again is not None and tables(ended.directory) == before, "the search itself was not done again"
    assert len(list(ended.directory.glob("PPO_CartPole-v1_2*"))) == 1


@pytest.mark.parametrize(
    ("validate", "seed"), [(None, 5), ({}, 5), ({"seed": 5}, 6), ({"seed": 6}, 5), ({"seed": 5, "top": 0}, 5)]
)
def test_the_best_of_a_search_is_trained_on_seeds_by_which_nothing_was_chosen(validate: Any, seed: int) -> None:
    assert seed_beside(build("x", raw_of("PPO", meta={"seed": 4, "validate": validate})).meta) == seed


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command; its exit code, what it printed, and its errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call(monkeypatch, *arguments)
        return code, *capsys.readouterr()

    return run


def test_benchmarks_on_the_command_line(tmp_path: Path, said: Callable[..., tuple[int, str, str]]) -> None:
    load(tmp_path, {"algorithm": {"A2C": {"specs.json": "a2c"}}, "env": {"discrete": ["CartPole-v1", "Acrobot-v1"]}})
    data = ["--data", tmp_path / "data", "--no-graphs"]
    code, out, err = said("run", tmp_path / "small.json", "benchmark", *data, "--set", "env.0.max_frame=160")
    assert code == 0 and not err
    lines = out.splitlines()
    assert lines[0] == "small: 1 algorithm, 2 environments, 2 cells"
    assert lines[2] == "[1/2] A2C in CartPole-v1 (a2c): train, 2 sessions x 160 frames"
    assert "[2/2] A2C in Acrobot-v1 (a2c, made for CartPole-v1): train, 2 sessions x 160 frames" in lines
    assert sum(line.startswith("    DONE in ") for line in lines) == 2
    (directory,) = (tmp_path / "data").iterdir()
    assert lines[-1] == f"table: {directory}/benchmark.csv"
    code, out, _ = said("resume", *data)
    assert code == 0 and out.startswith(f"{directory}\n") and "nothing to resume" in out
    code, out, _ = said("analyze", directory, "--no-graphs")
    assert code == 0 and out.splitlines()[0].split()[:3] == ["environment", "algorithm", "state"]
    assert max(map(len, out.splitlines())) <= 80
    assert said("check", tmp_path)[1].splitlines()[0] == f"{tmp_path}/small.json: 1 benchmark of 2 cells, no errors"


def test_modes_and_files_that_do_not_fit(tmp_path: Path, said: Callable[..., tuple[int, str, str]]) -> None:
    load(tmp_path, SMALL)
    small, specs = tmp_path / "small.json", tmp_path / "specs.json"
    assert said("run", small, "train") == (2, "", f"{small} holds benchmarks, whose mode is benchmark, not train\n")
    code, _, err = said("run", specs, "ppo", "benchmark")
    assert (code, err) == (2, f"{specs}: ppo: is a spec, which stands in a file of specs alone\n")
    code, _, err = said("run", specs, "ppo", "--into", tmp_path)
    assert (code, err) == (2, f"--into adds to an earlier benchmark, and {specs} holds a spec\n")
    mixed = write(tmp_path / "mixed.json", {"a": {"benchmark": SMALL}, "b": raw_of("PPO")})
    code, _, err = said("check", mixed)
    assert code == 2 and err == f"{mixed}: b: is a spec, which stands in a file of specs alone\n"
    code, _, err = said("run", small, "smal")
    assert code == 2 and 'there is no benchmark "smal"; did you mean "small"?' in err
