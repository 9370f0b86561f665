"""TensorBoard's event files say what the tables say, while they grow and afterwards."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tensorboardX.proto import event_pb2, plugin_hparams_pb2

from slmx import lab, record
from slmx.analysis import events
from slmx.analysis.events import HOME, Events, following, write_events
from slmx.display import Display
from slmx.errors import SlmxError, WriteError
from slmx.record import Recorder
from slmx.run_directory import read_state
from slmx.session import Program
from slmx.table import Table
from tests.search.specs import spec_of
from tests.test_resume import tiny

Curve = dict[int, float]


def read_events(path: Path) -> Iterator[Any]:
    """The events of a file: records of a length (8 bytes), its checksum (4), the content and its checksum (4)."""
    content, place = path.read_bytes(), 0
    while place < len(content):
        length = int.from_bytes(content[place : place + 8], "little")
        yield event_pb2.Event.FromString(content[place + 12 : place + 12 + length])  # type: ignore[attr-defined]
        place += 16 + length


def curves(home: Path) -> dict[str, Curve]:
    """The curves of a run of TensorBoard: value by step by tag. No step stands twice."""
    found: dict[str, Curve] = defaultdict(dict)
    for path in home.glob("events.out.tfevents.*"):
        for event in read_events(path):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    assert event.step not in found[value.tag]
                    found[value.tag][event.step] = value.simple_value
    return dict(found)


def expected(trial: Path, session: int) -> dict[str, Curve]:
    rows = pd.read_csv(trial / f"session_{session}.csv").set_index("frame").drop(columns=["agent", "env"])
    found = {str(name): rows[name].dropna().to_dict() for name in rows if rows[name].notna().any()}
    evaluations = pd.read_csv(trial / f"eval_{session}.csv")
    return found | {"eval_return": evaluations.groupby("frame")["return"].mean().to_dict()}


def assert_told(run: Path, sessions: int = 2) -> None:
    for trial in run.glob("trial_*"):
        for session in range(sessions):
            told, wanted = curves(run / HOME / trial.name / f"session_{session}"), expected(trial, session)
            assert len(list((run / HOME / trial.name / f"session_{session}").iterdir())) == 1, "TensorBoard follows one"
            assert told.keys() == wanted.keys() and "return" in told and "eval_return" in told
            for name, curve in wanted.items():
                assert told[name] == pytest.approx(curve, rel=1e-6), name
        speed = pd.read_csv(trial / "speed.csv").set_index("frame")["frames_per_second"]
        assert curves(run / HOME / trial.name)["frames_per_second"] == pytest.approx(speed.to_dict(), rel=1e-6)


def test_a_training_writes_what_its_tables_say(tmp_path: Path) -> None:
    run = lab.train(tiny(), tmp_path, quiet=True, graphs=False, tensorboard=True)
    assert_told(run.directory)


def test_it_is_written_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SECONDS", 0.01)
    monkeypatch.setattr(record, "FLUSH_SECONDS", 0.0)
    seen: list[int] = []

    class Looking(Display):
        def progress(self, program: Program, recorder: Recorder) -> None:
            time.sleep(0.1)
            found = curves(recorder.directory.parent / HOME / "trial_0" / "session_0")
            seen.append(len(found.get("return_ma", ())))

    run = lab.train(tiny(), tmp_path, graphs=False, display=Looking(quiet=True), tensorboard=True)
    assert seen == sorted(seen) and len(set(seen)) > 5
    assert_told(run.directory)


def test_without_being_asked_nothing_is_written(tmp_path: Path) -> None:
    run = lab.train(tiny(), tmp_path, quiet=True, graphs=False)
    assert not (run.directory / HOME).exists()
    assert write_events(run.directory) == run.directory / HOME
    assert_told(run.directory)


@pytest.mark.parametrize("asked", [True, False])
def test_a_resumed_run_has_each_point_once(asked: bool, tmp_path: Path) -> None:
    class Leaving(Display):
        def progress(self, program: Program, recorder: Recorder) -> None:
            if program.frames[0] >= 350:
                raise KeyboardInterrupt

    left = lab.train(tiny(), tmp_path, graphs=False, display=Leaving(quiet=True), tensorboard=True)
    assert left.interrupted and curves(left.directory / HOME / "trial_0" / "session_1")
    lab.resume(left.directory, quiet=True, graphs=False, tensorboard=asked)
    assert read_state(left.directory) == ("train", "DONE")
    assert_told(left.directory)


def test_a_table_that_is_cut_back_gets_a_column_or_half_a_line(tmp_path: Path) -> None:
    run = lab.train(tiny(max_session=1), tmp_path, quiet=True, graphs=False).directory
    path = run / "trial_0" / "session_0.csv"
    columns = path.read_text().splitlines()[0].split(",")[:7]
    states = run / "trial_0" / "sessions.json"
    states.write_text(states.read_text().replace("DONE", "RUNNING"))

    def add(table: Table, frame: int, **more: float) -> None:
        table.add_named({"frame": frame, "agent": 0, "env": 0, "return": frame / 2} | more)
        table.flush()

    home = run / HOME / "trial_0" / "session_0"
    with Events(run) as told:
        table = Table(path, columns)
        for frame in (10, 20, 30):
            add(table, frame)
        told.update()
        assert curves(home)["return"] == {10: 5, 20: 10, 30: 15}
        table = Table(path, columns, (1, columns))
        told.update()
        add(table, 20)
        add(table, 30)
        told.update()
        add(table, 40, loss=7)
        with path.open("a") as file:
            file.write("50,0,0,,2")
        told.update()
        assert curves(home)["return"] == {10: 5, 20: 10, 30: 15, 40: 20} and curves(home)["loss"] == {40: 7}
        with path.open("a") as file:
            file.write("5,,,8\n")
        told.update()
        assert curves(home)["return"][50] == 25 and curves(home)["loss"] == {40: 7, 50: 8}


@pytest.mark.usefixtures("without_ray")
def test_a_search_tells_its_settings(tmp_path: Path) -> None:
    search = {"agent.0.algorithm.gamma__uniform": [0.9, 0.99], "agent.0.algorithm.training_epoch__choice": [1, 2]}
    run = lab.search(spec_of(search), tmp_path, quiet=True, graphs=False, tensorboard=True)
    assert_told(run.directory)
    table = run.table.set_index("trial")
    assert len(table) == 4
    for trial, row in table.iterrows():
        home = run.directory / HOME / f"trial_{trial}"
        values = [value for path in home.glob("*.setting") for event in read_events(path)
                  for value in event.summary.value]  # fmt: skip
        content = [value.metadata.plugin_data.content for value in values if value.tag.endswith("session_start_info")]
        (told,) = map(plugin_hparams_pb2.HParamsPluginData.FromString, content)  # type: ignore[attr-defined]
        setting = {name: value.number_value for name, value in told.session_start_info.hparams.items()}
        assert setting == pytest.approx({path: row[path] for path in json.loads(
            (run.directory / f"trial_{trial}" / "setting.json").read_text())})  # fmt: skip
        assert curves(home)["objective"] == pytest.approx({0: row["objective"]})


def test_several_ports_have_names_of_their_own(tmp_path: Path) -> None:
    from slmx.spec.build import build
    from tests.programs import NET

    agent = {"name": "a2c", "algorithm": {"name": "A2C", "time_horizon": 8}, "memory": {"name": "Rollout"}, "net": NET}
    envs = [{"name": "CartPole-v1", "max_frame": 200}, {"name": "Acrobot-v1", "max_frame": 200}]
    meta = {"max_session": 1, "eval_episode": 1, "log_frequency": 50}
    one = build("two", {"agent": agent, "env": envs, "body": {"num": 1}, "meta": meta})
    run = lab.train(one, tmp_path, quiet=True, graphs=False, tensorboard=True)
    found = curves(run.directory / HOME / "trial_0" / "session_0")
    assert {"CartPole-v1/entropy", "Acrobot-v1/entropy", "Acrobot-v1/eval_return"} <= found.keys()


def test_where_events_cannot_be_written_the_run_goes_on_and_says_so(tmp_path: Path) -> None:
    run = lab.train(tiny(), tmp_path, quiet=True, graphs=False).directory
    (run / HOME).write_text("no folder")
    with pytest.raises(WriteError, match=f"cannot write {run / HOME}: File exists"), following(run, True):
        done = True
    assert done


def test_only_a_whole_run_has_events(tmp_path: Path) -> None:
    run = lab.train(tiny(), tmp_path, quiet=True, graphs=False).directory
    with pytest.raises(SlmxError, match="events are written for a whole run"):
        write_events(run / "trial_0")
