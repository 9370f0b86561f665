"""Replay memories that are larger than main memory: in files, or refused before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from slmx import checkpoint, lab
from slmx.errors import SpecError
from slmx.footprint import memory_bytes, refuse_what_cannot_fit
from slmx.memory import room
from slmx.memory.ring import Ring
from slmx.spec.model import Spec
from tests.command import call
from tests.programs import NET, Keys, parameters, program, spec, trained
from tests.test_resume import interrupted, resumed

DQN: Keys = {"name": "DQN", "training_start_step": 8, "training_frequency": 2}
CONV: Keys = {"type": "ConvNet", "conv_layers": [[2, 8, 8]], "hid_layers": [4], "optim_spec": {"name": "Adam"}}


def of_numbers(**memory: int) -> Spec:
    keys: Keys = {"name": "Replay", "max_size": 50, "batch_size": 4, **memory}
    return spec(DQN, keys, {"name": "CartPole-v1", "max_frame": 120})


def of_images() -> Spec:
    memory: Keys = {"name": "FrameReplay", "max_size": 10, "batch_size": 2}
    return spec(DQN, memory, {"name": "Pong-v5", "max_frame": 40, "max_t": 20, "atari": {}}, net=CONV)


@pytest.mark.parametrize("make", [of_numbers, of_images])
def test_a_memory_in_a_file_gives_the_same_numbers(
    make: type[Spec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = parameters(trained(make(), 3).agents[0])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(room, "MOST", 0.0)
    asked: list[Path] = []
    make_file = room.tempfile.NamedTemporaryFile
    monkeypatch.setattr(room.tempfile, "NamedTemporaryFile", lambda dir: asked.append(dir) or make_file(dir=dir))
    in_files = trained(make(), 3)
    assert set(asked) == {tmp_path} and not list(tmp_path.iterdir()), "files without names"
    assert torch.equal(parameters(in_files.agents[0]), expected)


def test_members_that_stay_keep_what_they_had_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST", 0.0)
    running = trained(of_numbers(), 3)
    (memory,) = running.agents[0].memory
    before = memory.ring.read(torch.arange(memory.size).expand(3, -1))
    running.keep([2, 0])
    after = memory.ring.read(torch.arange(memory.size).expand(2, -1))
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old[[2, 0]], new)


@pytest.mark.parametrize("make", [of_numbers, of_images])
def test_what_is_kept_or_read_from_a_checkpoint_lies_in_a_file_again(
    make: type[Spec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST", 0.0)
    running, resumed = trained(make(), 3), program(make(), 3)
    recording = SimpleNamespace(state=lambda: {})
    checkpoint.save(tmp_path / "run" / "program_0.pt", running, recording)
    (tmp_path / "run" / "program_0.pt").rename(tmp_path / "moved.pt")
    checkpoint.resume(tmp_path / "moved.pt", resumed, lambda left: recording)
    (tmp_path / "moved.pt").unlink()
    rings = [one.agents[0].memory[0].ring for one in (running, resumed)]
    for ring in rings:
        assert in_file(ring), "as it was made"
    at = torch.arange(running.agents[0].memory[0].size).expand(3, -1)
    for one, other in zip(*(ring.read(at) for ring in rings), strict=True):
        assert torch.equal(one, other)
    resumed.keep([2, 0])
    assert in_file(rings[1])


def in_file(ring: Any) -> bool:
    """Whether all that is large of a ring lies in files that have no name any more."""
    stores = [*ring.stores.values(), *([ring.pictures] if hasattr(ring, "pictures") else [])]
    names = [store.untyped_storage().filename for store in stores]
    return all(name is not None and "tmp" in name and not Path(name).exists() for name in names)


def test_what_has_nowhere_to_lie_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    big = of_numbers(max_size=10**6)
    assert memory_bytes(big) == [("agent.0.memory.max_size", 48 * 10**6)]
    monkeypatch.setattr(room, "machine_bytes", lambda: 10**8)
    monkeypatch.setattr(room, "disk_bytes", lambda: 2 * 10**8)
    refuse_what_cannot_fit(big, 2)  # 96 MB, in a file
    refuse_what_cannot_fit(big, 1, programs=2)  # 48 MB each, in main memory
    with pytest.raises(SpecError) as found:
        refuse_what_cannot_fit(big, 1, programs=3)
    assert str(found.value) == (
        "agent.0.memory.max_size: the replay memories of 3 sessions that train at once take 144 MB, "
        "and there are 100 MB in main memory; at most 694,444 would fit"
    )
    with pytest.raises(SpecError, match=r"5 sessions .* take 240 MB, and there are 200 MB in .*; at most 833,333"):
        refuse_what_cannot_fit(big, 5)


def test_each_memory_of_an_agent_is_looked_at_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    one = of_numbers(max_size=10**6)
    several = one.model_copy(update={"env": [one.env[0]] * 3, "body": one.body.model_copy(update={"num": [1, 1, 1]})})
    assert memory_bytes(several) == [("agent.0.memory.max_size", 48 * 10**6)] * 3
    monkeypatch.setattr(room, "machine_bytes", lambda: 10**8)  # no memory of the three is large enough for a file
    monkeypatch.setattr(room, "disk_bytes", lambda: 10**12)
    with pytest.raises(SpecError, match=r"1 session .* take 144 MB, and there are 100 MB in main memory"):
        refuse_what_cannot_fit(several, 1)


def test_what_self_imitation_remembers_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: Keys = {"name": "A2C", "sil_iter": 1, "sil_max_size": 10**6}
    one = spec(keys, {"name": "Rollout"}, {"name": "CartPole-v1", "max_frame": 120})
    assert memory_bytes(one) == [("agent.0.algorithm.sil_max_size", 32 * 10**6)]
    assert not memory_bytes(spec({"name": "A2C"}, {"name": "Rollout"}, {"name": "CartPole-v1", "max_frame": 120}))
    (returns,) = program(one, 2).agents[0].returns
    obs, action = torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.long)
    stores = Ring(10**6, [obs, action], torch.float32).stores.values()
    tree = sum(level.nbytes for level in returns.tree.levels)
    kept = sum(store.nbytes for store in stores) + returns.achieved.nbytes + tree
    assert kept / 2 == pytest.approx(32 * 10**6, rel=0.1)
    monkeypatch.setattr(room, "machine_bytes", lambda: 10**8)
    with pytest.raises(
        SpecError, match=r"agent\.0\.algorithm\.sil_max_size: .* take 128 MB, .*; at most 781,250 would"
    ):
        refuse_what_cannot_fit(one, 1, programs=4)


def test_what_is_resumed_where_it_cannot_lie_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env: Keys = {"name": "CartPole-v1", "max_frame": 120}
    memory: Keys = {"name": "Replay", "max_size": 50, "batch_size": 4}
    meta = {"log_frequency": 20, "checkpoint_frequency": 40, "max_session": 1}
    directory = interrupted(spec(DQN, memory, env, meta=meta), tmp_path, 60)
    with monkeypatch.context() as small:
        small.setattr(room, "machine_bytes", lambda: 1000)
        small.setattr(room, "disk_bytes", lambda: 1000)
        with pytest.raises(SpecError, match=r"agent\.0\.memory\.max_size: the replay memories of 1 session"):
            lab.resume(directory, quiet=True, graphs=False)
    assert resumed(directory)


def test_a_program_of_a_memory_in_main_memory_makes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "scratch", lambda: pytest.fail("asked for a directory"))
    program(of_numbers(), 2).run()


def test_the_command_says_it_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = {"name": "a", "algorithm": DQN, "memory": {"name": "Replay", "max_size": 10**12}, "net": NET}
    raw = {"agent": agent, "env": {"name": "CartPole-v1", "max_frame": 100}, "body": {"num": 1}}
    (tmp_path / "spec.json").write_text(json.dumps({"big": raw | {"meta": {"max_session": 4}}}))
    for mode in ("train", "dev"):
        assert call(monkeypatch, "run", tmp_path / "spec.json", mode, "--data", tmp_path / "data") == 2
        printed = capsys.readouterr()
        sessions = "4 sessions" if mode == "train" else "1 session"
        assert f"agent.0.memory.max_size: the replay memories of {sessions} that train at once take" in printed.err
        assert not (tmp_path / "data").exists()
