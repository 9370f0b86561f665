"""Successive halving: who leaves, what those do that stay, and that it repeats. Without Ray."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slmx import lab, play
from slmx.analysis.analyze import analyze
from slmx.memory.rollout import Rollout
from slmx.record import Records
from slmx.search import halving, job
from slmx.search.halving import Halving, Referee
from slmx.search.job import Job, Order
from slmx.search.journal import read_ended
from slmx.search.search import Search
from slmx.session import Program, Session
from slmx.spec.build import attempt
from slmx.spec.check import problems
from slmx.spec.model import Spec
from tests.search.specs import AGENT, Keys, raw_of, spec_of
from tests.search.test_resume import Workers, begin, left, whole

HALVING: Keys = {"name": "halving", "eta": 2, "grace": 0.2}  # rungs at 1/4 and 1/2 of 320 frames
NAN = math.nan


@pytest.fixture(autouse=True)
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice ends at every row."""
    monkeypatch.setattr(job, "SLICE_SECONDS", 0.0)


def spec(max_trial: int = 6, scheduler: Keys | None = None, env: Keys | None = None, **meta: Any) -> Spec:
    settings = {"max_trial": max_trial, "scheduler_spec": scheduler or HALVING, "checkpoint_frequency": 100, **meta}
    return spec_of({"agent.algorithm.gamma__uniform": [0.9, 0.99]}, env=env, meta=settings | {"log_frequency": 40})


# ---- the referee ----


@pytest.mark.parametrize(("scores", "eta", "leave"), [
    ({0: 1.0, 1: 5.0, 2: 3.0, 3: 4.0}, 2, [0, 2]),
    ({0: 1.0, 1: 5.0, 2: 3.0, 3: 4.0}, 3, [0, 2]),
    ({0: 1.0, 1: 5.0, 2: 3.0, 3: 4.0}, 4, [0, 2, 3]),
    ({0: 1.0, 1: 5.0, 2: 3.0, 3: 4.0, 4: 0.0}, 4, [0, 2, 4]),
    ({7: 1.0}, 4, []),
    ({1: 2.0, 2: 2.0, 3: 2.0}, 3, [2, 3]),
    ({1: NAN, 2: -9.0, 3: -8.0, 4: NAN}, 2, [1, 4]),
    ({1: NAN, 2: -9.0, 3: NAN, 4: NAN}, 2, [1, 3, 4]),
    ({1: NAN, 2: NAN}, 2, []),
    ({1: -math.inf, 2: -1e9}, 1.5, [1]),
])  # fmt: skip
def test_one_in_eta_stays_and_nothing_that_is_not_a_number(
    scores: dict[int, float], eta: float, leave: list[int]
) -> None:
    assert Referee(eta).dismissed(0, scores) == leave
    assert Referee(eta, sign=-1).dismissed(0, {trial: -score for trial, score in scores.items()}) == leave


def test_settings_are_ranked_among_those_of_earlier_programs() -> None:
    scores = {4: 3.0, 5: 1.0}
    assert Referee(2).dismissed(0, scores) == [5]
    assert Referee(2, known=[[9.0, 8.0, 7.0]]).dismissed(0, scores) == [4, 5], "three of five stay"
    assert Referee(2, known=[[9.0, 8.0, 0.0]]).dismissed(0, scores) == [5]
    assert Referee(2, known=[[0.0, 0.5, None, 0.25]]).dismissed(0, scores) == []
    assert Referee(2, known=[[9.0, 8.0, 7.0]]).dismissed(1, scores) == [5], "of another rung"
    referee = Referee(2, known=[[9.0, 2.0, None]])
    assert referee.ranks(0, scores) == {4: 2, 5: 4} and referee.total(0, scores) == 5


@pytest.mark.parametrize(("keys", "rungs"), [
    ({}, [1 / 9, 1 / 3]), ({"eta": 4, "grace": 0.05}, [1 / 16, 1 / 4]), ({"grace": 0.02}, [1 / 27, 1 / 9, 1 / 3]),
    ({"eta": 2, "grace": 0.5}, [1 / 2]), ({"eta": 10, "grace": 0.1}, [1 / 10]),
])  # fmt: skip
def test_rungs_are_powers_of_eta(keys: Keys, rungs: list[float]) -> None:
    one = spec(scheduler={"name": "halving", **keys}, env={"max_frame": 10**6})
    found = Halving(one.meta.scheduler_spec, one)
    assert found.pauses() == [math.ceil(share * 10**6 - 1e-6) for share in rungs]
    eta = keys.get("eta", 3)
    parts = np.diff([0, *rungs, 1])
    assert found.share() == pytest.approx(sum(part / eta**k for k, part in enumerate(parts)))


# ---- programs ----


def trial(directory: Path, number: int) -> Path:
    return directory / f"trial_{number}"


def states(directory: Path) -> dict[int, str]:
    table = pd.read_csv(directory / "experiment.csv")
    return dict(zip(table["trial"], table["state"], strict=True))


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of seven settings in one program."""
    directory = tmp_path_factory.mktemp("halved") / "run"
    whole(directory, spec(), size=7, workers=1)
    return directory


def test_settings_leave_at_rungs_and_say_so(halved: Path) -> None:
    table = pd.read_csv(halved / "experiment.csv").set_index("trial")
    rungs = pd.read_csv(halved / "rungs.csv")
    rivals = set(range(1, 7))
    for rung, frame in enumerate((80, 160)):
        group = rungs.loc[rungs["rung"] == rung].set_index("trial")
        assert set(group.index) == rivals | {0} and (group["frame"] == frame).all()
        assert (group["of"] == len(rivals)).all() and math.isnan(group.loc[0, "rank"]) and group.loc[0, "stays"]
        order = group.drop(index=0).sort_values("rank")
        assert order["rank"].tolist() == list(range(1, len(rivals) + 1)) and order["objective"].is_monotonic_decreasing
        best = set(order.index[: math.ceil(len(rivals) / 2)])
        assert set(order.index[order["stays"] == 1]) == best
        for number in rivals - best:
            reason = f"rank {order.loc[number, 'rank']:.0f} of {len(rivals)} at frame {frame}"
            own = json.loads((trial(halved, number) / "sessions.json").read_text())
            ended = {"state": "CULLED", "reason": reason, "frame": frame}
            assert own == [{"session": s, "seed": 0, **ended} for s in (0, 1)]
            assert table.loc[number, ["state", "frames"]].tolist() == ["CULLED", 2 * frame]
        rivals = best
    assert len(rivals) == 2 and table.loc[sorted(rivals | {0}), "state"].tolist() == ["DONE"] * 3
    assert (table["objective"].isna() == (table["state"] == "CULLED")).all() and (table["state"] == "CULLED").sum() == 4


def test_the_spec_s_own_setting_stays_whatever_it_is_worth_and_takes_nobody_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for worth in (-1e9, 1e9):
        monkeypatch.setattr(halving, "scores", lambda program, records, worth=worth: {
            recorder.trial: float(recorder.trial) or worth for recorder in records.recorders
        })  # fmt: skip
        whole(tmp_path / f"{worth}", spec(), size=7, workers=1)
        assert [n for n, state in states(tmp_path / f"{worth}").items() if state == "DONE"] == [0, 5, 6]


def test_a_score_at_a_rung_is_the_objective_of_the_evaluation_there(halved: Path) -> None:
    rungs = pd.read_csv(halved / "rungs.csv")
    for row in rungs.to_dict("records"):
        tables = [pd.read_csv(trial(halved, row["trial"]) / f"eval_{s}.csv") for s in (0, 1)]
        own = [table.loc[table["frame"] == row["frame"], "return"] for table in tables]
        assert [len(returns) for returns in own] == [2, 2]
        assert row["objective"] == pytest.approx(np.mean([returns.mean() for returns in own]))


def test_what_stays_learns_what_it_learns_without_the_others(halved: Path, tmp_path: Path) -> None:
    kept = [number for number, state in states(halved).items() if state == "DONE"]
    assert len(kept) >= 2
    for number in kept:
        record, _ = play.read_trial(trial(halved, number))
        sessions = [Session(record, number, index) for index in range(2)]
        program = Program(sessions, pauses=[80, 160])
        program.watcher = records = Records(tmp_path, sessions)
        records.open_ports(program)
        for epoch_ends in program.rows():
            if epoch_ends and program.pause is not None:
                program.examine()
        records.close(program, True)
        for name in ("session_1.csv", "episodes_0.csv", "eval_1.csv"):
            one, other = (pd.read_csv(trial(place, number) / name) for place in (halved, tmp_path))
            pd.testing.assert_frame_equal(one, other, rtol=1e-5)


def test_a_setting_that_left_can_be_played_and_looked_at(halved: Path, tmp_path: Path) -> None:
    number = next(number for number, state in states(halved).items() if state == "CULLED")
    played = lab.enjoy(trial(halved, number))
    assert played.repeats, "its evaluation at the rung"
    assert (analyze(trial(halved, number), graphs=False)["state"] == "CULLED").all()
    analyze(trial(halved, number), graphs=True, speed=True)
    assert (trial(halved, number) / "trial_graph.html").exists()


def test_searchers_are_told_what_was_reached_at_rungs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = begin(tmp_path / "run", spec(), 7, 1)
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(search.plan.searcher, "tell", lambda *args: told.append(args))
    assert Workers(search, 1, random.Random(0)).run()
    assert search._tell(1)
    assert [number for number, *_ in told] == list(range(7))
    for number, _, score, rungs, culled in told:
        ended = search.ended[number]
        assert culled is (ended.state == "CULLED") is (score is None)
        assert rungs == ended.rungs and len(rungs) in ((1, 2) if culled else (2,))
    lines = [json.loads(line) for line in search.journal.path.read_text().splitlines()]
    assert {line["trial"]: line["rungs"] for line in lines if line["event"] == "ended"} == {
        number: ended.rungs for number, ended in search.ended.items()
    }


def order_of(directory: Path, one: Spec, known: list[list[float | None]] | None = None) -> Order:
    """The order of the second program of a search, told other scores."""
    search = begin(directory, one, 4, 2)
    search.order("p0")
    order = search.order("p1")
    assert order is not None and len(order.trials) >= 3
    return Order(order.directory, order.trials, order.path, order.domains, known or [])


def finish(running: Job) -> dict[int, str]:
    while (ended := running.advance()) is None:
        pass
    return {own.trial: own.state for own in ended}


def test_scores_of_earlier_programs_count(tmp_path: Path) -> None:
    one = spec()
    alone = finish(Job(order_of(tmp_path / "alone", one)))
    assert set(alone.values()) == {"DONE", "CULLED"}
    beaten = Job(order_of(tmp_path / "beaten", one, [[10_000.0] * 20]))
    assert set(finish(beaten).values()) == {"CULLED"}, "nobody is left, and the program ends"
    assert beaten.progress["frames"] == 80 * 2 * len(alone)
    better = finish(Job(order_of(tmp_path / "better", one, [[-1.0] * 20, [-1.0] * 20])))
    assert set(better.values()) == {"DONE"}


def test_frames_of_members_that_left_are_counted(tmp_path: Path) -> None:
    running = Job(order_of(tmp_path / "run", spec()))
    ended = finish(running)
    table = analyze(tmp_path / "run", graphs=False)
    assert running.progress["frames"] == table.loc[table["trial"].isin(ended), "frames"].sum()


def test_later_programs_know_what_earlier_ones_reached(tmp_path: Path) -> None:
    search = begin(tmp_path / "run", spec(max_trial=8), 3, 2)
    orders: list[Order] = []
    order = search.order

    def noted(name: str) -> Order | None:
        orders.extend([found] if (found := order(name)) else [])
        return found

    search.order = noted  # type: ignore[method-assign]
    assert Workers(search, 2, random.Random(0)).run()
    rungs = [search.ended[number].rungs for number, _ in orders[0].trials if number]
    assert [one.known for one in orders[:2]] == [[], []]
    assert orders[2].known == [[own[k] for own in rungs if k < len(own)] for k in (0, 1)]


@pytest.mark.parametrize("workers", [1, 2])
def test_it_repeats_whichever_worker_is_quicker(workers: int, tmp_path: Path) -> None:
    one = spec(max_trial=8)
    expected = whole(tmp_path / "0", one, 3, workers, 0)
    for seed in (1, 2):
        assert whole(tmp_path / str(seed), one, 3, workers, seed) == expected


@pytest.mark.parametrize("searcher", [pytest.param("random", marks=pytest.mark.slow), "optuna"])
def test_killed_at_random_moments_it_leaves_the_same(searcher: str, tmp_path: Path) -> None:
    one = spec(max_trial=6, search_spec={"name": searcher})
    expected = whole(tmp_path / "whole", one, 4)
    assert b"CULLED" in expected["experiment.csv"]
    luck = random.Random(searcher)
    for again in range(3):
        directory = tmp_path / f"killed{again}"
        for _ in range(100):
            workers = Workers(begin(directory, one, 4, 2), 2, luck)
            if workers.run(luck.randint(1, 15)):
                break
            workers.kill()
        assert left(directory) == expected


def left_at_a_rung(directory: Path) -> tuple[Search, Job, set[int]]:
    """A program of which some trials have just left, and which they are."""
    search = begin(directory, spec(), 7, 1)
    order = search.order("p")
    assert order is not None
    running = Job(order)
    while running._records is None or len(running._records.recorders) == 7:
        assert running.advance() is None
    gone = set(range(7)) - {recorder.trial for recorder in running._records.recorders}
    running._lock.close()
    return search, running, gone


def test_a_stopped_program_leaves_culled_what_had_left(tmp_path: Path) -> None:
    search, _, gone = left_at_a_rung(tmp_path / "run")
    search.stop()
    assert {n for n, ended in search.ended.items() if ended.state == "CULLED"} == gone != set()
    assert {search.ended[n].state for n in set(range(7)) - gone} == {"STOPPED"}
    assert read_ended(tmp_path / "run") == {}
    assert all(len(search.ended[number].rungs) == 1 for number in gone)


def test_a_lost_program_goes_on_without_what_had_left(tmp_path: Path) -> None:
    search, first, gone = left_at_a_rung(tmp_path / "run")
    search.lose("p", "gone")
    again = search.order("q")
    assert again is not None and again.trials == first.order.trials
    running = Job(again)
    while (ended := running.advance()) is None:
        if running._records is not None:
            assert not gone & {recorder.trial for recorder in running._records.recorders}
    assert gone <= {own.trial for own in ended if own.state == "CULLED"}
    assert {own.trial for own in ended} == set(range(7))


@pytest.fixture
def sick_seeds() -> Iterator[list[int]]:
    """Seeds of the environments of all sessions of trial 2."""
    sessions = [Session(spec(), 2, index) for index in range(2)]
    yield [int(seed) >> 1 for session in sessions for seed in session.seeds("env", 0).generate_state(2)]


def test_a_setting_all_of_whose_seeds_failed_leaves_as_failed(sick_seeds: list[int], tmp_path: Path) -> None:
    env = {"name": "tests.own:Poisoned", "kwargs": {"seeds": sick_seeds}}
    one = spec(env=env, objective={"metric": "return_ma"})
    whole(tmp_path / "run", one, size=7, workers=1)
    found = states(tmp_path / "run")
    assert found[2] == "FAILED" and "DONE" in found.values() and "CULLED" in found.values()
    rungs = pd.read_csv(tmp_path / "run" / "rungs.csv")
    own = rungs.loc[rungs["trial"] == 2]
    assert own["stays"].tolist() == [0] and own["objective"].isna().all() and own["rank"].tolist() == [6]
    ended = read_ended(tmp_path / "run")[2]
    assert "not a finite number" in ended.reason and ended.rungs == [None]


WRONG: list[tuple[Keys, str]] = [
    ({"log_frequency": 100},
     "meta.log_frequency: settings are judged at frame 80, before there is a row of any table; at most 80"),
    ({"log_frequency": None, "scheduler_spec": {"name": "halving", "eta": 200, "grace": 0.005}},
     "meta.log_frequency: settings are judged at frame 2, before there is a row of any table; at most 2"),
    ({"scheduler_spec": {"name": "halving", "eta": 4, "grace": 0.3}},
     "meta.scheduler_spec.grace: no rung is left: the last is at 0.25 of the training"),
    ({"scheduler_spec": {"name": "halving", "eta": 1}}, "meta.scheduler_spec.eta: must be > 1, not 1"),
    ({"scheduler_spec": {"name": "halvin"}},
     'meta.scheduler_spec.name: unknown scheduler "halvin"; did you mean "halving"? known: halving, pbt, pb2, '
     "asha, hyperband, median, or module:Class"),
]  # fmt: skip


@pytest.mark.parametrize(("meta", "message"), WRONG)
def test_what_cannot_be_halved_is_a_spec_error(meta: Keys, message: str) -> None:
    raw = raw_of({"agent.algorithm.gamma__uniform": [0.9, 0.99]}, meta={"scheduler_spec": HALVING} | meta)
    built, errors = attempt("tiny", raw)
    assert [str(error) for error in errors or problems(built)] == [message]  # type: ignore[arg-type]


class Bare:
    """A memory that says nothing of its members."""

    Hyper = Rollout.Hyper

    def __init__(self, *args: Any):
        self.memory = Rollout(*args)


def test_a_memory_without_members_that_can_leave_is_a_spec_error() -> None:
    agent = AGENT | {"memory": {"name": "tests.search.test_halving:Bare"}}
    one = spec_of({"agent.algorithm.gamma__uniform": [0.9, 0.99]}, agent=agent, meta={"scheduler_spec": HALVING})
    assert [str(error) for error in problems(one)] == [
        "agent.0.memory.name: halving moves members, which this memory has no keep and clone for; "
        "see slmx.member.axis.Membered"
    ]
