"""The search block: every path exists, every value fits, and what cannot be drawn is refused."""

from __future__ import annotations

from typing import Any

import pytest

from slmx.spec.build import build
from slmx.spec.search_space import ARGUMENTS, search_space


def errors(raw: dict[str, Any], search: dict[str, Any]) -> list[str]:
    return [str(error) for error in search_space(build("a", {**raw, "search": search}))[1]]


def test_nested_dotted_and_mixed_paths(ppo: dict[str, Any]) -> None:
    search = {
        "agent": [
            {
                "algorithm": {"gamma__uniform": [0.9, 0.999], "clip_eps": {"start_val__choice": [0.1, 0.2]}},
                "net.optim_spec.lr__loguniform": [1e-4, 1e-2],
            }
        ],
        "agent.algorithm.lam": [0.9, 0.95],
        "env.0.max_t__grid_search": [100, 200, 300],
        "agent.0.net": {"hid_layers": [[32], [64, 64]], "optim_spec.eps__normal": [1e-3, 1e-5]},
    }
    space, wrong = search_space(build("a", {**ppo, "search": search}))
    assert not wrong
    assert {(d.path, d.kind) for d in space.domains} == {
        ("agent.0.algorithm.gamma", "uniform"),
        ("agent.0.algorithm.clip_eps.start_val", "choice"),
        ("agent.0.net.optim_spec.lr", "loguniform"),
        ("agent.0.algorithm.lam", "grid_search"),
        ("env.0.max_t", "grid_search"),
        ("agent.0.net.hid_layers", "grid_search"),
        ("agent.0.net.optim_spec.eps", "randn"),
    }
    assert (space.grid, space.trials(16)) == (12, 192)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"agent": [{"algorithm": {"gama__uniform": [0, 1]}}]},
     'agent.0.algorithm.gama__uniform: unknown key of agent.0.algorithm; did you mean "gamma__uniform"?'),
    ({"agent.0.algorithm.gamma__unifrom": [0, 1]},
     'agent.0.algorithm.gamma__unifrom: unknown kind of search "unifrom"; did you mean "gamma__uniform"?'),
    ({"agent.0.algorithm.gamma_uniform": [0, 1]},
     'agent.0.algorithm.gamma_uniform: unknown key; did you mean "gamma__uniform"?'),
    ({"agent.0.net.optim_spec.lr_loguniform": [0.1, 1]},
     'agent.0.net.optim_spec.lr_loguniform: unknown key; did you mean "lr__loguniform"?'),
    ({"agnt": [{"algorithm": {}}]}, 'agnt: unknown key; did you mean "agent"?'),
    ({"agent": [{}, {"algorithm": {}}]}, 'agent.1: agent has 1 entries, none is "1"; count from 0'),
    ({"agent.0.algorithm.gamma": 0.9},
     "agent.0.algorithm.gamma: must be a list of values, not 0.9; or a range: gamma__uniform"),
    ({"agent.0.algorithm.gamma__uniform": 0.9}, "agent.0.algorithm.gamma__uniform: must be a list, not 0.9"),
    ({"agent.0.algorithm.gamma__choice": []}, "agent.0.algorithm.gamma__choice: needs at least one value"),
    ({"agent.0.algorithm.gamma__choice": [0.9, 0.9]},
     "agent.0.algorithm.gamma__choice: a value stands twice: [0.9, 0.9]"),
    ({"agent.0.algorithm.gamma__choice": [0.9, "x"]},
     'agent.0.algorithm.gamma__choice: must be a number, not "x"'),
    ({"agent.0.algorithm.gamma__uniform": [0.9, 1.1]}, "agent.0.algorithm.gamma__uniform: must be <= 1, not 1.1"),
    ({"agent.0.algorithm.gamma__uniform": [0.9, 0.8]},
     "agent.0.algorithm.gamma__uniform: low must be below high, not 0.9 and 0.8"),
    ({"agent.0.algorithm.gamma__uniform": [0.9]},
     "agent.0.algorithm.gamma__uniform: uniform takes [low, high], not [0.9]"),
    ({"agent.0.algorithm.gamma__uniform": [0.9, "1"]},
     'agent.0.algorithm.gamma__uniform: high must be a number, not "1"'),
    ({"agent.0.algorithm.gamma__loguniform": [0, 1]},
     "agent.0.algorithm.gamma__loguniform: low of loguniform must be > 0, not 0"),
    ({"agent.0.algorithm.gamma__quniform": [0, 1, 0]}, "agent.0.algorithm.gamma__quniform: q must be > 0, not 0"),
    ({"agent.0.algorithm.gamma__quniform": [0.05, 1, 0.1]},
     "agent.0.algorithm.gamma__quniform: low 0.05 is no multiple of q 0.1"),
    ({"agent.0.algorithm.gamma__normal": [0.9, 0]}, "agent.0.algorithm.gamma__normal: sd must be > 0, not 0"),
    ({"agent.0.algorithm.gamma__normal": [0.9, 0.5]},
     "agent.0.algorithm.gamma__normal: must be >= 0, not -0.6"),
    ({"agent.0.algorithm.time_horizon__uniform": [32, 128]},
     "agent.0.algorithm.time_horizon__uniform: uniform draws fractions, but the key takes integers; "
     "use time_horizon__randint"),
    ({"agent.0.algorithm.time_horizon__randint": [0.5, 128]},
     "agent.0.algorithm.time_horizon__randint: low of randint must be a whole number, not 0.5"),
    ({"meta.seed": [1, 2]}, "meta.seed: cannot be searched; only agent, env and body can"),
    ({"agent": [{"algorithm": {"gamma": [0.8, 0.9]}}], "agent.0.algorithm.gamma__uniform": [0, 1]},
     "agent.0.algorithm.gamma__uniform: agent.0.algorithm.gamma is searched twice"),
    ({"agent.0.net.hid_layers_activation": ["tanh", "rleu"]},
     'agent.0.net.hid_layers_activation: must be one of "tanh", "relu", "sigmoid", "elu", "selu", "celu", "gelu", '
     '"silu", "mish", "leaky_relu", "softplus", "softsign", "hardtanh", "hardswish", "relu6", "logsigmoid", '
     '"tanhshrink", not "rleu"; did you mean "relu"?'),
]  # fmt: skip


@pytest.mark.parametrize(("search", "message"), WRONG, ids=str)
def test_mistake_has_its_message(ppo: dict[str, Any], search: dict[str, Any], message: str) -> None:
    found = errors(ppo, search)
    assert found
    assert found[0] == f"search.{message}"


def test_quantised_floats_fit_integers(ppo: dict[str, Any]) -> None:
    assert errors(ppo, {"agent.0.algorithm.time_horizon__quniform": [32, 128, 16]}) == []


def test_every_kind_is_accepted(ppo: dict[str, Any]) -> None:
    for kind, names in ARGUMENTS.items():
        key, args = ("time_horizon", [32, 64]) if "int" in kind else ("gamma", [0.5, 0.75])
        args = [0.5, 0.125] if "randn" in kind else args
        args += [1 if "int" in kind else 0.125] * (len(names) - 2)
        assert errors(ppo, {f"agent.0.algorithm.{key}__{kind}": args}) == [], kind


def test_keys_that_depend_on_one_another(dqn: dict[str, Any]) -> None:
    frequency = "agent.0.algorithm.update_frequency"
    assert errors(dqn, {frequency: [10, 20]}) == [f'search.{frequency}: does nothing when update_type is "polyak"']
    both = {frequency: [10, 20], "agent.0.algorithm.update_type": ["replace", "polyak"]}
    assert errors(dqn, both) == []
    assert errors(dqn, {"agent.0.memory": {"batch_size": [32, 64], "max_size": [50, 100]}}) == [
        "search.agent.0.memory.batch_size: with agent.0.memory.batch_size = 64, agent.0.memory.max_size = 50: "
        "agent.0.memory.batch_size: 64 is more than max_size 50"
    ]
