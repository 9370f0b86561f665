"""Results are copied to a URI while a run goes on, and from there to wherever it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest

from slmx import lab, record, storage
from slmx.analysis.files import TrialFiles
from slmx.display import Display
from slmx.record import Recorder
from slmx.run_directory import read_state, write_spec
from slmx.search.job import Job, Order
from slmx.session import Program
from slmx.spec.dump import dump
from slmx.storage import StorageError, Store, fetch, mirrored
from slmx.whole import write_json
from tests.command import call
from tests.search.specs import raw_of, spec_of
from tests.test_resume import Leaving, left, tiny, whole

SEARCH = {"agent.0.algorithm.gamma__uniform": [0.9, 0.99]}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["file", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}://{tmp_path}/there"


def test_what_changed_is_copied_and_what_is_gone_is_removed(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "a" / "run", tmp_path / "b" / "run"
    (here / "trial_1").mkdir(parents=True)
    for name, text in (("one", "1"), ("trial_1/two", "2"), ("trial_1/.half.tmp", "x"), ("trial_10", "3")):
        (here / name).write_text(text)
    store, other = Store(uri, here), Store(uri, there)
    assert not other.exists()
    store.push()
    assert other.exists() and store.uri == f"{uri}/run" and store.uri_of(here / "trial_1") == f"{uri}/run/trial_1"
    other.pull()
    assert files(there) == {"one": b"1", "trial_1/two": b"2", "trial_10": b"3"}

    copied: list[str] = []
    put = type(store.fs).put_file
    monkeypatch.setattr(
        type(store.fs),
        "put_file",
        lambda fs, here, there, **more: (copied.append(Path(here).name), put(fs, here, there)),
    )
    (here / "one").write_text("new")
    (here / "trial_1" / "two").unlink()
    (here / "trial_10").unlink()
    store.push(here / "trial_1")
    assert not copied and not store.fs.exists(f"{store.root}/trial_1/two") and store.fs.exists(f"{store.root}/trial_10")
    store.push()
    store.push()
    assert copied == ["one"] and not store.fs.exists(f"{store.root}/trial_10")

    other.pull(there / "one")
    other.push()
    assert (there / "one").read_text() == "new" and copied == ["one"], "what was pulled is not pushed"
    (there / "one").write_text("newer")
    other.push()
    assert copied == ["one", "one"] and store.fs.cat_file(f"{store.root}/one") == b"newer"


def test_what_says_how_far_the_rest_is_comes_after_it(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, copied = tmp_path / "a" / "run", []
    store, other = Store(uri, here), Store(uri, tmp_path / "b" / "run")
    ours = ("trial_0/session_0.csv", "checkpoint/program_0.pt", "ended/program_1.json", "run.json")
    for name in (*ours, *(f"validation/{name}" for name in ours[:3])):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("1")
    for name in ("put_file", "rm_file"):

        def noted(fs: Any, *paths: str, real: Any = getattr(type(store.fs), name)) -> None:
            copied.append(paths[-1].removeprefix(f"{store.root}/"))
            real(fs, *paths)

        monkeypatch.setattr(type(store.fs), name, noted)
    store.push()
    order = ["trial_0", "trial_0", "checkpoint", "checkpoint", "ended", "ended", "run.json"]
    kinds = lambda: [next(part for part in name.split("/") if part != "validation") for name in copied]
    assert kinds() == order
    copied.clear()
    monkeypatch.setattr(other, "_get", lambda there, stamp: copied.append(there.removeprefix(f"{other.root}/")))
    other.pull()
    assert kinds() == order[::-1]
    copied.clear()
    other.pull(*(tmp_path / "b" / "run" / name for name in ours[:3]))
    assert copied == list(ours[2::-1])
    copied.clear()
    (here / ours[1]).unlink()
    (here / ours[2]).write_text("that it has ended")
    store.push()
    assert copied == [ours[2], ours[1]], "what is gone goes last"


def test_a_checkpoint_is_no_newer_there_than_the_tables(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "run"
    for name in ("trial_0", "checkpoint"):
        (here / name).mkdir(parents=True)
    table, saved = here / "trial_0" / "session_0.csv", here / "checkpoint" / "program_0.pt"
    table.write_text("1")
    saved.write_text("1")
    store = Store(uri, here)
    put = Store._put

    def slow(self: Store, name: str) -> None:
        put(self, name)
        table.write_text("1\n2")
        saved.write_text("of 2")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Store, "_put", slow)
        store.push()
    assert store.there(saved) == (None,)
    store.push()
    other = Store(uri, tmp_path / "other" / "run")
    other.pull()
    assert files(other.folder) == {"trial_0/session_0.csv": b"1\n2", "checkpoint/program_0.pt": b"of 2"}


def test_a_training_is_at_its_uri_when_it_is_done(uri: str, tmp_path: Path) -> None:
    one = tiny(storage=uri)
    run = lab.train(one, tmp_path / "data", quiet=True, graphs=False)
    assert fetch(f"{uri}/{run.directory.name}/", tmp_path / "other") == tmp_path / "other" / run.directory.name
    assert files(tmp_path / "other" / run.directory.name) == files(run.directory)
    assert read_state(tmp_path / "other" / run.directory.name) == ("train", "DONE")


def test_a_training_that_was_left_goes_on_elsewhere(uri: str, tmp_path: Path) -> None:
    one = tiny(storage=uri)
    run = lab.train(one, tmp_path / "data", graphs=False, display=Leaving(350))
    assert run.interrupted
    elsewhere = fetch(f"{uri}/{run.directory.name}", tmp_path / "other")
    assert (elsewhere / "checkpoint").is_dir()
    lab.resume(elsewhere, quiet=True, graphs=False)
    assert left(elsewhere) == whole(one, tmp_path)
    again = fetch(f"{uri}/{run.directory.name}", tmp_path / "third")
    assert files(again) == files(elsewhere), "what is gone here is gone there: the checkpoint"


def test_it_is_copied_while_the_run_goes_on(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SECONDS", 0.01)
    monkeypatch.setattr(record, "FLUSH_SECONDS", 0.0)
    sizes: list[int] = []

    class Looking(Display):
        def progress(self, program: Program, recorder: Recorder) -> None:
            import time

            time.sleep(0.1)
            store = Store(uri, recorder.directory.parent)
            sizes.append(store.fs.size(f"{store.root}/trial_0/session_0.csv"))

    lab.train(tiny(storage=uri), tmp_path / "data", graphs=False, display=Looking(quiet=True))
    assert len(set(sizes)) > 5 and sizes == sorted(sizes)


@pytest.mark.usefixtures("without_ray")
def test_a_search_and_its_validation_are_at_the_uri(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/there"
    validate = {"top": 1, "sessions": 2}
    run = lab.search(
        spec_of(SEARCH, meta={"storage": uri, "validate": validate}), tmp_path / "data", quiet=True, graphs=False
    )
    assert files(tmp_path / "there" / run.directory.name) == files(run.directory)


def test_a_program_in_a_folder_of_its_own_leaves_the_same(uri: str, tmp_path: Path) -> None:
    specs = [spec_of({}, meta={"validate": None, "checkpoint_frequency": 100})] * 2
    left: dict[bool, dict[str, bytes]] = {}
    for away in (False, True):
        run = tmp_path / str(away) / "run"
        for number, spec in enumerate(specs):
            (run / f"trial_{number}").mkdir(parents=True)
            write_spec(run / f"trial_{number}", dump(spec), ["envpool"], {})
            write_json(run / f"trial_{number}" / "setting.json", {})
        store = Store(uri, run)
        store.push()
        order: dict[str, Any] = {"trials": [(number, dump(spec)) for number, spec in enumerate(specs)], "path": []}
        order |= {"directory": "/not/here", "storage": store.uri} if away else {"directory": str(run)}
        job = Job(Order(**order))
        while (ended := job.advance()) is None:
            pass
        folder = job.run
        job.stop()
        assert [own.state for own in ended] == ["DONE", "DONE"] and (away is not folder.exists())
        store.pull()
        ours = ("spec.json", "speed.csv", "journal.jsonl")
        left[away] = {name: text for name, text in files(run).items() if Path(name).name not in ours}
        assert len(TrialFiles(run / "trial_1").sessions) == 2
    assert left[True] == left[False] and "ended/program_0.json" in left[True]


def test_what_cannot_be_reached_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/there/.*: cannot be reached: .*; what there is lies in") as error:
        lab.train(tiny(storage=f"file://{tmp_path}/file/there"), tmp_path / "data", quiet=True, graphs=False)
    assert error.value.code == 1 and not list(tmp_path.glob("data/*/trial_0/session_0.csv"))
    with pytest.raises(StorageError, match="s3://bucket: Install s3fs to access S3"):
        Store("s3://bucket", tmp_path)


def test_what_cannot_be_reached_later_is_said_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"memory://{tmp_path}", tmp_path)

    def refuse(*arguments: object, **more: object) -> None:
        raise ConnectionError("nobody is there")

    done = False
    with pytest.raises(StorageError, match="cannot be reached: nobody is there"), mirrored(store):
        (tmp_path / "result").write_text("all")
        monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", refuse)
        done = True
    assert done


def test_commands_take_the_uri_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.json").write_text(json.dumps({"tiny": raw_of({}, meta={"storage": f"file://{tmp_path}/there"})}))
    assert call(monkeypatch, "run", "spec.json", "train", "--no-graphs", "--quiet") == 0
    (run,) = (tmp_path / "there").iterdir()
    assert call(monkeypatch, "analyze", f"file://{run}", "--data", "other", "--no-graphs") == 0
    assert f"other/{run.name}\n" in capsys.readouterr().out
    assert call(monkeypatch, "enjoy", f"file://{run}", "--data", "other") == 0
    assert "the same as its final evaluation" in capsys.readouterr().out
    assert call(monkeypatch, "resume", f"file://{run}", "--data", "other") == 0
    assert call(monkeypatch, "resume", f"file://{tmp_path}/nowhere", "--data", "other") == 1
    assert capsys.readouterr().err == f"file://{tmp_path}/nowhere: there is nothing\n"
