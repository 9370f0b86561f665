"""Being told to stop: which signals are heard, by whom, and what a training does then."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import weakref
from pathlib import Path

import pytest

from slmx import stop
from slmx.run_directory import read_state
from tests.processes import running
from tests.search.specs import raw_of


@pytest.mark.parametrize("number", stop.SIGNALS)
def test_each_signal_is_heard_and_then_left_to_whoever_had_it(number: signal.Signals) -> None:
    before, asked = [signal.getsignal(own) for own in stop.SIGNALS], []
    with stop.heard(lambda: asked.append("outer")):
        with stop.heard(lambda: asked.append("inner")):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert asked == ["inner", "outer"]
    assert [signal.getsignal(own) for own in stop.SIGNALS] == before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop.heard(stop.interrupt):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_python_drops_is_heard_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: dropped.append(raised.exc_type))
    thing = threading.Event()
    fate = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
    with stop.heard(stop.interrupt):
        stop.check()
        del thing
        assert fate() is None and dropped == [KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt):
            stop.check()
    stop.check()


def test_another_thread_hears_nothing() -> None:
    before, during = signal.getsignal(signal.SIGTERM), []

    def listen() -> None:
        with stop.heard(stop.interrupt):
            during.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert during == [before]


@pytest.mark.parametrize("how", ["SIGTERM", "hang up"])
def test_a_training_that_is_told_to_stop_saves_what_there_is(how: str, tmp_path: Path) -> None:
    raw = raw_of({}, {"max_frame": 10**8}, {"log_frequency": 256})
    (tmp_path / "spec.json").write_text(json.dumps({"long": raw}))
    options = ("--data", tmp_path, "--no-graphs")
    with running("run", tmp_path / "spec.json", "train", *options, terminal=how == "hang up") as command:
        command.wait_for(lambda: any(file.stat().st_size > 1000 for file in tmp_path.glob("*/trial_0/session_1.csv")))
        if how == "hang up":
            command.hang_up()
        else:
            command.tell(signal.SIGTERM)
        code, out, err = command.end()
    assert code == 130 and not err and ("interrupted after" in out or how == "hang up")
    (directory,) = tmp_path.glob("long_*")
    assert read_state(directory) == ("train", "STOPPED")
    states = json.loads((directory / "trial_0" / "sessions.json").read_text())
    assert [state["state"] for state in states] == ["STOPPED"] * 2
    assert (directory / "trial_0/model/session_1.safetensors").exists()
