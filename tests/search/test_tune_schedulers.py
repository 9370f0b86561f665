"""Ray Tune's schedulers: what they are told and when, whom they stop, what is left, and how it goes on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slmx import lab
from slmx.search import job, start
from slmx.search.display import SearchDisplay
from slmx.search.job import Job, Order
from slmx.search.journal import Ended, read_ended
from slmx.search.scheduler import scheduler_of
from slmx.search.search import Search
from slmx.search.tune_schedulers import TuneScheduler
from slmx.spec.build import attempt
from slmx.spec.check import problems
from slmx.spec.model import Spec
from tests.search.specs import Keys, raw_of, spec_of
from tests.search.test_resume import begin, left

GAMMA: Keys = {"agent.algorithm.gamma__uniform": [0.9, 0.99]}
ASHA: Keys = {"name": "asha", "eta": 2, "grace": 0.2}  # rungs at 80 and 160 of 320 frames
HYPERBAND: Keys = {"name": "hyperband", "eta": 2, "grace": 0.2}  # brackets of 3, 3 and 4
MEDIAN: Keys = {"name": "median", "interval": 80, "others": 2}


def spec(scheduler: Keys, search: Keys = GAMMA, env: Keys | None = None, **meta: Any) -> Spec:
    return spec_of(search, env, {"scheduler_spec": scheduler, "log_frequency": 40, "max_trial": 8, **meta})


def worth(scheduler: Keys, *kwargs: Keys, **meta: Any) -> Spec:
    """A search over settings of which it is known what they are worth; the spec's own is worth nothing."""
    env = {"name": "tests.own:Worth", "kwargs": {"worth": 0.0}}
    settings = {"max_trial": 1, "search_spec": {"name": "grid"}, **meta}
    return spec(scheduler, {"env.kwargs__grid_search": list(kwargs)}, env, **settings)


# ---- judges, without Ray ----


class Trial:
    """What judges know of one of Tune's."""

    def __init__(self, number: int):
        self.number, self.trial_id, self.status, self.is_saving = number, f"t{number}", "RUNNING", False
        self.config = {"trials": [(number, {})]}


class Controller:
    """What judges ask of Tune."""

    def __init__(self, judge: Any):
        self.judge, self.stopped = judge, set[int]()

    def pause_trial(self, trial: Any, should_checkpoint: bool) -> None:
        assert not should_checkpoint
        trial.status = "PAUSED"

    def stop_trial(self, trial: Any) -> None:
        self.stopped.add(trial.number)
        trial.status = "TERMINATED"
        self.judge.on_trial_remove(self, trial)


class Court:
    """A judge and the trials that it judges: `tell` says what one reached, and returns what becomes of it."""

    def __init__(self, scheduler: Keys, count: int, **meta: Any):
        one = spec(scheduler, **meta)
        found = scheduler_of(one)
        assert isinstance(found, TuneScheduler)
        self.rested: list[str] = []
        self.judge = found.judge(self.rested.append)
        self.controller: Any = Controller(self.judge)
        self.trials = [self.add(number) for number in range(count)]

    def add(self, number: int) -> Any:
        trial: Any = Trial(number)
        self.judge.on_trial_add(self.controller, trial)
        return trial

    def tell(self, number: int, point: float, objective: float | None) -> str:
        trial, result = self.trials[number], {"frames": 7, "point": point}
        trial.status = "RUNNING"
        action = self.judge.on_trial_result(
            self.controller, trial, result | ({} if objective is None else {"objective": objective})
        )
        if action == "STOP":
            self.end(number)
        return action

    def end(self, number: int) -> None:
        self.trials[number].status = "TERMINATED"
        self.judge.on_trial_complete(self.controller, self.trials[number], {"done": True, "frames": 9})


@pytest.mark.parametrize("sign", [1, -1])
def test_asha_stops_whoever_is_not_among_the_best_so_far(sign: int) -> None:
    court = Court(ASHA, 6, objective={"mode": "max" if sign > 0 else "min"})
    assert [court.tell(n, 1, sign * x) for n, x in ((1, 5.0), (2, 4.0), (3, 6.0), (4, 5.5))] == [
        "CONTINUE", "STOP", "CONTINUE", "CONTINUE",
    ]  # fmt: skip
    assert court.tell(5, 1, None) == "CONTINUE", "there is no number to judge it by"
    assert [court.tell(n, 2, sign * x) for n, x in ((1, 9.0), (3, 8.0))] == ["CONTINUE", "STOP"]


def test_the_spec_s_own_setting_is_never_stopped_and_takes_nobody_s_place() -> None:
    for scheduler in (ASHA, MEDIAN):
        court = Court(scheduler, 5)
        assert court.tell(0, 40, 1e9) == "CONTINUE"
        assert [court.tell(n, 80, 10.0 + n) for n in (1, 2, 3)] == ["CONTINUE"] * 3
        assert [court.tell(0, point, 0.0) for point in (80, 160, 240)] == ["CONTINUE"] * 3
        assert court.tell(4, 80, 5.0) == "STOP"


def test_what_comes_late_to_a_rung_is_not_taken_for_a_lower_one() -> None:
    """After a resume a setting is first heard of at a later rung, and at its end of none."""
    court = Court(ASHA, 4)
    assert court.tell(1, 2, 100.0) == "CONTINUE"
    court.end(1)
    assert [court.tell(n, 1, x) for n, x in ((2, 1.0), (3, 2.0))] == ["CONTINUE", "CONTINUE"]
    assert court.tell(3, 2, 50.0) == "STOP", "but at its own rung it counts"


def test_brackets_begin_at_rungs_of_their_own_and_depend_on_the_seed() -> None:
    def judged_first(**meta: Any) -> list[bool]:
        court = Court(ASHA | {"brackets": 2}, 12, **meta)
        return [court.tell(n, 1, -float(n)) == "STOP" for n in range(1, 12)]

    luck = str(np.random.get_state())  # noqa: NPY002
    found = judged_first()
    assert True in found and found.count(False) > 2, "whoever is in the other bracket goes on"
    assert judged_first() == found != judged_first(seed=1)
    assert str(np.random.get_state()) == luck  # noqa: NPY002


def test_the_median_rule_needs_others_that_came_as_far() -> None:
    court = Court(MEDIAN, 5)
    assert [court.tell(1, 80, 1.0), court.tell(2, 80, 3.0)] == ["CONTINUE"] * 2
    assert [court.tell(3, 80, 1.5), court.tell(4, 80, 2.5)] == ["STOP", "CONTINUE"]
    assert court.tell(2, 160, 0.0) == "CONTINUE", "its best so far counts, and nobody else is there"
    assert not court.rested


def test_hyperband_waits_for_the_bracket() -> None:
    court = Court(HYPERBAND, 11)
    assert [court.tell(n, point, 0.0) for n in (1, 2, 3) for point in (1, 2)] == ["CONTINUE"] * 6, "never judged"
    assert [court.tell(n, 1, 0.0) for n in (4, 5, 6)] == ["CONTINUE"] * 3, "their bracket begins at the next rung"
    assert [court.tell(n, 2, float(n)) for n in (4, 5)] == ["NOOP", "NOOP"] and court.rested == ["t4", "t5"]
    assert court.tell(6, 2, 4.5) == "CONTINUE" and court.controller.stopped == {4}
    assert court.judge.choose_trial_to_run(court.controller) is court.trials[5]
    assert court.tell(0, 1, -9.0) == "CONTINUE" and court.judge.debug_string()


def test_hyperband_waits_for_nobody_who_is_gone() -> None:
    """Tune's own would pause the others for good."""
    court = Court(HYPERBAND | {"grace": 0.1}, 23)  # brackets of 4, 4, 6 and 8: the last is 15 ... 22
    last = list(range(15, 23))
    actions = [court.tell(n, 1, float(n)) for n in last]
    assert court.controller.stopped | {n for n, a in zip(last, actions, strict=True) if a == "STOP"} == {15, 16, 17, 18}
    assert [court.tell(n, 2, float(n)) for n in (19, 20, 21)] == ["NOOP"] * 3
    court.end(22)  # FAILED, before it comes to the second rung
    assert {19} <= court.controller.stopped
    assert court.judge.choose_trial_to_run(court.controller) in (court.trials[20], court.trials[21])


# ---- programs, without Ray ----


def order_of(directory: Path, one: Spec) -> tuple[Search, Order]:
    """A search with two workers, and the order of its second program."""
    search = begin(directory, one, 1, 2)
    search.order("p0")
    order = search.order("p1")
    assert order is not None
    return search, order


def test_a_slice_ends_at_a_pause_and_says_what_was_reached(tmp_path: Path) -> None:
    _, order = order_of(tmp_path / "run", spec(ASHA))
    running, told = Job(order), []
    while (ended := running.advance()) is None:
        told.append(running.progress)
    told = [own for own in told if "objective" in own]
    rungs = pd.read_csv(tmp_path / "run/trial_1/rungs.csv")
    assert [(own["point"], own["objective"]) for own in told] == list(zip((1, 2), rungs["objective"], strict=True))
    assert rungs["frame"].tolist() == [80, 160] and [own["frames"] for own in told] == [160, 320], "of two sessions"
    assert ended[0].state == "DONE" and ended[0].rungs == rungs["objective"].tolist()
    assert "objective" not in running.progress


def test_what_rests_goes_on_in_another_worker_as_if_it_had_not_rested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "SLICE_SECONDS", 0.0)
    for name, rests in (("alone", False), ("rested", True)):
        search, order = order_of(tmp_path / name, spec(ASHA))
        running = Job(order)
        while (ended := running.advance()) is None:
            if rests and "objective" in running.progress:
                running.stop()
                states = json.loads((tmp_path / name / "trial_1/sessions.json").read_text())
                assert {state["state"] for state in states} == {"RUNNING"}
                assert (tmp_path / name / "trial_1/model/session_1.safetensors").exists()
                running = Job(order)
        search.end("p1", ended, running.progress["frames"])
        search.stop()
    assert left(tmp_path / "alone") == left(tmp_path / "rested")


def test_a_setting_that_is_dismissed_is_culled_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, one = tmp_path / "run", spec(ASHA, search_spec={"name": "optuna"})
    search, order = order_of(directory, one)
    running = Job(order)
    while "objective" not in running.progress:
        assert running.advance() is None
    search.hear("p1", running.progress)
    running.stop()
    search.dismiss("p1")
    ended = search.ended[1]
    assert (ended.state, ended.reason, ended.score) == ("CULLED", "stopped by asha at frame 80", None)
    assert read_ended(directory)[1] == ended and len(ended.rungs) == 1 and not list(directory.glob("checkpoint/*_1.pt"))
    states = json.loads((directory / "trial_1/sessions.json").read_text())
    assert {(state["state"], state["frame"]) for state in states} == {("CULLED", 80)}
    assert search.frames_done == 160 and lab.enjoy(directory / "trial_1").repeats
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(search.plan.searcher, "tell", lambda *own: told.append(own))
    search.ended[0] = Ended(0, "DONE", score=1.0)
    assert search._tell(2) and told[1][2:] == (None, ended.rungs, True)
    again = begin(directory, one, 1, 2)
    orders = [again.order(f"p{n}") for n in range(2)]
    assert orders[0] and orders[1] is None, "it is not trained again, and for the next one trial 0 must end"
    assert again.ended == {1: ended}


def test_what_is_dismissed_has_no_checkpoint_at_a_uri(tmp_path: Path) -> None:
    search = begin(tmp_path / "run", spec(ASHA), 1, 2, f"file://{tmp_path}/there")
    search.order("p0")
    order = search.order("p1")
    assert order is not None
    running = Job(order)
    while "objective" not in running.progress:
        assert running.advance() is None
    there = tmp_path / "there/run"
    assert (there / "checkpoint/program_1.pt").exists()
    search.hear("p1", running.progress)
    search.dismiss("p1")
    running.stop()
    assert read_ended(there)[1].state == "CULLED"
    assert not (there / "checkpoint/program_1.pt").exists()


def test_what_waits_for_others_is_not_shown_as_running(tmp_path: Path) -> None:
    search, _ = order_of(tmp_path / "run", spec(HYPERBAND))
    shown = lambda: SearchDisplay()._line(search)
    assert "0 running" in shown(), "both wait for a worker"
    search.wake("p1")
    assert "1 running" in shown()
    search.rest("p1")
    search.hear("p1", {"frames": 160, "mean": None, "objective": 1.0, "point": 1})
    assert "0 running" in shown(), "it is heard of when it is paused already"


def test_programs_without_a_worker_are_not_to_blame_where_all_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice, when one has a worker, one rests, and one waits for its first."""
    from ray.exceptions import RayError

    from slmx.search import on_tune

    search, attempts = begin(tmp_path / "run", spec(HYPERBAND), 1, 3), []

    class Tuner:
        def __init__(self, interrupt: Any):
            self.interrupt = interrupt

        def fit(self) -> None:
            names = [f"p{len(attempts)}{i}" for i in range(3)]
            assert all(search.order(name) for name in names)
            attempts.append({search.running[name].trials[0].number: search.running[name].attempt for name in names})
            if len(attempts) < 3:
                for name in names[:2]:
                    self.interrupt.begun.add(name)
                    search.wake(name)
                search.rest(names[1])
                raise RuntimeError("Tune has ended") from RayError("a worker had no memory left")

    monkeypatch.setattr(on_tune, "_tuner", lambda *given: Tuner(given[4]))
    monkeypatch.setattr(on_tune, "watched", lambda lost: contextlib.nullcontext())
    on_tune.run(search, search.spec.meta.resources, 3, tmp_path, lambda: None)
    assert attempts == [{0: 1, 1: 1, 2: 1}, {0: 2, 1: 1, 2: 1}, {1: 1, 2: 1, 3: 1}]
    assert {n: own.state for n, own in search.ended.items()} == {0: "FAILED"} | dict.fromkeys((1, 2, 3), "STOPPED")


# ---- on Ray ----


pytestmark = pytest.mark.xdist_group("tune")  # one process starts a Ray


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """One Ray for all searches of this module."""
    with start.local_ray():
        yield


def run(one: Spec, data: Path) -> lab.SearchRun:
    return lab.search(one, data, quiet=True, graphs=False)


def states(found: lab.SearchRun) -> dict[int, str]:
    return dict(zip(found.table["trial"], found.table["state"], strict=True))


def frames(found: lab.SearchRun) -> dict[int, int]:
    return dict(zip(found.table["trial"], found.table["frames"], strict=True))


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("sign", [1, pytest.param(-1, marks=pytest.mark.slow)])
def test_a_search_by_asha(sign: int, tmp_path: Path) -> None:
    kwargs = [{"worth": sign * x} for x in (3.0, 1.0, 4.0, 5.0)]
    meta = {"resources": {"cpu": os.cpu_count()}, "validate": {"top": 1, "sessions": 2}}  # one after the other
    found = run(worth(ASHA, *kwargs, objective={"mode": "max" if sign > 0 else "min"}, **meta), tmp_path)
    assert states(found) == {0: "DONE", 1: "DONE", 2: "CULLED", 3: "DONE", 4: "DONE"}
    assert frames(found) == {0: 640, 1: 640, 2: 160, 3: 640, 4: 640}
    assert found.table["objective"].dropna().tolist() == [0, sign * 30, sign * 40, sign * 50]
    rungs = pd.read_csv(found.directory / "rungs.csv")
    assert rungs.columns.tolist() == ["trial", "rung", "frame", "objective"] and len(rungs) == 9
    assert found.validation["trial"].tolist() == [4, 0], "the validation has no scheduler, and the spec's own setting"
    assert not (found.directory / "checkpoint").exists()
    lines = [json.loads(line) for line in (found.directory / "journal.jsonl").read_text().splitlines()]
    (culled,) = [line for line in lines if line["event"] == "ended" and line["state"] == "CULLED"]
    assert culled["trial"] == 2 and culled["rungs"] == [sign * 10]


@pytest.mark.usefixtures("ray_here")
def test_a_search_by_hyperband_loses_and_repeats_no_frames(tmp_path: Path) -> None:
    values = [{"worth": float(x)} for x in (1, 2, 3, 6, 5, 4, 10, 9, 8)]
    breaks = {"worth": 50.0, "patience": 50}  # in its last part, which is of 80 steps
    found = run(worth(HYPERBAND, *values, breaks), tmp_path)
    own = states(found)
    assert [own[n] for n in (0, 1, 2, 3, 10)] == ["DONE"] * 4 + ["FAILED"]
    # the second bracket keeps two of three at 160 frames; the third two of four at 80, of these one at 160
    assert {n: f for n, f in frames(found).items() if own[n] == "CULLED"} == {6: 320, 7: 320, 8: 160, 9: 160}
    assert [own[n] for n in (4, 5)] == ["DONE"] * 2
    rungs = pd.read_csv(found.directory / "rungs.csv")
    assert not rungs.duplicated(["trial", "rung"]).any()
    for n in (4, 5):  # they were paused, unless they came last
        rows = pd.read_csv(found.directory / f"trial_{n}/session_0.csv")
        assert rows["frame"].tolist() == list(range(40, 321, 40))


@pytest.mark.usefixtures("ray_here")
def test_a_search_by_the_median_rule(tmp_path: Path) -> None:
    kwargs = [{"worth": float(x)} for x in (3, 4, 1, 5)]
    found = run(worth(MEDIAN, *kwargs, resources={"cpu": os.cpu_count()}), tmp_path)
    assert states(found) == {0: "DONE", 1: "DONE", 2: "DONE", 3: "CULLED", 4: "DONE"}
    (culled,) = json.loads((found.directory / "ended/program_3.json").read_text())
    assert culled["reason"] == "stopped by median at frame 80"


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_what_was_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [{"worth": float(x)} for x in (1, 2, 3, 6, 5, 4)]
    hear, seen = Search.hear, []

    def heard(self: Search, *args: Any) -> None:
        hear(self, *args)
        seen.append(args)
        if len(seen) == 8:
            os.kill(os.getpid(), 2)

    monkeypatch.setattr(Search, "hear", heard)
    found = run(worth(HYPERBAND, *values), tmp_path)
    assert found.interrupted and "STOPPED" in states(found).values()
    done = {n: json.loads(path.read_text()) for n, path in enumerate(found.directory.glob("ended/*"))}
    monkeypatch.setattr(Search, "hear", hear)
    again = lab.resume(found.directory, quiet=True, graphs=False)
    assert again is not None
    table = pd.read_csv(found.directory / "experiment.csv")
    ends = table["state"].tolist()
    assert set(ends) <= {"DONE", "CULLED"} and ends[0] == "DONE" and len(ends) == 7
    for ended in done.values():
        assert json.loads((found.directory / f"ended/program_{ended[0]['trial']}.json").read_text()) == ended
    rungs = pd.read_csv(found.directory / "rungs.csv")
    assert not rungs.duplicated(["trial", "rung"]).any()


# ---- what cannot be ----


WRONG: list[tuple[Keys, str]] = [
    ({"max_member": 4}, "meta.max_member: 4, but with asha a program is the 2 of one setting; leave it out"),
    ({"scheduler_spec": ASHA | {"brackets": 3}},
     "meta.scheduler_spec.brackets: there are but 2 of the rungs that they begin at"),
    ({"scheduler_spec": ASHA | {"grace": 0.6}}, "meta.scheduler_spec.grace: no rung is left: the last is at 0.5"),
    ({"scheduler_spec": {"name": "hyperband", "eta": 2.5}},
     "meta.scheduler_spec.eta: must be a whole number with hyperband, not 2.5"),
    ({"scheduler_spec": HYPERBAND, "search_spec": {"name": "optuna"}},
     "meta.search_spec.name: optuna learns from settings that ended, but hyperband pauses them"),
    ({"scheduler_spec": MEDIAN | {"interval": 320}},
     "meta.scheduler_spec.interval: no multiple of 320 frames is between the grace, 32, and the end, 320"),
    ({"scheduler_spec": HYPERBAND, "max_trial": 3},
     "meta.max_trial: hyperband never stops its first 3 settings, and there are but 3; set it higher, or use asha"),
    ({"scheduler_spec": MEDIAN | {"others": 4}, "max_trial": 4},
     "meta.scheduler_spec.others: nobody would be stopped: there are but 4 settings, each with 3 others"),
    ({"log_frequency": 100}, "meta.log_frequency: settings are judged at frame 80, before there is a row"),
]  # fmt: skip


@pytest.mark.parametrize(("meta", "message"), WRONG)
def test_what_cannot_be_scheduled_is_a_spec_error(meta: Keys, message: str) -> None:
    built, errors = attempt("tiny", raw_of(GAMMA, meta={"scheduler_spec": ASHA, "max_trial": 8} | meta))
    found = [str(error) for error in errors] or [str(error) for error in problems(built)]  # type: ignore[arg-type]
    assert len(found) == 1 and found[0].startswith(message)


def test_a_memory_that_cannot_move_members_will_do() -> None:
    for scheduler in (ASHA, HYPERBAND, MEDIAN):
        assert not problems(spec(scheduler, max_member=2))
