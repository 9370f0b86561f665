"""Spec files: what is broken is told with its place; variables, overrides and variants."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from slmx.errors import SlmxError
from slmx.spec.load import find, load, load_one, merged, read

Write = Callable[..., Path]


def message(path: Path, call: Callable[[], Any]) -> str:
    with pytest.raises(SlmxError) as caught:
        call()
    return str(caught.value).replace(str(path.parent) + "/", "")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.json", "", "a.json: the file is empty"),
        ("a.json", '{"a": {\n  "agent": 1,\n}}', "a.json: line 3, column 1: "),
        ("a.json", '{"a": 1 "b": 2}', "a.json: line 1, column 9: expecting ',' delimiter"),
        ("a.json", '{"a": {"b": {"c": 1, "c": 2}}}', "a.json: a.b.c: the key stands twice"),
        ("a.json", '{"a": {"x": NaN}}', "a.json: NaN is not a number of JSON, and no value of any key"),
        ("a.json", "[1]", "a.json: must be a mapping of spec names to specs, not [1]"),
        ("a.json", "{}", "a.json: there are no specs in this file"),
        ("a.yaml", "# nothing\n", "a.yaml: the file is empty"),
        ("a.yaml", "a:\n  b: [1\n", "a.yaml: line 3, column 1: "),
        ("a.yaml", "a:\n  b: 1\n  b: 2\n", 'a.yaml: line 3, column 3: the key "b" stands twice'),
        ("a.yaml", "a:\n  ? [b]\n  : 1\n", "a.yaml: line 2, column 5: the key ['b'] is no text"),
        ("a.yaml", "a:\n  1: 2\n", "a.yaml: line 2, column 3: the key 1 is no text"),
        ("a.yaml", "a: !!python/object:os.system {}", "a.yaml: line 1, column 4: could not determine a constructor"),
        ("_a.json", "{}", '_a.json: files whose names begin with "_" are not spec files'),
        ("a.toml", "{}", "a.toml: a spec file ends in .json, .yaml, .yml"),
    ],
)
def test_broken_file(write: Write, name: str, text: str, expected: str) -> None:
    path = write(text, name)
    assert message(path, lambda: read(path)).startswith(expected)


def test_yaml_anchors_merge(write: Write) -> None:
    path = write("a: &base {b: 1, c: 2}\nd:\n  <<: *base\n  c: 3\n", "a.yaml")
    assert read(path) == {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}


def test_missing_file(write: Write) -> None:
    path = write("{}", "demo.json")
    said = message(path, lambda: read(path.with_name("dmeo.json")))
    assert said == 'dmeo.json: no such file; did you mean "demo.json"?'
    assert "there is no folder" in message(path, lambda: read(path.parent / "sepc" / "demo.json"))
    assert "is a folder" in message(path, lambda: read(path.parent))


def test_binary_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    assert message(tmp_path / "a.json", lambda: read(tmp_path / "a.json")) == "a.json: is not UTF-8 text (byte 0)"


def test_errors_name_file_and_spec(write: Write, ppo: dict[str, Any], dqn: dict[str, Any]) -> None:
    ppo["agent"][0]["algorithm"]["gama"] = 1
    dqn["mta"] = {}
    path = write({"one": ppo, "two": dqn})
    assert message(path, lambda: load(path)).splitlines() == [
        'spec.json: one: agent.0.algorithm.gama: unknown key; did you mean "gamma"?',
        'spec.json: two: mta: unknown key; did you mean "meta"?',
    ]


def test_name_is_no_key(write: Write, ppo: dict[str, Any]) -> None:
    path = write({"one": {**ppo, "name": "one"}})
    said = message(path, lambda: load(path))
    assert said == "spec.json: one: name: unknown key; a spec is named by its key in the file"


def test_one_spec_is_chosen(write: Write, ppo: dict[str, Any]) -> None:
    path = write({"ppo_cartpole": ppo})
    assert load_one(path).name == "ppo_cartpole"
    assert message(path, lambda: load_one(path, "ppo_cartpol")) == (
        'spec.json: there is no spec "ppo_cartpol"; did you mean "ppo_cartpole"?'
    )
    path = write({"one": ppo, "two": {"broken": 1}})
    assert load_one(path, "one").name == "one"
    assert message(path, lambda: load_one(path)) == "spec.json: which spec? There are one, two"


def test_variables(write: Write, ppo: dict[str, Any]) -> None:
    ppo["env"][0] |= {"name": "${env}-v1", "max_frame": "${frames}"}
    ppo["agent"][0]["net"]["hid_layers"] = "${layers}"
    path = write({"ppo_${env}": ppo})
    specs = load(path, {"env": "CartPole", "frames": "2e5", "layers": "[32]"})
    spec = specs["ppo_CartPole"]
    assert (spec.env[0].name, spec.env[0].max_frame) == ("CartPole-v1", 200_000)
    assert spec.agent[0].net.hid_layers == [32]  # type: ignore[union-attr]
    assert load_one(path, "ppo_Acrobot", {"env": "Acrobot", "frames": 10, "layers": [8]}).env[0].max_frame == 10
    assert message(path, lambda: load(path, {"env": "CartPole"})).splitlines() == [
        'spec.json: ppo_CartPole: agent.0.net.hid_layers: "${layers}" has no value; give it with -s layers=...',
        'spec.json: ppo_CartPole: env.0.max_frame: "${frames}" has no value; give it with -s frames=...',
    ]
    assert message(path, lambda: load(path, {"evn": "x"})) == (
        'spec.json: the variable "evn" does not occur; did you mean "env"?'
    )


def test_overrides(write: Write, ppo: dict[str, Any], dqn: dict[str, Any]) -> None:
    path = write({"ppo": ppo, "dqn": dqn})
    changes = {"agent.0.algorithm.gamma": "0.5", "env.name": "Acrobot-v1", "meta.threads": "2", "body.num": "[4]"}
    for spec in load(path, overrides=changes).values():
        assert spec.agent[0].algorithm.gamma == 0.5  # type: ignore[attr-defined]
        assert (spec.env[0].name, spec.meta.threads, spec.body.num) == ("Acrobot-v1", 2, [4])
    for change, expected in {
        "agent.0.algorithm.gama": 'ppo: agent.0.algorithm.gama: unknown key; did you mean "gamma"?',
        "agnt.0.algorithm.gamma": 'ppo: agnt: unknown key; did you mean "agent"?',
        "agent.1.algorithm.gamma": "ppo: agent.1: there is nothing here to set; asked for by agent.1.algorithm.gamma",
        "body.num.x": "ppo: body.num.x: there is nothing here to set; asked for by body.num.x",
    }.items():
        assert message(path, lambda c=change: load_one(path, "ppo", overrides={c: "1"})) == f"spec.json: {expected}"


def test_yaml_reads_as_json_does(write: Write, ppo: dict[str, Any]) -> None:
    ppo["agent"][0]["net"]["optim_spec"]["lr"] = 1e-4
    text = yaml.safe_dump({"a": ppo}).replace("0.0001", "1e-4")
    assert "lr: 1e-4" in text
    assert load_one(write(text, "a.yaml")) == load_one(write({"a": ppo}))


def test_variants_expand_depth_first(write: Write, ppo: dict[str, Any]) -> None:
    ppo["variants"] = [
        {},
        {"agent": {"algorithm": {"gamma": 0.5}},
         "variants": [{"env": {"max_frame": 10}}, {"name": "b", "body": {"num": 1}}]},
        {"name": "own", "agent": {"algorithm": {"gamma": 0.6}}, "variants": [{"agent": {"algorithm": {"gamma": 0.7}}}]},
    ]  # fmt: skip
    for path in (write({"a": ppo}), write(yaml.safe_dump({"a": ppo}, sort_keys=False), "a.yml")):
        specs = load(path)
        assert list(specs) == ["a_0", "a_1_0", "a_1_b", "a_own_0"]
        assert [s.agent[0].algorithm.gamma for s in specs.values()] == [0.99, 0.5, 0.5, 0.7]  # type: ignore[attr-defined]
        assert [s.agent[0].algorithm.lam for s in specs.values()] == [0.95] * 4  # type: ignore[attr-defined]
        assert [s.env[0].max_frame for s in specs.values()] == [100_000, 10, 100_000, 100_000]
        assert [s.body.num for s in specs.values()] == [8, 8, 1, 8]


@pytest.mark.parametrize("variants", [[], None, {}, 3])
def test_empty_variants_are_refused(write: Write, ppo: dict[str, Any], variants: Any) -> None:
    path = write({"a": {**ppo, "variants": [{"variants": variants}]}})
    shown = json.dumps(variants)
    expected = f"spec.json: a: variants.0.variants: must be a list of at least one variant, not {shown}"
    assert message(path, lambda: load(path)) == expected


def test_variants_of_one_name_are_refused(write: Write, ppo: dict[str, Any]) -> None:
    path = write({"a": {**ppo, "variants": [{"name": "x"}, {"name": "x"}]}})
    assert message(path, lambda: load(path)).startswith('spec.json: a: there are two specs called "a_x"')


def test_merging_leaves_the_base_as_it_was() -> None:
    base = {"a": [{"b": 1, "c": [1]}], "d": {"e": 1}}
    assert merged(base, {"a": {"b": 2}, "d": {"f": 2}}) == {"a": [{"b": 2, "c": [1]}], "d": {"e": 1, "f": 2}}
    assert base == {"a": [{"b": 1, "c": [1]}], "d": {"e": 1}}


def test_spec_files_are_found(write: Write, tmp_path: Path) -> None:
    write("{}", "a.json"), write("{}", "_b.json"), write("{}", "c.yaml"), write("{}", "d.txt")
    assert [path.name for path in find([tmp_path, tmp_path / "x.json"])] == ["a.json", "c.yaml", "x.json"]
