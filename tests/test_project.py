"""What holds the project together beside its code: scripts, pins, the shipped files, the commands that README shows."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement

from slmx.cli import app, pairs, read_mode
from slmx.spec.benchmark import check_benchmark
from slmx.spec.load import load_one

ROOT = Path(__file__).parents[1]
SCRIPTS = [ROOT / "bin" / name for name in ("setup", "lab", "test", "bench")] + [ROOT / ".ci" / "run"]
# A home or working directory of somebody's machine. Written so that this line is none.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|work|tmp|opt|mnt|srv)/[\w.-]+")


def tracked() -> list[Path]:
    """The project's files, without links."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def shown_commands() -> list[str]:
    """The project's own commands in README's bash blocks, one a line."""
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith(("bin/", "slmx "))]


def pins() -> dict[str, str]:
    """The tested version of each package, by lower-case name."""
    lines = (ROOT / "config" / "constraints.txt").read_text().splitlines()
    return {name.lower(): version for name, _, version in (x.partition("==") for x in lines if not x.startswith("#"))}


def requirements() -> Iterator[Requirement]:
    """What pyproject.toml asks for, all extras too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = (each for extra in project["optional-dependencies"].values() for each in extra)
    yield from map(Requirement, [*project["dependencies"], *extras])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_every_requirement_has_a_tested_version_in_its_range() -> None:
    for requirement in requirements():
        version = pins().get(requirement.name.lower())
        assert version, f"config/constraints.txt has no {requirement.name}"
        assert requirement.specifier.contains(version), f"{requirement} and the pin {version}"


def test_an_installed_package_carries_the_shipped_specs() -> None:
    specs = resources.files("slmx").joinpath("specs")
    assert json.loads(specs.joinpath("_fitness.json").read_text())
    assert specs.joinpath("demo.json").is_file()
    assert (ROOT / "slmx" / "specs").resolve() == ROOT / "spec"


@pytest.mark.parametrize("command", shown_commands())
def test_commands_of_the_readme(command: str) -> None:
    program, *arguments = shlex.split(command, comments=True)
    if program.startswith("bin/"):
        assert os.access(ROOT / program, os.X_OK)
    if program in ("bin/lab", "slmx"):
        parse_lab(arguments)
    if program == "bin/bench":
        parse_bench(arguments)


def parse_lab(arguments: list[str]) -> None:
    """Parse a command line of the lab without running it, and load the spec that it names."""
    command = typer.main.get_command(app)
    context = command.make_context("slmx", list(arguments), resilient_parsing=not arguments or "--help" in arguments)
    if context.resilient_parsing:
        return
    assert isinstance(command, typer.core.TyperGroup)
    name, sub, rest = command.resolve_command(context, arguments)
    assert sub is not None
    given = sub.make_context(name, rest, parent=context).params
    for path in [given.get("source"), *(given.get("files") or [])]:
        if path is not None and path.parts[0] == "spec":
            assert (ROOT / path).exists() or list(ROOT.glob(str(path))), f"{path} does not exist"
    source = given.get("source")
    if source is not None and source.parts[0] == "spec":
        spec_name, mode = read_mode(given["rest"] or [])
        read_one = check_benchmark if mode == "benchmark" else load_one
        read_one(ROOT / source, spec_name, pairs(given["variables"], "-s"), pairs(given["settings"], "--set"))


def parse_bench(arguments: list[str]) -> None:
    """Parse a command line of the bench without running it."""
    found = importlib.util.spec_from_file_location("arguments", ROOT / "bin" / "_bench" / "arguments.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    module.parser().parse_args(arguments)


# What makes README's longer commands short. The checks themselves are what runs this file.
SHORT = (
    "--set env.0.max_frame=2000 --set meta.eval_episode=2 --set meta.max_trial=2 "
    "--set meta.validate.top=1 --set meta.validate.sessions=2"
)
SHORTER = {
    "bin/test": None,
    "slmx run spec/demo.json search --address": None,  # it needs a cluster: tests/search/test_cluster.py
    "bin/lab run spec/benchmark.json": "--set env.0.max_frame=2000 --set meta.max_session=2 --no-graphs",
    "bin/lab run spec/ppo.json": f"{SHORT} --no-graphs",
    "bin/lab run spec/demo.json train --set": f"{SHORT} --no-graphs",
    "bin/lab run": SHORT,
    "bin/bench scores": "--only random_cartpole --sessions 2 --data scores",
    "bin/bench searchers": "--quick --settings 8",
    "bin/bench speed": "--quick --only DQN/CartPole-v1/1",
    "bin/bench search": "--quick --settings 2",
}


LONG = ("bin/bench", "bin/lab run spec/benchmark.json", "bin/lab run spec/demo.json search")


def is_long(command: str) -> bool:
    """Whether a command takes minutes however short its trainings, for it starts many."""
    schedules = shlex.split(command, comments=True) == ["bin/lab", "run"]
    return schedules or command.startswith(LONG)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("those", ["short", pytest.param("long", marks=pytest.mark.slow)])
def test_the_commands_of_the_readme_run_one_after_another(those: str, tmp_path: Path) -> None:
    for name in ("bin", "config", "spec"):
        (tmp_path / name).symlink_to(ROOT / name)
    for command in shown_commands():
        if is_long(command) != (those == "long"):
            continue
        more = next((text for start, text in SHORTER.items() if command.startswith(start)), "")
        if more is None:
            continue
        line = f"{command.partition('#')[0].replace(' --peers', '')} {more}"
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_no_file_names_a_place_on_some_machine() -> None:
    wrong = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        wrong += [f"{path.relative_to(ROOT)}: {hit}" for hit in MACHINE_PATH.findall(text)]
    assert not wrong, "\n".join(wrong)
