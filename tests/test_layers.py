"""The order of the packages: who may import whom, and what an import may cost."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slmx.algorithm import ALGORITHMS
from slmx.memory import MEMORIES
from slmx.net import NETS
from slmx.search import SCHEDULERS, SEARCHERS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "slmx"

BASE = {"errors", "lazy", "whole", "alongside", "plain"}
LEARNING = {"algorithm", "net", "memory", "dist", "ops", "member"} | BASE
# What a part (a module or package of slmx) may import at run time; imports for annotations alone are free.
MAY_IMPORT = {
    "errors": set(),
    "lazy": set(),
    "alongside": set(),
    "plain": set(),
    "heap": set(),
    "whole": {"errors"},
    "storage": {"errors", "whole", "alongside"},
    "metric": set(),
    "ops": BASE,
    "dist": BASE,
    "member": BASE,
    "net": {"member", "ops", "dist"} | BASE,
    "memory": {"member", "ops", "dist"} | BASE,
    "env": {"member"} | BASE,
    "algorithm": LEARNING - {"algorithm"},
    "space": BASE,
    "spec": LEARNING | {"env", "space", "metric", "storage"},
    "footprint": {"memory", "env", "space", "spec", "errors", "plain"},
    "model_file": BASE,
    "view": {"whole"},
    "run_directory": {"errors", "whole", "storage"},
    "record": {"run_directory", "errors", "table", "whole", "camera", "view", "model_file"},
    "watch": {"space", "env"},
    "evaluation": {"env", "watch", "member"},
    "session": LEARNING | {"spec", "space", "env", "evaluation", "watch", "heap"},
    "analysis": {"run_directory", "errors", "metric", "whole", "alongside", "plain"},
    "table": BASE,
    "lock": BASE,
    "stop": set(),
    "checkpoint": {"session"} | BASE,
    "search": LEARNING
    | {"spec", "space", "env", "session", "run_directory", "record", "metric", "analysis", "display", "checkpoint"}
    | {"storage", "table", "camera", "footprint", "lock", "stop"},
    "display": {"errors", "camera", "footprint"},
    "camera": {"errors", "whole"},
    "filming": {"camera", "analysis", "env", "errors", "spec", "display", "model_file", "session", "evaluation"},
    "lab": LEARNING
    | {"spec", "space", "env", "session", "run_directory", "record", "metric", "analysis", "search", "display"}
    | {"storage", "lock", "camera", "play", "footprint", "checkpoint", "evaluation", "stop"},
    "play": {"spec", "env", "session", "evaluation", "member", "analysis", "display", "camera", "model_file", "table"}
    | BASE,
    "once": {"lab", "spec", "run_directory", "analysis", "display"} | BASE,
    "benchmark": {"once", "lab", "spec", "run_directory", "lock", "analysis", "display"} | BASE,
    "schedule": {"benchmark", "once", "lab", "spec", "run_directory", "analysis", "display"} | BASE,
    "dispatch": {"schedule", "benchmark", "lab", "search", "spec", "run_directory", "analysis", "display"} | BASE,
    "cli": {"dispatch", "lab", "play", "spec", "analysis", "display", "stop", "storage"} | BASE,
    "__main__": {"cli"},
}
REGISTRIES = (ALGORITHMS, NETS, MEMORIES, SEARCHERS, SCHEDULERS)
HEAVY = ("torch", "ray", "optuna", "pandas", "plotly", "kaleido", "matplotlib")


def modules() -> list[Path]:
    """All modules of slmx."""
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """The name under which a module is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part(module: str) -> str:
    """The module or package of slmx to which a dotted name belongs; empty for slmx itself."""
    return module.removeprefix("slmx").removeprefix(".").partition(".")[0]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of what a module imports anywhere in it but under `if TYPE_CHECKING:`."""
    tree = ast.parse(path.read_text())
    annotations_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in annotations_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def test_every_part_has_a_layer() -> None:
    parts = {part(dotted(path)) for path in modules()} - {""}
    assert parts <= set(MAY_IMPORT), "a new part of slmx needs its place in MAY_IMPORT"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_imports_point_down(path: Path) -> None:
    own = part(dotted(path))
    if not own:
        return  # slmx itself shows what is below it
    allowed = MAY_IMPORT[own] | {own}
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {own} must not import {name}"
        for line, name in imports(path)
        if name.startswith("slmx.") and part(name) not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_no_algorithm_imports_another() -> None:
    homes = {name.partition(":")[0] for name in ALGORITHMS.values()}
    for home in homes:
        path = ROOT / f"{home.replace('.', '/')}.py"
        for line, name in imports(path):
            assert not any(name == other or name.startswith(f"{other}.") for other in homes - {home}), f"{path}:{line}"


def test_analysis_reads_files_alone() -> None:
    for path in (PACKAGE / "analysis").rglob("*.py"):
        for line, name in imports(path):
            assert name.partition(".")[0] not in ("torch", "ray", "gymnasium", "envpool"), f"{path}:{line}: {name}"


def test_only_search_imports_ray() -> None:
    for path in modules():
        if part(dotted(path)) != "search":
            assert not [name for _, name in imports(path) if name.partition(".")[0] == "ray"], path


def loaded_by(names: list[str]) -> dict[str, list[str]]:
    """Which heavy packages each import of a fresh interpreter brought in, in order."""
    code = (
        "import importlib, json, sys\n"
        f"names, heavy, found, seen = {names!r}, {HEAVY!r}, {{}}, set()\n"
        "for name in names:\n"
        "    importlib.import_module(name)\n"
        "    now = {h for h in heavy if h in sys.modules and hasattr(sys.modules[h], '__version__')}\n"
        "    found[name] = sorted(now - seen)\n"
        "    seen |= now\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_command_line_and_typed_keys_import_nothing_heavy() -> None:
    light = (
        "",
        "cli",
        "dispatch",
        "schedule",
        "benchmark",
        "once",
        "lab",
        "display",
        "spec",
        "space",
        "errors",
        "lazy",
    )
    light += ("member",)
    typed = [dotted(path) for path in modules() if part(dotted(path)) in light]
    registered = {home.partition(":")[0] for registry in REGISTRIES for home in registry.values()}
    guilty = {name: heavy for name, heavy in loaded_by([*typed, "slmx.env.spec", *sorted(registered)]).items() if heavy}
    assert not guilty


@pytest.mark.parametrize(("name", "backend"), [("CartPole-v1", "gymnasium"), ("tests.probes:Drift", "auto")])
def test_an_environment_of_gymnasium_needs_no_import_of_envpool(name: str, backend: str) -> None:
    code = (
        "import sys\nfrom slmx.env import EnvSpec, describe\n"
        f"print(describe(EnvSpec(name={name!r}, backend={backend!r}, max_frame=10)).backend)\n"
        "sys.exit('envpool' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (0, "gymnasium\n"), done.stderr
