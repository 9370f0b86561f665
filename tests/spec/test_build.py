"""Every mistake has its message, at its place; sound specs survive the way to plain data and back."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from slmx.algorithm import ALGORITHMS
from slmx.errors import SpecErrors
from slmx.member.schedule import Schedule
from slmx.net import NETS
from slmx.plain import put
from slmx.spec.build import attempt, build
from slmx.spec.dump import dump, restore, static, with_settings

A, N = "agent.0.algorithm", "agent.0.net"
DECAY = {"name": "linear_decay", "start_val": 0.2, "end_val": 0.1}

WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({f"{A}.gama": 0.9}, [f'{A}.gama: unknown key; did you mean "gamma"?']),
    ({"agnt": 1}, ['agnt: unknown key; did you mean "agent"?']),
    ({"meta.max_sesion": 1}, ['meta.max_sesion: unknown key; did you mean "max_session"?']),
    ({f"{N}.gamma": 0.9}, [f"{N}.gamma: unknown key; it belongs in {A}"]),
    ({f"{N}.lr": 0.9}, [f"{N}.lr: unknown key; it belongs in {N}.optim_spec"]),
    ({f"{A}.gamma": "0.9"}, [f'{A}.gamma: must be a number, not "0.9"; write it without quotes']),
    ({f"{A}.gamma": True}, [f"{A}.gamma: must be a number, not true"]),
    ({f"{A}.gamma": None}, [f"{A}.gamma: must be a number, not null"]),
    ({f"{A}.gamma": 1.5}, [f"{A}.gamma: must be <= 1, not 1.5"]),
    ({f"{A}.gamma": DECAY}, [f"{A}.gamma: must be a number, not " + json.dumps(DECAY)]),
    ({f"{A}.clip_eps": "x"},
     [f'{A}.clip_eps: must be a number or a schedule {{"name": "linear_decay", ...}}, not "x"']),
    ({f"{A}.clip_eps": -1}, [f"{A}.clip_eps: must be > 0, not -1"]),
    ({f"{A}.clip_eps": {"name": "linear_decay", "start_val": 1}},
     [f"{A}.clip_eps.end_val: missing key; it takes a number"]),
    ({f"{A}.clip_eps.start_vale": 1}, [f'{A}.clip_eps.start_vale: unknown key; did you mean "start_val"?']),
    ({f"{A}.time_horizon": 1.5}, [f"{A}.time_horizon: must be an integer, not 1.5"]),
    ({f"{A}.training_epoch": 0}, [f"{A}.training_epoch: must be >= 1, not 0"]),
    ({f"{N}.hid_layers": [64, "a"]}, [f'{N}.hid_layers.1: must be an integer, not "a"']),
    ({f"{N}.hid_layers": [64, 0]}, [f"{N}.hid_layers.1: must be >= 1, not 0"]),
    ({f"{N}.hid_layers": 64}, [f"{N}.hid_layers: must be a list of integers, not 64"]),
    ({f"{N}.hid_layers": []}, [f"{N}.hid_layers: must not be empty"]),
    ({f"{N}.clip_grad_val": "x"}, [f'{N}.clip_grad_val: must be a number or null, not "x"']),
    ({f"{N}.dueling": True}, [f"{N}.dueling: does nothing: PPO does not use it"]),
    ({N: {"type": "MLP"}}, [f"{N}.optim_spec: missing key; it takes a mapping"]),
    (
        {f"{N}.type": "MPL"},
        [f'{N}.type: unknown net "MPL"; did you mean "MLP"? known: {", ".join(NETS)}, or module:Class'],
    ),
    (
        {f"{A}.name": "PPPO"},
        [
            f'{A}.name: unknown algorithm "PPPO"; did you mean "PPO"? known: {", ".join(ALGORITHMS)}, or module:Class'
        ],
    ),
    ({f"{A}.name": "no_such.module:X"}, [f'{A}.name: there is no module "no_such" for "no_such.module:X"']),
    *(({f"{A}.name": name}, [f'{A}.name: "{name}" cannot be imported; a module is named in full, "module:Class"'])
      for name in (":X", ".m:X")),
    ({f"{A}.name": "slmx.algorithm.ppo:PPPO"},
     [f'{A}.name: there is no class "PPPO" in slmx.algorithm.ppo; did you mean "PPO"?']),
    ({f"{A}.name": "pathlib:Path"},
     [f'{A}.name: "pathlib:Path" is no algorithm: it has no class Hyper with its keys, a slmx.member.hyper.Hyper']),
    ({A: {"gamma": 0.9}}, [f"{A}.name: missing key; it takes the name of an algorithm"]),
    ({A: "PPO"}, [f'{A}: must be a mapping like {{"name": "Random", ...}}, not "PPO"']),
    ({"agent.0.memory": {"name": "Replay"}},
     ["agent.0.memory.name: PPO cannot learn from Replay; it learns from Rollout"]),
    ({"agent.0.memory": {"nmae": "Rollout"}}, ['agent.0.memory.nmae: unknown key; did you mean "name"?']),
    ({"agent": []}, ["agent: must not be empty"]),
    ({"agent": 3}, ["agent: must be a mapping or a list of them, not 3"]),
    ({"env.0": {"name": "CartPole-v1"}}, ["env.0.max_frame: missing key; it takes an integer"]),
    ({"env.0.max_frame": 0}, ["env.0.max_frame: must be > 0, not 0"]),
    ({"env.0.wrappers": [5]}, ["env.0.wrappers.0: must be a string or a mapping, not 5"]),
    ({"env.0.wrappers": [{"k": 5}]}, ["env.0.wrappers.0.name: missing key"]),
    ({"env.0.kwargs": {"seed": 5}}, ['env.0.kwargs.seed: not set here: seeds derive from "meta.seed"']),
    (
        {"body.product": "inne"},
        ['body.product: must be one of "outer", "inner", "custom", not "inne"; did you mean "inner"?'],
    ),
    ({"body.num": "x"}, ['body.num: must be an integer or a list of integers or a list of lists of integers, not "x"']),
    ({"body.num": [[0, 0, 1.5]]}, ["body.num.0.2: must be an integer, not 1.5"]),
    ({"meta": 3}, ["meta: must be a mapping of keys, not 3"]),
    ({"meta.seed": 1.5, "meta.max_session": 0},
     ["meta.max_session: must be >= 1, not 0", "meta.seed: must be an integer, not 1.5"]),
    ({"search": 3}, ["search: must be a mapping, not 3"]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "messages"), WRONG, ids=str)
def test_mistake_has_its_message(ppo: dict[str, Any], changes: dict[str, Any], messages: list[str]) -> None:
    for path, value in changes.items():
        put(ppo, path.split("."), value)
    spec, errors = attempt("a", ppo)
    assert spec is None
    assert [str(error) for error in errors] == messages


def test_mistakes_between_keys_of_dqn(dqn: dict[str, Any]) -> None:
    put(dqn, ["agent", "algorithm", "update_type"], "replace")
    put(dqn, ["agent", "memory", "batch_size"], 20000)
    put(dqn, ["agent", "net", "shared"], True)
    _, errors = attempt("a", dqn)
    assert [str(error) for error in errors] == [
        'agent.0.algorithm.polyak_coef: does nothing when update_type is "replace"',
        "agent.0.memory.batch_size: 20000 is more than max_size 10000",
    ]
    put(dqn, ["agent", "memory", "batch_size"], 32)
    put(dqn, ["agent", "algorithm", "update_type"], "polyak")
    _, errors = attempt("a", dqn)
    assert [str(error) for error in errors] == ["agent.0.net.shared: does nothing: DQN does not use it"]


def test_all_mistakes_are_told_at_once(ppo: dict[str, Any]) -> None:
    for path, value in {f"{A}.gama": 1, f"{N}.hid_layers": 3, "env.0.max_t": 0, "mta": {}}.items():
        put(ppo, path.split("."), value)
    with pytest.raises(SpecErrors) as caught:
        build("a", ppo)
    assert [error.path for error in caught.value.errors] == ["mta", f"{A}.gama", f"{N}.hid_layers", "env.0.max_t"]
    assert str(caught.value).splitlines()[1] == f'a: {A}.gama: unknown key; did you mean "gamma"?'


@pytest.mark.parametrize("raw", [None, [], 3, "x"])
def test_what_is_no_spec_is_refused(raw: Any) -> None:
    assert "must be a mapping of keys" in str(attempt("a", raw)[1][0])


def test_defaults_are_filled_and_objects_stand_for_lists_of_one(dqn: dict[str, Any]) -> None:
    spec = build("a", dqn)
    assert (len(spec.agent), len(spec.env)) == (1, 1)
    assert spec.env[0].max_frame == 100_000
    assert (spec.body.product, spec.body.num) == ("outer", 1)
    assert spec.meta.max_session == 4
    assert isinstance(spec.agent[0].algorithm.explore_var, Schedule)  # type: ignore[attr-defined]


def test_random_needs_neither_memory_nor_net(dqn: dict[str, Any]) -> None:
    dqn["agent"] = {"name": "random", "algorithm": {"name": "Random"}}
    spec = build("a", dqn)
    assert spec.agent[0].memory is None
    assert restore(dump(spec)) == spec


def test_own_class_by_import_path(ppo: dict[str, Any]) -> None:
    put(ppo, f"{A}.name".split("."), "slmx.algorithm.ppo:PPO")
    assert build("a", ppo).agent[0].algorithm.name == "slmx.algorithm.ppo:PPO"


def test_building_leaves_what_it_reads_as_it_was(ppo: dict[str, Any], dqn: dict[str, Any]) -> None:
    for raw in (ppo, dqn):
        before = copy.deepcopy(raw)
        spec = build("a", raw)
        assert raw == before
        spec.agent[0].net.optim_spec  # type: ignore[union-attr]  # noqa: B018
        spec.search.clear()
        assert raw == before


def test_round_trip(ppo: dict[str, Any], dqn: dict[str, Any]) -> None:
    for raw in (ppo, dqn):
        spec = build("a", raw)
        assert restore(dump(spec)) == spec
        assert dump(restore(dump(spec))) == dump(spec)


def test_settings_make_another_spec(ppo: dict[str, Any]) -> None:
    spec = build("a", ppo)
    other = with_settings(spec, {f"{A}.gamma": 0.5, f"{N}.optim_spec.lr": 1, "meta.threads": 2})
    assert (other.agent[0].algorithm.gamma, other.agent[0].net.optim_spec.lr, other.meta.threads) == (0.5, 1.0, 2)  # type: ignore[union-attr]
    assert spec == build("a", ppo)
    with pytest.raises(SpecErrors, match="gamma: must be <= 1"):
        with_settings(spec, {f"{A}.gamma": 2})


def test_program_is_fixed_by_what_may_not_vary(ppo: dict[str, Any]) -> None:
    spec = build("a", ppo)
    for path, value in {f"{A}.gamma": 0.5, f"{A}.clip_eps.start_val": 0.5, "meta.seed": 3, "agent.0.name": "x"}.items():
        assert static(with_settings(spec, {path: value})) == static(spec), path
    others = {f"{A}.clip_eps": 0.1, f"{A}.time_horizon": 64, f"{N}.clip_grad_val": None, "body.num": 2}
    for path, value in others.items():
        assert static(with_settings(spec, {path: value})) != static(spec), path


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", ".hidden", "dqn/pong", "a\\b", "a:b", "a ", " a", "a\n", "x" * 201]
)
def test_a_name_is_one_that_folders_can_have(dqn: dict[str, Any], name: str) -> None:
    spec, (error,) = attempt(name, dqn)
    assert spec is None and error.path == "name" and error.message.startswith("folders are called by this name: it may")


@pytest.mark.parametrize("name", ["a", "ppo_CartPole-v1", "a.b+c", "lr=0.1, 2 seeds", "größer", "x" * 200])
def test_names_of_many_kinds_are_fine(dqn: dict[str, Any], name: str) -> None:
    assert build(name, dqn).name == name
