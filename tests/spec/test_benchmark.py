"""Benchmark files: which cells they stand for, and every mistake with its place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slmx.errors import SlmxError, SpecErrors
from slmx.spec.benchmark import Cell, check_benchmark, check_benchmarks, is_benchmark
from slmx.spec.load import load_one
from tests.sweeps import raw_of, write

SPECS = {
    "ppo_pole": raw_of("PPO"),
    "ppo_swing": raw_of("PPO", "Pendulum-v1"),
    "dqn_pole": raw_of("DQN", search={"agent.0.algorithm.gamma": [0.9, 0.99]}),
    "dqn_again": raw_of("DQN"),
    "twice": raw_of("PPO") | {"env": [{"name": "CartPole-v1", "max_frame": 320}] * 2},
}
FILE: dict[str, Any] = {
    "algorithm": {"PPO": {"specs.json": ["ppo_pole", "ppo_swing"]}, "DQN": {"specs.json": "dqn_pole"}},
    "env": {"discrete": ["CartPole-v1", {"name": "Acrobot-v1", "max_frame": 640}], "continuous": "Pendulum-v1"},
}


@pytest.fixture
def cells(tmp_path: Path) -> Callable[..., tuple[Cell, ...]]:
    """The cells of a benchmark file beside a spec file."""
    write(tmp_path / "specs.json", SPECS)

    def check(content: Any, **given: Any) -> tuple[Cell, ...]:
        return check_benchmark(write(tmp_path / "bench.json", {"small": {"benchmark": content}}), **given).cells

    return check


def edited(**changes: Any) -> dict[str, Any]:
    """The file with other keys, dotted by two underscores."""
    raw = copy.deepcopy(FILE)
    for path, value in changes.items():
        *groups, last = path.split("__")
        group = raw
        for part in groups:
            group = group[part]
        group[last] = value
    return raw


def test_an_algorithm_takes_part_where_its_actions_allow(cells: Callable[..., tuple[Cell, ...]]) -> None:
    found = cells(FILE)
    assert [(cell.algorithm, cell.env, cell.actions) for cell in found] == [
        ("PPO", "CartPole-v1", "discrete"),
        ("DQN", "CartPole-v1", "discrete"),
        ("PPO", "Acrobot-v1", "discrete"),
        ("DQN", "Acrobot-v1", "discrete"),
        ("PPO", "Pendulum-v1", "continuous"),
    ]
    assert [cell.source for cell in found] == [
        *("specs.json: ppo_pole", "specs.json: dqn_pole", "specs.json: ppo_pole", "specs.json: dqn_pole"),
        "specs.json: ppo_swing",
    ]
    assert [cell.made_for for cell in found] == ["CartPole-v1"] * 4 + ["Pendulum-v1"]
    assert [cell.spec.env[0].max_frame for cell in found] == [320, 320, 640, 640, 320]
    assert {cell.mode for cell in found} == {"train"}


def test_environments_with_several_choices_at_once_are_a_list_of_their_own(
    cells: Callable[..., tuple[Cell, ...]],
) -> None:
    envs = {"discrete": "CartPole-v1", "multidiscrete": ["tests.env.probes:Dials"]}
    found = cells(edited(env=envs, algorithm__PPO={"specs.json": "ppo_pole"}))
    assert [(cell.algorithm, cell.actions) for cell in found] == [
        ("PPO", "discrete"), ("DQN", "discrete"), ("PPO", "multidiscrete"),
    ]  # fmt: skip


def test_a_replaced_environment_leaves_all_else(cells: Callable[..., tuple[Cell, ...]], tmp_path: Path) -> None:
    cell = cells(FILE)[3]
    own = load_one(tmp_path / "specs.json", "dqn_pole")
    env = own.env[0].model_copy(update={"name": "Acrobot-v1", "max_frame": 640})
    assert cell.spec == own.model_copy(update={"name": "DQN_Acrobot-v1", "env": [env]})


def test_what_the_file_sets_and_what_the_command_line_sets(cells: Callable[..., tuple[Cell, ...]]) -> None:
    found = cells(edited(max_frame=160, max_session=5), overrides={"meta.max_session": "3", "meta.seed": "7"})
    assert [cell.spec.env[0].max_frame for cell in found] == [160, 160, 640, 640, 160]
    assert {(cell.spec.meta.max_session, cell.spec.meta.seed) for cell in found} == {(3, 7)}


def test_searches_where_a_spec_has_a_search_block(cells: Callable[..., tuple[Cell, ...]]) -> None:
    modes = {(cell.algorithm, cell.mode) for cell in cells(edited(search=True))}
    assert modes == {("PPO", "train"), ("DQN", "search")}


def test_variables_reach_the_file_and_the_specs(tmp_path: Path) -> None:
    write(tmp_path / "specs.json", {"a": raw_of("PPO") | {"meta": {"seed": "${seed}"}}})
    raw = {"algorithm": {"PPO": {"specs.json": "a"}}, "env": {"discrete": "${env}"}}
    path = write(tmp_path / "bench.json", {"b": {"benchmark": raw}})
    (cell,) = check_benchmark(path, variables={"seed": "4", "env": "Acrobot-v1"}).cells
    assert (cell.env, cell.spec.meta.seed) == ("Acrobot-v1", 4)
    for given, said in (
        ({"env": "Acrobot-v1"}, 'b: benchmark.algorithm.PPO: specs.json: a: meta.seed: "${seed}" has no value'),
        ({"seed": "4"}, 'b: benchmark: "${env}" has no value; give it with -s env=...'),
        ({"env": "Acrobot-v1", "seed": "4", "sed": "5"}, 'the variable "sed" does not occur; did you mean "seed"?'),
    ):
        with pytest.raises(SpecErrors) as caught:
            check_benchmark(path, variables=given)
        assert said in str(caught.value).replace(f"{tmp_path}/", "")


def test_which_of_several(tmp_path: Path) -> None:
    write(tmp_path / "specs.json", SPECS)
    path = write(tmp_path / "bench.json", {"one": {"benchmark": FILE}, "two": {"benchmark": edited(max_frame=160)}})
    assert {name: len(found.cells) for name, found in check_benchmarks(path).items()} == {"one": 5, "two": 5}
    assert check_benchmark(path, "two").cells[0].spec.env[0].max_frame == 160
    with pytest.raises(SlmxError, match="which benchmark\\? There are one, two"):
        check_benchmark(path)
    with pytest.raises(SlmxError, match='there is no benchmark "too"; did you mean "two"\\?'):
        check_benchmark(path, "too")


def test_a_benchmark_is_called_as_folders_can_be(tmp_path: Path) -> None:
    write(tmp_path / "specs.json", SPECS)
    with pytest.raises(SpecErrors, match=r"bench\.json: \.\./x: folders are called by this name: it may not be empty"):
        check_benchmark(write(tmp_path / "bench.json", {"../x": {"benchmark": FILE}}))


# the benchmark, and what is said after "bench.json: small: "
WRONG: dict[str, tuple[Any, list[str]]] = {
    "no mapping": (3, ["benchmark: must be a mapping of keys, not 3"]),
    "empty": ({}, [f"benchmark.{key}: missing key; it takes a mapping" for key in ("algorithm", "env")]),
    "unknown keys": (
        edited(max_sesion=2, env__discret=[]),
        [
            'benchmark.max_sesion: unknown key; did you mean "max_session"?',
            'benchmark.env.discret: unknown key; did you mean "discrete"?',
        ],
    ),
    "unknown key of an environment": (
        edited(env__discrete=["CartPole-v1", {"name": "Acrobot-v1", "max_frames": 9}]),
        ['benchmark.env.discrete.1.max_frames: unknown key; did you mean "max_frame"?'],
    ),
    "wrong types": (
        edited(algorithm__PPO=3, algorithm__DQN={"specs.json": [1]}, max_frame=0, search="yes"),
        [
            "benchmark.algorithm.PPO: must be a mapping, not 3",
            "benchmark.algorithm.DQN.specs.json.0: must be a string, not 1",
            "benchmark.max_frame: must be > 0, not 0",
            'benchmark.search: must be true or false, not "yes"',
        ],
    ),
    "no environments": (
        edited(env={}),
        ["benchmark.env: lists no environment; list some under discrete or continuous or multidiscrete"],
    ),
    "listed twice": (
        edited(env__continuous=["Pendulum-v1", "CartPole-v1"]),
        ["benchmark.env.continuous.1: CartPole-v1 is listed twice"],
    ),
    "unknown environment": (
        edited(env__discrete=["CartPole-v1", "Acrobat-v1"]),
        ['benchmark.env.discrete.1: unknown environment "Acrobat-v1"; did you mean "Acrobot-v1"?'],
    ),
    "several choices at once": (
        edited(env__discrete=["CartPole-v1", "tests.env.probes:Switches"]),
        [
            "benchmark.env.discrete.1: the actions of tests.env.probes:Switches are multidiscrete; "
            "list it under multidiscrete"
        ],
    ),
    "other actions": (
        edited(env__discrete=["CartPole-v1", "Pendulum-v1"], env__continuous=[]),
        ["benchmark.env.discrete.1: the actions of Pendulum-v1 are continuous; list it under continuous"],
    ),
    "no such file": (
        edited(algorithm__PPO={"spec.json": ["ppo_pole"]}),
        ['benchmark.algorithm.PPO: spec.json: no such file; did you mean "specs.json"?'],
    ),
    "no such spec": (
        edited(algorithm__DQN={"specs.json": ["dqn_pol"]}),
        ['benchmark.algorithm.DQN: specs.json: there is no spec "dqn_pol"; did you mean "dqn_pole"?'],
    ),
    "two specs for one environment": (
        edited(algorithm__DQN={"specs.json": ["dqn_pole", "dqn_again"]}),
        ["benchmark.algorithm.DQN: dqn_again and dqn_pole are both made for CartPole-v1"],
    ),
    "several environments": (
        edited(algorithm__two={"specs.json": "twice"}),
        ["benchmark.algorithm.two: twice has several environments; a benchmark is of one agent in one"],
    ),
    "a spec for nothing": (
        edited(env__continuous=[]),
        ["benchmark.algorithm.PPO: ppo_swing does nothing: Pendulum-v1, for which it is made, is not listed"],
    ),
    "an algorithm for nothing": (
        edited(env={"continuous": "Pendulum-v1"}, algorithm__PPO={"specs.json": "ppo_swing"}),
        ["benchmark.algorithm.DQN: takes part in nothing: it takes no continuous actions"],
    ),
    "a search for nothing": (
        edited(search=True, algorithm={"PPO": {"specs.json": ["ppo_pole", "ppo_swing"]}}),
        ["benchmark.search: does nothing: no spec here has a search block"],
    ),
    "names too near": (
        edited(algorithm={"a b": {"specs.json": "dqn_pole"}, "a-b": {"specs.json": "dqn_pole"}}, env__continuous=[]),
        [
            f"benchmark.algorithm: two algorithms would both write a-b_{env}; give them names further apart"
            for env in ("CartPole-v1", "Acrobot-v1")
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_benchmarks_that_cannot_run(
    cells: Callable[..., tuple[Cell, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content, said = WRONG[case]
    with pytest.raises(SpecErrors) as caught:
        cells(content)
    assert str(caught.value).replace(f"{tmp_path}/", "").splitlines() == [f"bench.json: small: {line}" for line in said]


def test_what_is_wrong_in_all_cells_is_said_once(cells: Callable[..., tuple[Cell, ...]]) -> None:
    with pytest.raises(SpecErrors) as caught:
        cells(FILE, overrides={"meta.seed": "x", "agent.1.name": "y"})
    said = [line.partition("small: ")[2] for line in str(caught.value).splitlines()]
    assert said == [
        "PPO in CartPole-v1 and 4 more: agent.1: there is nothing here to set; asked for by agent.1.name",
        'PPO in CartPole-v1 and 4 more: meta.seed: must be an integer, not "x"',
    ]


def test_errors_of_a_spec_file_are_told_with_their_place(
    cells: Callable[..., tuple[Cell, ...]], tmp_path: Path
) -> None:
    write(tmp_path / "broken.json", {"x": raw_of("PPO") | {"mta": {}}})
    with pytest.raises(SpecErrors) as caught:
        cells(edited(algorithm={"mine": {"broken.json": "x"}}))
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        'bench.json: small: benchmark.algorithm.mine: broken.json: x: mta: unknown key; did you mean "meta"?'
    )


def test_a_file_is_of_benchmarks_or_of_specs() -> None:
    assert is_benchmark({"a": {"benchmark": {}}}) and is_benchmark({"a": {"benchmark": 3}, "b": {}})
    assert not is_benchmark({"a": raw_of("PPO")}) and not is_benchmark([]) and not is_benchmark({"a": 3})
