"""Searches on a Ray cluster that is there already, and what they do when a part of it is lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from slmx.errors import SlmxError
from slmx.search import cluster, start
from slmx.spec.build import build
from tests.processes import MARK, ROOT, alive, kill, running
from tests.search.specs import AGENT, Keys, raw_of, spec_of

WORLD = '''
"""An environment of a user's own, which says where it was found."""
import gymnasium
import numpy as np
import ray
import slmx
import beside_it


class World(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(0, 1, (1,), np.float32), gymnasium.spaces.Discrete(2)
    def __init__(self, log="", render_mode=None):
        if log and ray.is_initialized():
            with open(log, "a") as file:
                print(ray.get_runtime_context().get_node_id(), slmx.__file__, __file__, beside_it.__file__, file=file)
    def reset(self, *, seed=None, options=None):
        self.age = 0
        return np.zeros(1, np.float32), {}
    def step(self, action):
        self.age += 1
        return np.zeros(1, np.float32), float(action), False, self.age >= 10, {}
'''


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with modules of a user's own."""
    place = tmp_path / "own"
    (place / "unused").mkdir(parents=True)
    (place / "own_world.py").write_text(WORLD)
    (place / "beside_it.py").write_text("")
    (place / "unused" / "__init__.py").write_text("")
    return place


def test_what_travels_is_slmx_and_what_a_spec_names_with_what_stands_beside(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(own)
    try:
        spec = spec_of({}, env={"name": "own_world:World"})
        assert "own_world" in sys.modules or __import__("own_world")
        package = str(ROOT / "slmx")
        assert cluster.modules(spec) == [package, str(own / "beside_it.py"), str(own / "own_world.py")]
        assert cluster.modules(spec_of({})) == [package]
        assert cluster.modules(spec_of({}, env={"name": "gymnasium.envs.classic_control:CartPoleEnv"})) == [package]
        searched = build("tiny", raw_of({"agent.algorithm.name__choice": ["PPO", "own_world:Mine"]}))
        assert str(own / "own_world.py") in cluster.modules(searched)
    finally:
        for name in ("own_world", "beside_it"):
            sys.modules.pop(name, None)


def test_where_no_cluster_is_one_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 4.0)
    with pytest.raises(SlmxError, match=r"no Ray cluster answers at 127.0.0.1:1; `ray start --head` prints"):
        cluster.ask("127.0.0.1:1")


@dataclass
class Nodes:
    """A cluster of two nodes, one core each, on this machine."""

    address: str
    head: str
    other: str

    def lose(self) -> None:
        """The second node is gone."""
        (raylet,) = (pid for pid in alive(self.other) if "raylet/raylet" in Path(f"/proc/{pid}/cmdline").read_text())
        os.kill(raylet, 9)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    folder = tempfile.mkdtemp(prefix="rt", dir=start.SHORT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = Nodes(f"127.0.0.1:{port}", uuid.uuid4().hex, uuid.uuid4().hex)
    common = ["--num-cpus", "1", "--object-store-memory", "100000000"]
    try:
        for mark, more in (
            (found.head, ["--head", "--port", str(port), "--temp-dir", folder, "--include-dashboard", "false"]),
            (found.other, ["--address", found.address]),
        ):
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            environment |= {MARK: mark, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
            command = [Path(sys.executable).parent / "ray", "start", *common, *more]
            subprocess.run(command, env=environment, check=True, capture_output=True, cwd="/")
        yield found
    finally:
        for mark in (found.other, found.head):
            kill(mark)
        shutil.rmtree(folder, ignore_errors=True)


def arguments(nodes: Nodes, raw: Keys, place: Path, data: str) -> tuple[object, ...]:
    (place / "spec.json").write_text(json.dumps({"spread": raw}))
    options = ("--address", nodes.address, "--data", place / data, "--no-graphs", "--quiet")
    return "run", place / "spec.json", "search", *options


@pytest.mark.slow
@pytest.mark.parametrize("shared", ["a folder", "a URI"])
def test_a_lost_node_changes_nothing_of_a_search(shared: str, nodes: Nodes, tmp_path: Path) -> None:
    storage = f"file://{tmp_path}/there" if shared == "a URI" else None
    meta = {
        "storage": storage,
        "max_trial": 5,
        "max_member": 4,
        "validate": None,
        "checkpoint_frequency": 4000,
        "log_frequency": 500,
    }
    raw = raw_of({"agent.algorithm.gamma__uniform": [0.9, 0.99]}, {"max_frame": 36_000}, meta)
    left = {}

    def has_come_far() -> bool:
        tables = (tmp_path / "lost").glob("*/trial_*/session_1.csv")
        return any(table.read_text().count("\n") > 12 for table in tables)

    for data in ("whole", "lost"):
        with running(*arguments(nodes, raw, tmp_path, data)) as command:
            if data == "lost":
                command.wait_for(has_come_far, 120)
                nodes.lose()
            assert command.end(200) == (0, "", "")
        (run,) = (tmp_path / data).iterdir()
        if storage:
            copy = tmp_path / "there" / run.name
            files = [file for file in run.rglob("*") if file.is_file()]
            assert all((copy / file.relative_to(run)).read_bytes() == file.read_bytes() for file in files)
            kept = list(Path(tempfile.gettempdir()).glob(f"slmx*/{run.name}"))
            assert data == "lost" or not kept, "workers left nothing"
        left[data] = {
            str(file.relative_to(run)): file.read_bytes()
            for file in [run / "experiment.csv", *run.glob("trial_*/*_?.csv")]
        }
        journal = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
        lost = [line["reason"] for line in journal if line["event"] == "lost"]
        assert len(lost) == (data == "lost") and set(lost) <= {"its node was lost", "its node could not be reached"}
    assert len(left["whole"]) == 1 + 6 * 2 * 3 and left["lost"] == left["whole"]


@pytest.mark.slow
def test_own_modules_are_brought_to_all_nodes_and_the_cluster_stays(nodes: Nodes, own: Path, tmp_path: Path) -> None:
    env = {"name": "own_world:World", "kwargs": {"log": str(tmp_path / "log")}}
    space = {"agent.algorithm.gamma__uniform": [0.9, 0.99]}
    raw = raw_of(space, env, {"max_trial": 3, "max_member": 2, "validate": None}, AGENT)
    before = set(alive(nodes.head)) | set(alive(nodes.other))
    with running(*arguments(nodes, raw, tmp_path, "data"), beside=own, cwd=tmp_path) as command:
        assert command.end(200) == (0, "", "")
        assert not command.alive()
    places = set((tmp_path / "log").read_text().splitlines())
    assert len({place.split()[0] for place in places}) == 2, "both nodes worked"
    assert all("py_modules" in file for place in places for file in place.split()[1:])
    assert before <= set(alive(nodes.head)) | set(alive(nodes.other))
    with start.joined_ray(nodes.address, spec_of({})):
        assert len(ray.nodes()) == 2
        with pytest.raises(SlmxError, match=r"node .* cannot write in .*: results must go to a folder that all nodes"):
            cluster.inspect(tmp_path / "nowhere")
