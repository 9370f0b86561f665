"""A search that is killed anywhere and resumed leaves what the uninterrupted one leaves, byte for byte. Without Ray."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from slmx import checkpoint, lab, session
from slmx.algorithm.ppo import PPO
from slmx.analysis.analyze import analyze
from slmx.env import describe
from slmx.errors import SlmxError
from slmx.lab import standard
from slmx.lock import owning
from slmx.run_directory import read_facts, write_spec, write_state
from slmx.search import job
from slmx.search.job import Job
from slmx.search.journal import Ended, read_ended, write_ended
from slmx.search.plan import Plan
from slmx.search.search import ATTEMPTS, DEATHS, Search
from slmx.session import Program
from slmx.spec.dump import dump
from slmx.spec.model import Spec
from slmx.spec.registry import REGISTRIES
from slmx.spec.search_space import search_space
from slmx.storage import store_of
from tests.search.specs import Keys, spec_of

SPACE: Keys = {"agent.algorithm.gamma__uniform": [0.9, 0.99], "agent.net": {"hid_layers__choice": [[8], [16]]}}
CLOCKS = ("speed.csv", "journal.jsonl", "error.txt")


@pytest.fixture(autouse=True)
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice ends at every row."""
    monkeypatch.setattr(job, "SLICE_SECONDS", 0.0)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The trials of which an evaluation at the end was made, that is, which were trained to the end."""
    found: list[int] = []
    evaluate = session.evaluate

    def noted(self: Program, *args: object) -> object:
        found.extend(sorted({own.trial for own in self.sessions}))
        return evaluate(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "evaluate", noted)
    return found


def spec(searcher: str = "random", max_trial: int = 6, **meta: object) -> Spec:
    settings = {"max_trial": max_trial, "checkpoint_frequency": 100, "search_spec": {"name": searcher}, **meta}
    return spec_of(SPACE, meta=settings)


def begin(directory: Path, one: Spec, size: int, lag: int, uri: str | None = None) -> Search:
    """A search in a directory, new or left there by an earlier process; its workers share but the URI with it."""
    fitness = {env.name: standard(env, describe(env)) for env in one.env}
    if not directory.exists():
        directory.mkdir(parents=True)
        write_spec(directory, dump(one), ["envpool"], fitness)
    meta = one.meta
    kind = REGISTRIES["search_spec"].find(meta.search_spec.name)
    searcher = kind(meta.search_spec, search_space(one)[0], meta.max_trial, meta.seed, meta.objective.mode)
    return Search(one, directory, Plan(one, searcher, size), ["envpool"], fitness, lag, store_of(uri, directory))


@dataclass
class Workers:
    """Workers side by side in this process: which of them does the next slice is a matter of luck."""

    search: Search
    count: int
    luck: random.Random
    jobs: dict[str, Job] = field(default_factory=dict)
    programs: int = 0

    def run(self, slices: int | None = None) -> bool:
        """Work until the search has ended, or so many slices; whether it has ended."""
        while slices is None or slices > 0:
            self._engage()
            if not self.jobs:
                assert self.search.finished
                return True
            name = self.luck.choice(sorted(self.jobs))
            ended = self.jobs[name].advance()
            self.search.hear(name, self.jobs[name].progress)
            if ended is not None:
                self.search.end(name, ended, self.jobs.pop(name).progress["frames"])
            slices = None if slices is None else slices - 1
        return False

    def kill(self) -> None:
        """All that was in memory is gone."""
        for killed in self.jobs.values():
            killed._lock.close()
        self.jobs.clear()

    def die(self, name: str) -> tuple[int, ...]:
        """The worker of a program dies; the numbers of its trials."""
        job = self.jobs.pop(name)
        job._lock.close()
        if job._away:
            job._away._home.cleanup()
        trials = tuple(trial.number for trial in self.search.running[name].trials)
        self.search.lose(name, "its worker died")
        return trials

    def _engage(self) -> None:
        while len(self.jobs) < self.count and (order := self.search.order(f"p{self.programs}")) is not None:
            self.jobs[f"p{self.programs}"] = Job(order)
            self.programs += 1


def left(directory: Path) -> dict[str, bytes]:
    analyze(directory, graphs=False)
    files = [path for path in directory.rglob("*") if path.is_file() and path.name not in CLOCKS]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def whole(directory: Path, one: Spec, size: int = 2, workers: int = 2, seed: int = 0) -> dict[str, bytes]:
    search = begin(directory, one, size, workers)
    assert Workers(search, workers, random.Random(seed)).run()
    return left(directory)


def asked(directory: Path) -> list[tuple[int, Keys]]:
    lines = [json.loads(line) for line in (directory / "journal.jsonl").read_text().splitlines()]
    return [(line["trial"], line["setting"]) for line in lines if line["event"] == "asked"]


@pytest.mark.parametrize("searcher", [pytest.param("random", marks=pytest.mark.slow), "optuna"])
def test_killed_at_random_moments_it_leaves_the_same(searcher: str, tmp_path: Path, trained: list[int]) -> None:
    one = spec(searcher)
    expected, settings = whole(tmp_path / "whole", one), asked(tmp_path / "whole")
    assert len(settings) == 7
    luck = random.Random(searcher)
    for again in range(5):
        directory = tmp_path / f"killed{again}"
        trained.clear()
        for _ in range(100):
            workers = Workers(begin(directory, one, 2, 2), 2, luck)
            if workers.run(luck.randint(1, 25)):
                break
            workers.kill()
        assert left(directory) == expected
        assert asked(directory) == settings, "nothing is asked for twice"
        assert sorted(trained) == list(range(7)), "each setting is trained to its end exactly once"


@pytest.mark.parametrize(
    ("searcher", "workers"),
    [
        ("random", 3),
        ("optuna", 2),
        *(pytest.param(*way, marks=pytest.mark.slow) for way in (("random", 2), ("optuna", 3))),
    ],
)
def test_a_search_repeats_whichever_worker_is_quicker(searcher: str, workers: int, tmp_path: Path) -> None:
    one = spec(searcher, max_trial=8)
    expected = whole(tmp_path / "0", one, 2, workers, 0)
    for seed in (1, 2):
        assert whole(tmp_path / str(seed), one, 2, workers, seed) == expected


def test_a_searcher_that_learns_hears_of_what_ended_long_ago_and_of_that_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, int]] = []
    for name in ("ask", "tell"):
        kind = REGISTRIES["search_spec"].find("optuna")
        real = getattr(kind, name)
        monkeypatch.setattr(
            kind, name, lambda self, *args, name=name, real=real: heard.append((name, *args[:1])) or real(self, *args)
        )
    whole(tmp_path / "run", spec("optuna", max_trial=7), size=2, workers=2)
    told_before: list[list[int]] = []
    for i, (event, *_) in enumerate(heard):
        if event == "ask":
            told_before.append([number for kind, *rest in heard[:i] if kind == "tell" for number in rest])
    groups = sorted({tuple(told) for told in told_before}, key=len)
    assert groups[0] == () and groups[-1][:2] == (0, 1)
    assert all(later[: len(earlier)] == earlier for earlier, later in itertools.pairwise(groups))


def test_ends_that_cannot_be_read_are_trained_again(tmp_path: Path) -> None:
    one = spec()
    expected = whole(tmp_path / "run", one)
    path = min((tmp_path / "run" / "ended").iterdir())
    path.write_text(path.read_text()[:20])
    assert whole(tmp_path / "run", one) == expected
    assert set(read_ended(tmp_path / "run")) == set(range(7))


def test_another_setting_in_the_place_of_one_is_an_error(tmp_path: Path) -> None:
    one = spec()
    whole(tmp_path / "run", one)
    path = tmp_path / "run" / "trial_3" / "setting.json"
    path.write_text(json.dumps({"agent.0.algorithm.gamma": 0.5}))
    with pytest.raises(SlmxError, match="another setting"):
        whole(tmp_path / "run", one)


def test_workers_that_die_once_in_each_program_change_nothing(tmp_path: Path) -> None:
    expected = whole(tmp_path / "whole", spec())
    search, luck = begin(tmp_path / "run", spec(), 2, 2), random.Random(3)
    workers, died = Workers(search, 2, luck), set()
    while not workers.run(luck.randrange(1, 4)):
        for name in [name for name in workers.jobs if search.running[name].attempt == 1]:
            died.add(workers.die(name))
    assert len(died) == 4
    assert left(tmp_path / "run") == expected
    lines = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert {tuple(line["trials"]) for line in lines if line["event"] == "lost"} == died


@pytest.mark.parametrize("away", [False, True])
def test_deaths_of_workers_that_came_further_are_no_fault_of_a_trial(tmp_path: Path, away: bool) -> None:
    one = spec_of({"agent.algorithm.gamma__uniform": [0.9, 0.99]}, meta={"max_trial": 1, "checkpoint_frequency": 100})
    expected = whole(tmp_path / "whole", one, 2, 1)
    uri = f"file://{tmp_path}/there" if away else None
    search = begin(tmp_path / "run", one, 2, 1, uri)
    workers, died, saved = Workers(search, 1, random.Random(0)), 0, None
    while not workers.run(1):
        for name in list(workers.jobs):
            if (now := search._saved(search.running[name].trials)) != saved and any(now):
                workers.die(name)
                died, saved = died + 1, now
    assert died > ATTEMPTS and search.count("DONE") == 2
    assert left(tmp_path / "run") == expected


def test_workers_that_die_again_and_again_after_a_checkpoint_are_given_up(tmp_path: Path) -> None:
    one = spec_of({"agent.algorithm.gamma__uniform": [0.9, 0.99]}, meta={"max_trial": 1, "checkpoint_frequency": 100})
    search = begin(tmp_path / "run", one, 2, 1)
    workers, died = Workers(search, 1, random.Random(0)), 0
    while not workers.run(1):
        for name in list(workers.jobs):
            place = checkpoint.place(search.directory, search.running[name].trials[0].number)
            if place.exists():
                os.utime(place)  # as where a program breaks, and half of it is begun each time
                workers.die(name)
                died += 1
    assert search.count("FAILED") == 2 and died < 100


def test_a_trial_that_kills_its_workers_fails_alone(tmp_path: Path) -> None:
    one = spec_of({"agent.algorithm.gamma__uniform": [0.9, 0.99]}, meta={"max_trial": 7})
    search = begin(tmp_path / "run", one, 8, 1)
    workers, died = Workers(search, 1, random.Random(0)), []
    while not workers.run(1):
        for name in [name for name in workers.jobs if 5 in {trial.number for trial in search.running[name].trials}]:
            died.append(workers.die(name))
    assert died == [*[tuple(range(8))] * 2, *[(4, 5, 6, 7)] * 2, *[(4, 5)] * 2, *[(5,)] * 2]
    assert [number for number, ended in search.ended.items() if ended.state == "FAILED"] == [5]
    assert search.ended[5].reason == "its worker died" and search.count("DONE") == 7
    again = begin(tmp_path / "run", one, 8, 1)
    assert again.order("p0") is None and again.ended[5] == search.ended[5]


def test_a_program_that_is_given_up_takes_nothing_back_that_had_ended(tmp_path: Path) -> None:
    one = spec_of({"agent.algorithm.gamma__uniform": [0.9, 0.99]}, meta={"max_trial": 1})
    search = begin(tmp_path / "run", one, 2, 1)
    assert search.order("p0") is not None
    done = Ended(0, "DONE", score=1.5)
    write_ended(tmp_path / "run", [done])
    running = search.running["p0"]
    running.attempt, running.deaths = ATTEMPTS, DEATHS
    search.lose("p0", "its worker died")
    assert search.ended == read_ended(tmp_path / "run") == {0: done, 1: Ended(1, "FAILED", "its worker died")}


def test_a_worker_that_died_when_all_was_done_is_not_repeated(tmp_path: Path, trained: list[int]) -> None:
    search = begin(tmp_path / "run", spec(), 2, 1)
    order = search.order("p0")
    assert order is not None
    first = Job(order)
    while (ended := first.advance()) is None:
        pass
    count = len(trained)
    assert Job(order).advance() == ended and len(trained) == count


def test_half_of_a_broken_program_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = PPO.learn

    def breaking(self: PPO, *args: object) -> None:
        if (self.hp.gamma > 0.985).any():
            raise RuntimeError("too far-sighted")
        learn(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(PPO, "learn", breaking)
    space = {"agent.algorithm.gamma__grid_search": [0.9, 0.91, 0.92, 0.95, 0.96]}
    one = spec_of(space, meta={"max_trial": 1, "checkpoint_frequency": 100})
    search = begin(tmp_path / "run", one, 8, 1)
    workers = Workers(search, 1, random.Random(0))
    while len(read_ended(tmp_path / "run")) < 4:  # trial 0, with a gamma of .99, breaks the program and its halves
        assert not workers.run(1)
    workers.kill()
    done = {path: path.read_bytes() for path in (tmp_path / "run" / "ended").iterdir()}
    again = begin(tmp_path / "run", one, 8, 1)
    assert Workers(again, 1, random.Random(0)).run()
    assert {number for number, ended in again.ended.items() if ended.state == "FAILED"} == {0}
    assert again.count("DONE") == 5
    assert all(path.read_bytes() == content for path, content in done.items())


@pytest.mark.usefixtures("without_ray")
def test_a_search_that_another_process_has_ended_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slmx.search import experiment

    directory = lab.search(spec(max_trial=1), tmp_path, quiet=True, graphs=False).directory
    facts = read_facts(directory)
    write_state(directory, **facts | {"state": "STOPPED"})
    before = left(directory)

    def late(run: Path) -> AbstractContextManager[None]:
        write_state(run, **facts)
        return owning(run)

    monkeypatch.setattr(experiment, "owning", late)
    assert lab.resume(directory, quiet=True, graphs=False) is None
    assert left(directory) == before | {"run.json": (directory / "run.json").read_bytes()}
    assert read_facts(directory) == facts


@pytest.mark.usefixtures("without_ray")
def test_a_search_that_is_told_to_stop_before_anything_began_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from slmx.search import on_tune

    with monkeypatch.context() as stopped:
        stopped.setattr(on_tune, "run", lambda *_: True)
        run = lab.search(spec(max_trial=1), tmp_path, graphs=False)
    assert run.interrupted and not run.failed and run.best is None and not len(run.table)
    assert read_facts(run.directory)["state"] == "STOPPED"
    assert capsys.readouterr().out.endswith(f"to go on: slmx resume {run.directory}\n")
    again = lab.resume(run.directory, quiet=True, graphs=False)
    assert again is not None and again.table["state"].tolist() == ["DONE"] * 2


@pytest.mark.usefixtures("without_ray")
def test_what_workers_have_sent_to_a_uri_is_not_lost_to_what_an_earlier_process_had_of_it(
    tmp_path: Path, trained: list[int]
) -> None:
    """The search and its validation had ended at the URI when the process was killed that had not heard of it yet."""
    away = {"ray_address": "there:1", "storage": f"file://{tmp_path}/there", "validate": {"top": 1, "sessions": 2}}
    directory = lab.search(spec(max_trial=1, **away), tmp_path, quiet=True, graphs=False).directory
    there, expected = tmp_path / "there" / directory.name, left(directory)
    for place in (directory, directory / "validation"):
        shutil.rmtree(place / "ended")
        for table in place.glob("trial_*/*_?.csv"):
            table.write_text(table.read_text().partition("\n")[0] + "\n")
    shutil.rmtree(directory / "validation" / "trial_0")
    (directory / "checkpoint").mkdir()
    (directory / "checkpoint" / "program_0.pt").write_text("of an earlier epoch")
    write_state(directory, **read_facts(directory) | {"state": "RUNNING"})
    trained.clear()
    assert lab.resume(directory, quiet=True, graphs=False) is not None
    assert not trained and left(directory) == expected
    assert {str(path.relative_to(there)) for path in there.rglob("*.*")} >= set(expected)
    assert all((there / name).read_bytes() == content for name, content in expected.items() if "_" in name)
