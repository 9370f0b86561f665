"""The whole check of a file: everything at once, without torch; the vocabulary and the schema say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from slmx.algorithm import ALGORITHMS
from slmx.errors import SpecErrors
from slmx.spec.benchmark import is_benchmark
from slmx.spec.build import build
from slmx.spec.check import check_file, check_one
from slmx.spec.dump import dump
from slmx.spec.load import find, read
from slmx.spec.registry import REGISTRIES
from slmx.spec.vocabulary import json_schema, vocabulary

Write = Callable[..., Path]


def lines(path: Path, **arguments: Any) -> list[str]:
    with pytest.raises(SpecErrors) as caught:
        check_file(path, **arguments)
    return str(caught.value).replace(str(path.parent) + "/", "").splitlines()


SPEC_FILES = [path for path in find([Path("spec")]) if not is_benchmark(read(path))]


@pytest.mark.parametrize("path", SPEC_FILES, ids=str)
def test_shipped_specs_are_sound(path: Path) -> None:
    assert check_file(path)


def test_everything_is_told_at_once(write: Write, ppo: dict[str, Any], dqn: dict[str, Any]) -> None:
    ppo["env"][0]["name"] = "CartPol-v1"
    ppo["body"]["num"] = [1, 2]
    ppo["search"] = {"agent.0.algorithm.gama__uniform": [0, 1]}
    dqn["env"]["name"] = "Pendulum-v1"
    broken = {**dqn, "mta": {}}
    said = lines(write({"one": ppo, "two": dqn, "three": broken}))
    assert said[0] == 'spec.json: three: mta: unknown key; did you mean "meta"?'
    assert said[1].startswith("spec.json: one: search.agent.0.algorithm.gama__uniform: unknown key")
    assert said[2].startswith("spec.json: one: body.num: has 2 numbers for 1 environment")
    assert 'one: env.0.name: unknown environment "CartPol-v1"; did you mean "CartPole-v' in said[3]
    assert said[4] == (
        "spec.json: two: agent.0.algorithm.name: DQN cannot act in Pendulum-v1 (env.0), whose actions are continuous; "
        "continuous actions are taken by REINFORCE, A2C, PPO, DDPG, TD3, SAC, CrossQ"
    )
    assert len(said) == 5


@pytest.mark.parametrize(
    ("algorithm", "env", "more", "message"),
    [
        (
            {"name": "TD3"}, "CartPole-v1", {},
            "agent.0.algorithm.exploration: does not fit CartPole-v1 (env.0): "
            '"gaussian" is not for discrete actions; they take "gumbel"',
        ),
        (
            {"name": "DDPG", "exploration": "gumbel"}, "Pendulum-v1", {},
            "agent.0.algorithm.exploration: does not fit Pendulum-v1 (env.0): "
            '"gumbel" is not for continuous actions; they take "gaussian" or "ornstein_uhlenbeck"',
        ),
        (
            {"name": "SAC"}, "tests.probes:Aim", {},
            "agent.0.algorithm.name: SAC acts within bounds, and actions of tests.probes:Aim (env.0) have none; "
            "A2C and PPO do without",
        ),
        (
            {"name": "CrossQ"}, "Pendulum-v1", {"type": "tests.own_learning:Affine"},
            "agent.0.net.type: CrossQ needs a network that normalises batches inside; those that can: MLP",
        ),
    ],
    ids=["discrete TD3", "continuous gumbel", "no bounds", "no batch renormalisation"],
)  # fmt: skip
def test_actions_and_networks_that_do_not_fit_are_one_error(
    write: Write, dqn: dict[str, Any], algorithm: dict[str, Any], env: str, more: dict[str, Any], message: str
) -> None:
    dqn["agent"] |= {"algorithm": algorithm, "net": {"type": "MLP", "optim_spec": {"name": "Adam"}} | more}
    dqn["env"]["name"] = env
    assert lines(write({"one": dqn})) == [f"spec.json: one: {message}"]


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in ("Random", "REINFORCE", "A2C", "PPO")])
def test_who_values_actions_takes_no_several_choices_at_once(write: Write, dqn: dict[str, Any], name: str) -> None:
    memory = {"name": "Rollout"} if name == "SARSA" else {"name": "Replay"}
    dqn["agent"] |= {"algorithm": {"name": name}, "memory": memory}
    dqn["agent"]["net"] = {"type": "MLP", "optim_spec": {"name": "Adam"}}
    for env, choices in (("tests.env.probes:Dials", 6), ("tests.probes:Combination", 3)):
        dqn["env"]["name"] = env
        assert lines(write({"one": dqn})) == [
            f"spec.json: one: agent.0.algorithm.name: {name} cannot act in {env} (env.0), whose actions are "
            f"multidiscrete ({choices} choices at once); multidiscrete actions are taken by REINFORCE, A2C, PPO"
        ]


def test_who_learns_a_policy_takes_several_choices_at_once(write: Write, ppo: dict[str, Any]) -> None:
    for env in ("tests.env.probes:Dials", "tests.env.probes:Switches"):
        ppo["env"][0]["name"] = env
        assert check_file(write({"one": ppo}))


def test_every_minibatch_has_frames_of_every_environment(write: Write, ppo: dict[str, Any]) -> None:
    ppo["agent"][0]["algorithm"] |= {"time_horizon": 1, "minibatch_size": 3}
    ppo["env"] = [{"name": name, "max_frame": 1000} for name in ("CartPole-v1", "Acrobot-v1")]
    ppo["body"]["num"] = [1, 8]
    del ppo["search"]
    assert lines(write({"one": ppo})) == [
        "spec.json: one: agent.0.algorithm.minibatch_size: 3 makes 3 minibatches, each with frames of every "
        "environment: one has 1 frame"
    ]
    ppo["body"]["num"] = [4, 5]
    assert check_file(write({"one": ppo}))


def test_one_spec_of_a_file(write: Write, ppo: dict[str, Any]) -> None:
    path = write({"good": ppo, "bad": {}})
    assert check_one(path, "good").name == "good"
    assert len(lines(path)) == 2


def test_check_never_imports_torch(write: Write, ppo: dict[str, Any]) -> None:
    good, bad = write({"a": ppo}), write({"a": {**ppo, "evn": 1}}, "bad.json")
    program = f"""
import sys
from slmx.errors import SpecErrors
from slmx.spec.check import check_file
from slmx.spec.vocabulary import json_schema, vocabulary
check_file({str(good)!r})
try:
    check_file({str(bad)!r})
except SpecErrors as error:
    print(error)
json_schema(), vocabulary()
print([name for name in ("torch", "ray", "pandas", "plotly") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert said.stdout.splitlines()[-1] == "[]"
    assert "evn: unknown key" in said.stdout


def test_vocabulary_documents_every_key() -> None:
    sections = vocabulary()
    assert {registry.plural for registry in REGISTRIES.values()} <= set(sections)
    for entries in sections.values():
        for entry in entries:
            assert entry.doc
            assert all(key.doc and key.takes for key in entry.keys), entry
    gamma = next(k for e in sections["algorithms"] if e.name == "PPO" for k in e.keys if k.name == "gamma")
    assert (gamma.takes, gamma.default, gamma.varies) == ("a number", "0.99", True)


def test_schema_names_every_class_and_resolves() -> None:
    schema = json.loads(json.dumps(json_schema()))
    for table, registry in REGISTRIES.items():
        assert len(schema["$defs"][table]["oneOf"]) == len(registry.known) + 1
        for name in registry.known:
            group = schema["$defs"][f"{table}.{name}"]
            assert group["properties"][registry.selector]["const"] == name
            assert registry.selector in group["required"]
            assert group["additionalProperties"] is False

    def references(node: Any) -> list[str]:
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        own = [node["$ref"]] if isinstance(node, dict) and "$ref" in node else []
        return own + [found for value in inner for found in references(value)]

    for reference in references(schema):
        assert reference.removeprefix("#/$defs/") in schema["$defs"], reference


def test_schema_accepts_shipped_specs_and_refuses_typos(ppo: dict[str, Any], dqn: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.validate({"a": ppo, "b": dqn})
    written = {name: dump(build(name, raw)) for name, raw in (("a", ppo), ("b", dqn))}
    validator.validate({name: {k: v for k, v in raw.items() if k != "name"} for name, raw in written.items()})
    ppo["agent"][0]["algorithm"]["gama"] = 1
    assert not validator.is_valid({"a": ppo})
