"""The command line as users meet it: every mistake in one clear line, help, lists, the schema."""

from __future__ import annotations

import copy
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pandas as pd
import pytest
import typer
from rich.console import Console

from slmx import lab, play
from slmx.cli import app
from slmx.display import Display
from slmx.spec.build import build
from slmx.spec.load import find, read
from slmx.spec.registry import REGISTRIES
from slmx.spec.vocabulary import json_schema, vocabulary
from tests.command import call

ROOT = Path(__file__).parents[1]
SHIPPED = find([ROOT / "spec"])
DEMO: dict[str, Any] = json.loads((ROOT / "spec" / "demo.json").read_text())["ppo_cartpole"]
DQN: dict[str, Any] = {
    "agent": {
        "name": "dqn",
        "algorithm": {"name": "DQN"},
        "memory": {"name": "Replay"},
        "net": {"type": "MLP", "optim_spec": {"name": "Adam", "lr": 0.001}},
    },
    "env": {"name": "CartPole-v1", "max_frame": 1000},
}
SOON: dict[str, Any] = DQN | {"agent": DQN["agent"] | {"algorithm": {"name": "DQN", "training_start_step": 8}}}
KNOWN_ALGORITHMS = "known: Random, REINFORCE, A2C, PPO, SARSA, DQN, DDPG, TD3, SAC, CrossQ, or module:Class"


class Said(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Slmx = Callable[..., Said]


@pytest.fixture
def slmx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Slmx:
    """Runs the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        code = call(monkeypatch, *arguments)
        printed = capsys.readouterr()
        return Said(code, printed.out, printed.err)

    return run


def refused(said: Said, *lines: str) -> None:
    """The command ended with 2 and printed exactly these lines; nothing was written."""
    assert said == Said(2, "", "".join(f"{line}\n" for line in lines))
    assert not Path("data").exists()


def write(content: Any, name: str = "spec.json") -> None:
    """A file in the working directory."""
    Path(name).write_text(content if isinstance(content, str) else json.dumps(content))


def edited(spec: Mapping[str, Any], *changes: tuple[tuple[Any, ...], Any]) -> dict[str, Any]:
    """A spec with other values at some paths; None takes a key away."""
    result: Any = copy.deepcopy(spec)
    for (*path, last), value in changes:
        group = result
        for part in path:
            group = group[part]
        if value is None:
            del group[last]
        else:
            group[last] = value
    return result


# name of the file, what is in it (None: no file), what is said after the file's name
FILES: dict[str, tuple[str, str | bytes | None, str]] = {
    "missing": ("spec.json", None, "no such file"),
    "empty": ("spec.json", "", "the file is empty"),
    "blank": ("spec.yaml", " \n\n", "the file is empty"),
    "comments": ("spec.yaml", "# nothing yet\n", "the file is empty"),
    "no specs": ("spec.json", "{}", "there are no specs in this file"),
    "list": ("spec.json", "[1]", "must be a mapping of spec names to specs, not [1]"),
    "broken JSON": ("spec.json", '{"a": {\n  "agent": [1, 2,}\n', "line 2, column 18: expecting value"),
    "cut JSON": ("spec.json", '{"a": {\n', "line 2, column 1: expecting property name enclosed in double quotes"),
    "NaN": ("spec.json", '{"a": NaN}', "NaN is not a number of JSON, and no value of any key"),
    "twice": ("spec.json", '{"a": {"env": 1, "env": 2}}', "a.env: the key stands twice"),
    "broken YAML": ("spec.yaml", "a:\n  env: [1, 2\n  x: 3\n", "line 3, column 4: expected ',' or ']', but got ':'"),
    "tab in YAML": (
        "spec.yml", "a:\n\tagent: 1\n", "line 2, column 1: found character '\\t' that cannot start any token",
    ),
    "not text": ("spec.json", b'{"a": "\xff"}', "is not UTF-8 text (byte 7)"),
    "no spec file": ("spec.txt", "{}", "a spec file ends in .json, .yaml, .yml"),
    "underscore": ("_spec.json", "{}", 'files whose names begin with "_" are not spec files'),
}  # fmt: skip


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("case", FILES)
def test_files_that_are_none(slmx: Slmx, case: str, command: str) -> None:
    name, content, said = FILES[case]
    if content is not None:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    refused(slmx(command, name), f"{name}: {said}")


def test_a_misspelt_file_has_a_nearest_one(slmx: Slmx) -> None:
    write({"a": DEMO}, "demo.json")
    refused(slmx("run", "dmeo.json", "train"), 'dmeo.json: no such file; did you mean "demo.json"?')
    refused(slmx("run", "nowhere/demo.json"), "nowhere/demo.json: no such file; there is no folder nowhere")
    refused(slmx("run", "."), ".: is a folder, not a spec file")
    Path("empty").mkdir()
    refused(slmx("check", "empty"), "empty: there are no spec files in this folder")


def custom(*bodies: list[int]) -> tuple[tuple[Any, ...], Any]:
    """A body block that lists its bodies."""
    return ("body",), {"product": "custom", "num": list(bodies)}


# the spec, and what is said after "spec.json: a: "
SPECS: dict[str, tuple[Any, list[str]]] = {
    "environment": (
        edited(DEMO, (("env", 0, "name"), "CartPol-v1")),
        ['env.0.name: unknown environment "CartPol-v1"; did you mean "CartPole-v1"?'],
    ),
    "version of an environment": (
        edited(DEMO, (("env", 0, "name"), "CartPole-v7")),
        ['env.0.name: unknown environment "CartPole-v7"; did you mean "CartPole-v1"?'],
    ),
    "module of an environment": (
        edited(DEMO, (("env", 0, "name"), "nowhere:Env")),
        ['env.0.name: there is no module "nowhere"'],
    ),
    "class that is no environment": (
        edited(DEMO, (("env", 0, "name"), "pathlib:Path")),
        ['env.0.name: "Path" of pathlib is no gymnasium.Env'],
    ),
    "value that is no environment": (
        edited(DEMO, (("env", 0, "name"), "os:sep")),
        ['env.0.name: "sep" of os is no gymnasium.Env'],
    ),
    "argument of an environment": (
        edited(DEMO, (("env", 0, "kwargs"), {"gravitation": 1})),
        ["env.0.kwargs: CartPoleEnv: got an unexpected keyword argument 'gravitation'; known: sutton_barto_reward"],
    ),
    "algorithm": (
        edited(DQN, (("agent", "algorithm", "name"), "DQM")),
        [f'agent.0.algorithm.name: unknown algorithm "DQM"; did you mean "DQN"? {KNOWN_ALGORITHMS}'],
    ),
    "algorithm far from all": (
        edited(DQN, (("agent", "algorithm", "name"), "Zyx")),
        [f'agent.0.algorithm.name: unknown algorithm "Zyx"; {KNOWN_ALGORITHMS}'],
    ),
    "continuous actions with DQN": (
        edited(DQN, (("env", "name"), "Pendulum-v1")),
        [
            "agent.0.algorithm.name: DQN cannot act in Pendulum-v1 (env.0), whose actions are continuous; "
            "continuous actions are taken by REINFORCE, A2C, PPO, DDPG, TD3, SAC, CrossQ"
        ],
    ),
    "memory of another algorithm": (
        edited(DQN, (("agent", "memory", "name"), "Rollout")),
        [
            "agent.0.memory.name: DQN cannot learn from Rollout; it learns from Replay, PrioritizedReplay, "
            "FrameReplay, PrioritizedFrameReplay, SequenceReplay or PrioritizedSequenceReplay",
        ],
    ),
    "num for other environments": (
        edited(DEMO, (("body", "num"), [1, 2])),
        ["body.num: has 2 numbers for 1 environment; give one number, or one each"],
    ),
    "num of none": (
        edited(DEMO, (("body", "num"), 0)),
        ["body.num: 0: every environment needs at least one body of each of its agents"],
    ),
    "inner with one agent and two environments": (
        edited(DEMO, (("env",), [DEMO["env"][0]] * 2), (("body", "product"), "inner")),
        ["body.product: inner pairs agents with environments, but there are 1 and 2"],
    ),
    "custom with a hole": (
        edited(DEMO, custom([0, 0, 0], [0, 0, 2])),
        [
            "body.num: there is a hole: [0, 0, 2] but no [0, 0, 1]; "
            "number the bodies of an agent in an environment 0, 1, 2, ..."
        ],
    ),
    "custom outside": (
        edited(DEMO, custom([0, 0, 0], [0, 1, 0])),
        ["body.num: [0, 1, 0] is outside the spec's 1 agent and 1 environment"],
    ),
    "custom with a number": (
        edited(DEMO, (("body", "product"), "custom")),
        ["body.num: product custom needs a list of [agent, env, body], not 8"],
    ),
    "minibatch larger than the rollout": (
        edited(DEMO, (("body", "num"), 1)),
        [
            "agent.0.algorithm.minibatch_size: 256 does not divide the 32 frames of a rollout "
            "(time_horizon 32 x 1 bodies)"
        ],
    ),
    "variable": (
        edited(DEMO, (("env", 0, "max_frame"), "${frames}"), (("meta", "seed"), "${seed}")),
        [
            'env.0.max_frame: "${frames}" has no value; give it with -s frames=...',
            'meta.seed: "${seed}" has no value; give it with -s seed=...',
        ],
    ),
    "several": (
        edited(
            DQN,
            (("agent", "algorithm", "gama"), 0.9),
            (("env", "max_frame"), -1),
            (("agent", "net", "optim_spec", "lr"), "fast"),
            (("meta",), {"max_session": 2.5, "device": "cuba"}),
        ),
        [
            'agent.0.algorithm.gama: unknown key; did you mean "gamma"?',
            'agent.0.net.optim_spec.lr: must be a number or a schedule {"name": "linear_decay", ...}, not "fast"',
            "env.0.max_frame: must be > 0, not -1",
            "meta.max_session: must be an integer, not 2.5",
            'meta.device: must be one of "cpu", "cuda", "auto", not "cuba"; did you mean "cuda"?',
        ],
    ),
    "missing keys": (
        edited(DQN, (("env",), None), (("agent", "net", "optim_spec"), None)),
        [
            "agent.0.net.optim_spec: missing key; it takes a mapping",
            "env: missing key; it takes a list of mappings",
        ],
    ),
    "nothing": (3, ["must be a mapping of keys, not 3"]),
}


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("case", SPECS)
def test_specs_that_cannot_run(slmx: Slmx, case: str, command: str) -> None:
    spec, said = SPECS[case]
    write({"a": spec})
    refused(slmx(command, "spec.json"), *(f"spec.json: a: {line}" for line in said))


# what follows `slmx run spec.json`, where the file holds specs "ppo_a" and "ppo_b"; what is said
ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "no name": ([], "spec.json: which spec? There are ppo_a, ppo_b"),
    "wrong name": (["ppo_c", "train"], 'spec.json: there is no spec "ppo_c"; did you mean "ppo_a"?'),
    "wrong mode": (["ppo_a", "tran"], 'unknown mode "tran"; did you mean "train"?'),
    "far mode": (["ppo_a", "xyz"], 'unknown mode "xyz"; known: benchmark, dev, enjoy, search, train'),
    "name or mode": (
        ["trian"],
        'spec.json: there is no spec "trian"; known: ppo_a, ppo_b; modes: train, dev, search, benchmark, enjoy',
    ),
    "too much": (["ppo_a", "train", "now"], "expected [SPEC_NAME] MODE, not ppo_a train now"),
    "enjoy with a name": (
        ["ppo_a", "enjoy"],
        "enjoy plays what a run left: give its directory, without a spec's name (ppo_a)",
    ),
    "enjoy of a spec": (
        ["enjoy"],
        "spec.json: no trained model here; expected the directory of a run, data/NAME_TIME, or of its trial",
    ),
    "enjoy with what a training takes": (
        ["enjoy", "--set", "meta.seed=1", "--tensorboard"],
        "--set, --tensorboard: not for mode enjoy",
    ),
    "options of another mode": (
        ["ppo_a", "train", "--episodes", "3", "--video", "x.mp4"],
        "--episodes, --video: only for mode enjoy, not train",
    ),
    "set an unknown key": (
        ["ppo_a", "--set", "agent.0.algorithm.gama=1"],
        'spec.json: ppo_a: agent.0.algorithm.gama: unknown key; did you mean "gamma"?',
    ),
    "set an unknown group": (
        ["ppo_a", "--set", "mta.seed=1"],
        'spec.json: ppo_a: mta: unknown key; did you mean "meta"?',
    ),
    "set an agent that is not there": (
        ["ppo_a", "--set", "agent.3.algorithm.gamma=1"],
        "spec.json: ppo_a: agent.3: there is nothing here to set; asked for by agent.3.algorithm.gamma",
    ),
    "set below a value": (
        ["ppo_a", "--set", "meta.seed.x=1"],
        "spec.json: ppo_a: meta.seed.x: there is nothing here to set; asked for by meta.seed.x",
    ),
    "set a wrong type": (
        ["ppo_a", "--set", "agent.algorithm.gamma=high"],
        'spec.json: ppo_a: agent.0.algorithm.gamma: must be a number, not "high"',
    ),
    "set nothing": (
        ["ppo_a", "--set", "meta.seed"],
        "--set meta.seed: expected NAME=VALUE, for example --set agent.0.algorithm.gamma=0.9",
    ),
    "set twice": (
        ["ppo_a", "--set", "meta.seed=1", "--set", "meta.seed=2"],
        "--set meta.seed=2: meta.seed is given twice",
    ),
    "unused variable": (["ppo_a", "-s", "lr=1"], 'spec.json: the variable "lr" does not occur; it has no variables'),
    "no variable": (["ppo_a", "-s", "lr"], "-s lr: expected NAME=VALUE, for example -s lr=0.001"),
    "wrong flag": (
        ["ppo_a", "--dta", "x"],
        "slmx run: no such option: --dta (Possible options: --data, --set) (slmx run -h shows what it takes)",
    ),
    "wrong letter": (["ppo_a", "-x"], "slmx run: no such option: -x (slmx run -h shows what it takes)"),
    "flag without value": (
        ["ppo_a", "--set"],
        "slmx: option '--set' requires an argument (slmx -h shows what it takes)",
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_that_fit_nothing(slmx: Slmx, case: str) -> None:
    write({"ppo_a": DEMO, "ppo_b": DEMO})
    arguments, line = ARGUMENTS[case]
    refused(slmx("run", "spec.json", *arguments), line)


def test_values_of_flags_that_do_not_fit(slmx: Slmx) -> None:
    """The end of the line is typer's."""
    for flag, value in (("--episodes", "0"), ("--seed", "x"), ("--session", "-1"), ("--render", "film")):
        said = slmx("enjoy", "data", flag, value)
        assert said.code == 2 and said.err.startswith(f"slmx enjoy: invalid value for '{flag}'")
        assert said.err.count("\n") == 1 and said.err.endswith(" (slmx enjoy -h shows what it takes)\n")


def test_commands_that_are_none(slmx: Slmx) -> None:
    where = "(slmx -h shows what it takes)"
    refused(slmx("chek", "x"), f"slmx: no such command 'chek'. Did you mean 'check'? {where}")
    refused(slmx("--versoin"), f"slmx: no such option: --versoin (Possible options: --version) {where}")
    refused(
        slmx("run"),
        "config/experiments.json: no such file here; `slmx run SPEC_FILE` runs a spec, `slmx run FILE` a schedule "
        "{spec_file: {spec_name: mode}}, and without a name that of this file is run",
    )
    refused(slmx("check"), "name a spec file or a folder of them to check, or ask for --schema")
    refused(slmx("list", "PPPO"), 'there is nothing called "PPPO" to list; did you mean "PPO"?')


def test_a_sound_spec_runs_beside_a_broken_one(slmx: Slmx) -> None:
    write({"good": edited(SOON, (("env", "max_frame"), 40), (("meta",), {"eval_episode": 1})), "bad": {}})
    assert slmx("run", "spec.json", "good", "--no-graphs", "--quiet") == Said(0, "", "")


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_mistakes_are_told_when_quiet_too(slmx: Slmx, quiet: list[str]) -> None:
    write({"a": edited(DEMO, (("meta", "sed"), 1))})
    refused(slmx("run", "spec.json", *quiet), 'spec.json: a: meta.sed: unknown key; did you mean "seed"?')


def test_a_name_that_no_folder_can_have_is_told_before_anything_is_written(slmx: Slmx) -> None:
    for name in ("dqn/pong", "../x"):
        write({name: DQN})
        for said in (slmx("check", "spec.json"), slmx("run", "spec.json")):
            assert said.code == 2 and said.err.startswith(f"spec.json: {name}: name: folders are called by this name")
            assert said.err.count("\n") == 1 and not Path("data").exists()


def test_every_broken_file_is_told(slmx: Slmx) -> None:
    write({"good": DEMO}, "a.json")
    write("{", "b.json")
    write({"bad": edited(DQN, (("evn",), 1), (("agent", "algorithm", "lam"), 1))}, "c.yaml")
    said = slmx("check", ".")
    assert said.code == 2 and said.out == "a.json: 1 spec, no errors\n"
    lines = said.err.splitlines()
    assert lines[0] == "b.json: line 1, column 2: expecting property name enclosed in double quotes"
    assert all(line.startswith("c.yaml: bad: ") for line in lines[1:]) and len(lines) == 3


def test_data_that_cannot_be_written(slmx: Slmx, monkeypatch: pytest.MonkeyPatch) -> None:
    write({"a": DQN})
    write("mine", "file")
    refused(slmx("run", "spec.json", "--data", "file"), "cannot write to the data folder file: File exists")
    refused(
        slmx("run", "spec.json", "--data", "file/deep"), "cannot write to the data folder file/deep: Not a directory"
    )
    assert Path("file").read_text() == "mine"

    def deny(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", deny)
        refused(slmx("run", "spec.json"), "cannot write to the data folder data: Permission denied")


def test_a_read_only_data_folder(slmx: Slmx) -> None:
    write({"a": DQN})
    Path("closed").mkdir(0o555)
    if os.access("closed", os.W_OK):
        pytest.skip("this user may write everywhere, as root may")
    refused(slmx("run", "spec.json", "--data", "closed"), "cannot write to the data folder closed: Permission denied")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run with two sessions."""
    quick = edited(DQN, (("env", "max_frame"), 64), (("meta",), {"max_session": 2, "eval_episode": 1}))
    return lab.train(build("quick", quick), tmp_path_factory.mktemp("trained"), quiet=True, graphs=False).directory


NO_RUN = "no trained model here; expected the directory of a run, data/NAME_TIME, or of its trial"


def test_folders_that_no_run_left(slmx: Slmx) -> None:
    Path("empty").mkdir()
    write("x", "file")
    for place in ("empty", "file", "nowhere", "."):
        refused(slmx("enjoy", place), f"{place}: {NO_RUN}")
        refused(slmx("run", place, "enjoy"), f"{place}: {NO_RUN}")
        none = "not a data directory: neither a run (trial_0/...) nor a trial (sessions.json)"
        refused(slmx("analyze", place), f"{place}: {none}")


def test_the_newest_run_is_taken_where_none_is_named(slmx: Slmx, trained: Path) -> None:
    for command in ("enjoy", "analyze"):
        missing = "no runs here; train a spec first (slmx run SPEC_FILE) or name the directory of a run"
        refused(slmx(command), f"data: {missing}")
        refused(slmx(command, "--data", "else"), f"else: {missing}")
    for seconds, name in ((2000, "b"), (3000, "a"), (1000, "c")):
        shutil.copytree(trained, Path("data", name))
        os.utime(Path("data", name, "spec.json"), (seconds, seconds))
    played, named = slmx("enjoy"), slmx("enjoy", "data/a")
    assert played.code == 0 and played.out == f"data/a\n{named.out}"
    assert slmx("enjoy", "-q").out == slmx("enjoy", "data/a", "-q").out
    assert slmx("analyze", "--no-graphs", "--data", "data").out.startswith("data/a\n")


# a file of the run, what is written into it, and what enjoy and analyze say of it (None: they do not read it)
BROKEN: dict[str, tuple[str, str, str | None, str | None]] = {
    "spec cut": ("spec.json", "{", "not JSON: ", "not JSON: "),
    "spec of something else": ("spec.json", "{}", "not what a run writes", "not what a run writes"),
    "states of something else": ("sessions.json", "[{}]", "not what a run writes", "not what a run writes"),
    "no states": ("sessions.json", "{}", "not what a run writes", "not what a run writes"),
    "model cut": ("model/session_0.safetensors", "x", "not a model file: ", None),
    "table of something else": ("session_1.csv", "a,b\n1,2\n", None, "no column frame"),
    "returns of something else": ("eval_0.csv", "a,b\n1,2\n", "no column agent, env, frame, return", "no column "),
    "empty table": ("session_1.csv", "", None, "not a table: "),
}


@pytest.mark.parametrize("case", BROKEN)
def test_runs_with_broken_files(slmx: Slmx, trained: Path, case: str) -> None:
    name, content, *said = BROKEN[case]
    shutil.copytree(trained, "run")
    Path("run/trial_0", name).write_text(content)
    for command, line in zip((["enjoy", "run"], ["analyze", "run", "--no-graphs"]), said, strict=True):
        answer = slmx(*command)
        if line is None:
            assert answer.code == 0 and not answer.err
        else:
            assert (
                answer.code == 2
                and answer.err.startswith(f"run/trial_0/{name}: {line}")
                and answer.err.count("\n") == 1
            )


def test_models_that_cannot_be_played(slmx: Slmx, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained, "run")
    none = "run/trial_0: there is no model of session 7; there are those of: 0, 1"
    refused(slmx("enjoy", "run", "--session", "7"), none)
    refused(slmx("enjoy", "run", "--video", "film.xyz"), "film.xyz: the name of a film ends in .mp4")
    refused(
        slmx("enjoy", "run", "--video", "run/spec.json/a.mp4"), "cannot write the film run/spec.json/a.mp4: File exists"
    )
    monkeypatch.setattr(play, "has_screen", lambda: False)
    screen = "--render human: there is no screen here; --video FILE.mp4 films instead"
    refused(slmx("enjoy", "run", "--render", "human"), screen)
    other = Path("run/trial_0/spec.json").read_text()
    Path("run/trial_0/spec.json").write_text(other.replace("CartPole-v1", "Acrobot-v1"))
    said = slmx("enjoy", "run")
    assert said.code == 2 and said.err.count("\n") == 1 and "do not fit the networks" in said.err
    Path("run/trial_0/spec.json").write_text(other.replace('"gamma"', '"gama"'))
    assert 'agent.0.algorithm.gama: unknown key; did you mean "gamma"?' in slmx("enjoy", "run").err
    for model in Path("run/trial_0/model").iterdir():
        model.unlink()
    Path("run/trial_0/spec.json").write_text(other)
    refused(slmx("enjoy", "run"), "run/trial_0: there is no model to play: no session came far enough to leave one")
    Path("run/trial_0").rename("run/mine")
    renamed = "run/mine: a trial's directory is called trial_0, trial_1, ..."
    refused(slmx("analyze", "run/mine", "--no-graphs"), renamed)


def test_a_mistake_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    bad = edited(DEMO, (("agent", 0, "algorithm", "gama"), 0.9))
    (tmp_path / "spec.json").write_text(json.dumps({"a": bad}))
    program = """
import sys
from slmx.cli import main
try:
    main()
except SystemExit as end:
    heavy = [name for name in ("torch", "ray", "pandas", "plotly") if name in sys.modules]
    print(end.code, heavy)
"""
    for command in (["run", "spec.json"], ["check", "spec.json"]):
        ran = subprocess.run(
            [sys.executable, "-c", program, *command], capture_output=True, text=True, cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True,
        )  # fmt: skip
        assert ran.stderr == 'spec.json: a: agent.0.algorithm.gama: unknown key; did you mean "gamma"?\n'
        assert ran.stdout == "2 []\n"
    assert [path.name for path in tmp_path.iterdir()] == ["spec.json"]


def test_the_program_as_it_is_installed(tmp_path: Path) -> None:
    """`python -m slmx` is the same program."""
    ran = subprocess.run(
        [sys.executable, "-m", "slmx", "check", "nothing.json"], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", "nothing.json: no such file\n")


def test_it_says_which_version_it_is(slmx: Slmx) -> None:
    assert slmx("--version") == Said(0, f"slmx {version('slmx')}\n", "")


def test_variables_and_settings_reach_the_spec(slmx: Slmx) -> None:
    write({"a": edited(SOON, (("env", "max_frame"), "${frames}"), (("meta",), {"max_session": 1, "eval_episode": 1}))})
    given = ["-s", "frames=40", "--set", "agent.algorithm.gamma=0.5", "--set", "meta.seed=3"]
    said = slmx("run", "spec.json", "a", "train", *given, "--no-graphs")
    assert said.code == 0 and not said.err and "1 session x 40 frames" in said.out
    (directory,) = Path("data").iterdir()
    spec = json.loads((directory / "spec.json").read_text())["spec"]
    assert (spec["agent"][0]["algorithm"]["gamma"], spec["meta"]["seed"], spec["env"][0]["max_frame"]) == (0.5, 3, 40)
    assert slmx("run", "spec.json", *given, "--no-graphs", "--quiet") == Said(0, "", "")
    assert slmx("analyze", directory, "--no-graphs").out.startswith("trial")
    assert slmx("check", "spec.json", *given).out == "spec.json: 1 spec, no errors\n"


def test_all_shipped_files_are_sound(slmx: Slmx) -> None:
    said = slmx("check", ROOT / "spec")
    assert said.code == 0 and not said.err
    lines = said.out.splitlines()
    assert len(lines) == len(SHIPPED) and all(line.endswith(", no errors") for line in lines)
    counted = {line.partition(": ")[0]: int(line.partition(": ")[2].split()[0]) for line in lines}
    assert counted == {str(path): len(read(path)) for path in SHIPPED}


def test_schema_is_one_and_holds_for_what_is_shipped(slmx: Slmx) -> None:
    said = slmx("check", "--schema")
    schema = json.loads(said.out)
    assert said.code == 0 and schema == json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in SHIPPED:
        validator.validate(read(path))
    validator.validate({"a": DQN})
    wrong = [
        edited(DEMO, (("agent", 0, "algorithm", "gama"), 0.9)),
        edited(DEMO, (("agent", 0, "algorithm", "name"), "PPPO")),
        edited(DEMO, (("agent", 0, "algorithm", "gamma"), 2)),
        edited(DEMO, (("agent", 0, "net", "optim_spec", "lr"), "fast")),
        edited(DEMO, (("agent", 0, "net", "hid_layers"), [])),
        edited(DEMO, (("env", 0, "max_frame"), 0.5)),
        edited(DEMO, (("env",), None)),
        edited(DEMO, (("meta", "device"), "cuba")),
        edited(DEMO, (("mta",), {})),
    ]
    assert [spec for spec in wrong if validator.is_valid({"a": spec})] == []


def test_list_names_everything(slmx: Slmx) -> None:
    said = slmx("list")
    assert said.code == 0 and not said.err
    words = set(said.out.replace(",", " ").replace(":", " ").split())
    sections = vocabulary()
    for section, entries in sections.items():
        assert section in words
        for entry in entries:
            assert {entry.name, *(key.name for key in entry.keys)} <= words
    assert {name for registry in REGISTRIES.values() for name in registry.known} <= words


def test_list_shows_each_key_in_full(slmx: Slmx) -> None:
    for name, entries in vocabulary().items():
        for asked, shown in [(name, entries), *((entry.name.lower(), [entry]) for entry in entries)]:
            said = slmx("list", asked)
            assert said.code == 0 and not said.err
            for entry in shown:
                assert f"{entry.name}: {entry.doc}\n" in said.out
                for key in entry.keys:
                    assert f"  {key.name}: {key.doc}\n      {key.takes}" in said.out


COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]


def test_help(slmx: Slmx) -> None:
    for arguments in ([], ["-h"], ["--help"]):
        said = slmx(*arguments)
        assert said.code == 0 and not said.err and said.out.startswith("Usage: slmx [OPTIONS] COMMAND")
        assert all(f"  {name} " in said.out for name in ("run", "enjoy", "resume", "check", "list", "analyze"))
    assert set(COMMANDS) == {"run", "enjoy", "resume", "check", "list", "analyze"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(slmx: Slmx, name: str) -> None:
    said = slmx(name, "-h")
    assert said.code == 0 and not said.err and said.out.startswith(f"Usage: slmx {name} ")
    assert max(map(len, said.out.splitlines())) <= 80
    squeezed = " ".join(said.out.split())
    assert " ".join(COMMANDS[name].help.split()) in squeezed
    for parameter in COMMANDS[name].params:
        assert parameter.help, f"{parameter.name} has no help"
        assert parameter.help in squeezed
        assert all(option in said.out for option in parameter.opts if option.startswith("-"))


@pytest.mark.parametrize("several", [False, True])
def test_results_fit_a_terminal(several: bool) -> None:
    row = {
        "agent": 0, "env": 0, "state": "STOPPED", "reason": "", "frame": 300000, "final_return": -1234.5,
        "final_return_std": 1234.5, "return_ma": -1234.5, "strength": -10.25, "speed": 10.0, "stability": 0.95,
    }  # fmt: skip
    rows = [row | {"session": s, "env": e} for s in range(3) for e in range(1 + several)]
    rows[-1] |= {"state": "FAILED", "reason": "no", "final_return": float("nan")}
    console = Console(width=80, highlight=False, soft_wrap=True, file=io.StringIO())
    Display(console=console).results(lab.Run(Path("data/x"), pd.DataFrame(rows), False))
    lines = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines), "nothing is cut"
    header = 2 if several else 1
    assert [line.split()[0] for line in lines[header : header + len(rows)]] == [str(row["session"]) for row in rows]
    assert sum("-1234.5 ± 1234.5" in line for line in lines) == len(rows) - 1
    assert "greedy" in lines[0] and "training" in lines[0] and lines[header + len(rows)].startswith("session 2 FAILED")
