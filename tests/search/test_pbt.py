"""Population-based training: who copies whom, with what values, and that it repeats and is replayed. Without Ray."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slmx import lab, play
from slmx.analysis.files import TrialFiles
from slmx.search import job
from slmx.search.pbt import Pbt
from slmx.session import Program, Session
from slmx.spec.build import attempt
from slmx.spec.check import problems
from slmx.spec.dump import in_force, with_settings
from slmx.spec.model import Spec
from tests.search.specs import AGENT, Keys, raw_of, spec_of
from tests.search.test_resume import Workers, begin, left, whole

GAMMA, LR = "agent.0.algorithm.gamma", "agent.0.net.optim_spec.lr"
SPACE: Keys = {"agent.algorithm.gamma__uniform": [0.9, 0.99], "agent.net.optim_spec.lr__loguniform": [1e-4, 1e-1]}
PBT: Keys = {"name": "pbt", "interval": 80, "quantile": 0.4}
NAN = math.nan


@pytest.fixture(autouse=True)
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice ends at every row."""
    monkeypatch.setattr(job, "SLICE_SECONDS", 0.0)


def spec(max_trial: int = 4, scheduler: Keys | None = None, space: Keys | None = None, **meta: Any) -> Spec:
    settings = {"max_trial": max_trial, "scheduler_spec": PBT | (scheduler or {}), "log_frequency": 40, **meta}
    return spec_of(space or SPACE, meta=settings)


def pbt_of(one: Spec) -> Pbt:
    return Pbt(one.meta.scheduler_spec, one)


# ---- who copies whom ----


def test_the_worst_copy_the_best() -> None:
    scores = {0: 5.0, 1: 9.0, 2: 1.0, 3: 7.0, 4: 2.0}
    found = [pbt_of(spec()).sources(scores, number) for number in range(30)]
    assert all(set(sources) == {2, 4} for sources in found)
    assert Counter(source for sources in found for source in sources.values()).keys() == {1, 3}
    low = pbt_of(spec(objective={"mode": "min"})).sources(scores, 0)
    assert set(low) == {1, 3} and set(low.values()) <= {2, 4}
    assert pbt_of(spec()).sources(scores, 3) == found[3], "it repeats"
    assert pbt_of(spec(seed=1)).sources(scores, 3) != found[3] or pbt_of(spec(seed=1)).sources(scores, 4) != found[4]


@pytest.mark.parametrize(("scores", "quantile", "losers"), [
    ({0: 0.0, 1: 9.0, 2: 1.0, 3: 7.0, 4: 2.0}, 0.4, {2, 4}),
    ({0: 9.0, 1: 0.0}, 0.5, {1}),
    ({0: 0.0, 1: 9.0}, 0.5, set()),
    ({0: 0.0}, 0.5, set()),
    ({1: NAN, 2: 3.0, 3: NAN, 4: 4.0}, 0.5, {1, 3}),
    ({1: NAN, 2: NAN, 3: NAN}, 0.3, set()),
    ({1: 4.0, 2: 4.0, 3: 4.0, 4: 4.0}, 0.5, set()),
    ({n: float(n) for n in range(1, 21)}, 0.2, {1, 2, 3, 4}),
    ({n: float(n) for n in range(1, 4)}, 0.01, {1}),
])  # fmt: skip
def test_nobody_copies_what_is_not_better_and_the_default_copies_nobody(
    scores: dict[int, float], quantile: float, losers: set[int]
) -> None:
    for number in range(5):
        sources = pbt_of(spec(scheduler={"quantile": quantile})).sources(scores, number)
        assert set(sources) == losers
        assert all(scores[source] > scores[loser] or math.isnan(scores[loser]) for loser, source in sources.items())


@pytest.mark.parametrize(("interval", "pauses"), [(None, list(range(16, 320, 16))), (80, [80, 160, 240]), (300, [300])])
def test_rounds_are_an_interval_apart(interval: int | None, pauses: list[int]) -> None:
    assert pbt_of(spec(scheduler={"interval": interval})).pauses() == pauses


# ---- a search ----


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A population of the default and four settings."""
    directory = tmp_path_factory.mktemp("evolved") / "run"
    whole(directory, spec(), size=5, workers=1)
    return directory


def test_lineage_says_who_copied_whom_when_and_with_what(evolved: Path) -> None:
    lineage = pd.read_csv(evolved / "lineage.csv")
    assert list(lineage) == ["trial", "round", "frame", "objective", "source", GAMMA, LR]
    assert lineage.groupby("round")["frame"].unique().explode().tolist() == [80, 160, 240]
    copied = lineage.dropna(subset="source")
    assert len(copied) >= 3 and 0 not in set(copied["trial"])
    values = {n: (TrialFiles(evolved / f"trial_{n}").setting or {}) for n in range(5)}
    for _, group in lineage.groupby("round"):
        own = group.set_index("trial")
        for number, row in own.iterrows():
            if math.isnan(row["source"]):
                assert (row[GAMMA], row[LR]) == pytest.approx((values[number][GAMMA], values[number][LR]))
            else:
                assert row["objective"] < own.loc[row["source"], "objective"]
                assert 0.9 <= row[GAMMA] <= 0.99 and 1e-4 <= row[LR] <= 0.1
                assert (row[GAMMA], row[LR]) != pytest.approx((values[row["source"]][GAMMA], values[row["source"]][LR]))
        values = {number: dict(row[[GAMMA, LR]]) for number, row in own.iterrows()}
    table = pd.read_csv(evolved / "experiment.csv").set_index("trial")
    assert (table["state"] == "DONE").all() and table["objective"].notna().all()
    for number in range(5):
        assert table.loc[number, [GAMMA, LR]].tolist() == pytest.approx([values[number][GAMMA], values[number][LR]])


def test_a_trial_s_spec_is_the_whole_past_of_what_it_descends_from(evolved: Path) -> None:
    lineage = pd.read_csv(evolved / "lineage.csv")
    for number in range(5):
        one, _ = play.read_trial(evolved / f"trial_{number}")
        stages = [stage.frame for stage in one.meta.stages]
        ancestor, frames = number, []
        for _, group in reversed(list(lineage.groupby("round"))):
            row = group.set_index("trial").loc[ancestor]
            now = in_force(one, int(row["frame"])).agent[0]
            assert (now.algorithm.gamma, now.net.optim_spec.lr) == pytest.approx((row[GAMMA], row[LR]))  # type: ignore[union-attr,attr-defined]
            if not math.isnan(row["source"]):
                frames.insert(0, row["frame"])
                ancestor = int(row["source"])
        assert stages == frames
        first = TrialFiles(evolved / f"trial_{ancestor}").setting or {}
        replay = TrialFiles(evolved / f"trial_{number}").replay
        assert {path: replay[path] for path in (GAMMA, LR)} == first
        assert with_settings(spec(), replay) == one.model_copy(update={"search": {}})
        assert not problems(one)


def test_the_winner_s_schedule_is_replayed_on_fresh_seeds(evolved: Path, tmp_path: Path) -> None:
    lineage = pd.read_csv(evolved / "lineage.csv")
    number = int(lineage.dropna(subset="source")["trial"].iloc[-1])
    one, _ = play.read_trial(evolved / f"trial_{number}")
    fresh = one.model_copy(update={"meta": one.meta.model_copy(update={"seed": 7})})
    run = lab.train(fresh, tmp_path, quiet=True, graphs=False)
    rows = pd.read_csv(run.directory / "trial_0" / "session_1.csv").set_index("frame")["lr"]
    for frame, lr in rows.items():
        # a row is written before the stage begins that begins at its frame
        expected = in_force(one, int(frame) - 1).agent[0].net.optim_spec.lr  # type: ignore[union-attr,attr-defined,call-overload]
        assert lr == pytest.approx(expected)
    assert len(set(rows)) == 1 + len(one.meta.stages)


def test_a_copy_has_all_that_its_source_learned_and_its_own_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = Pbt._copy

    def looked_at(self: Pbt, program: Program, records: Any, sources: Any, after: Any) -> None:
        before = [program.model(m) for m in range(program.members)]
        real(self, program, records, sources, after)
        agent: Any = program.agents[0]
        for trial, source in sources.items():
            for i in (0, 1):
                mine, other = ([s.trial for s in program.sessions].index(t) + i for t in (trial, source))
                model = program.model(mine)
                assert all((model[key] == before[other][key]).all() for key in model)
                assert program.sessions[mine].index == i and program.sessions[mine].trial == trial
                now = in_force(after[trial], program.frames[0]).agent[0]
                assert float(agent.optimizers[0].hp.lr[mine, 0]) == pytest.approx(now.net.optim_spec.lr)  # type: ignore[union-attr,attr-defined]
                assert float(agent.hp.gamma[mine, 0]) == pytest.approx(now.algorithm.gamma)  # type: ignore[attr-defined]
                assert (agent.optimizers[0].state[0][mine] == agent.optimizers[0].state[0][other]).all()
                block = agent.exploring._uniform.block
                assert not np.array_equal(block[mine], block[other])
                seen.append(trial)

    monkeypatch.setattr(Pbt, "_copy", looked_at)
    whole(tmp_path / "run", spec(), size=5, workers=1)
    assert len(seen) >= 6


@pytest.mark.parametrize("again", range(3))
def test_killed_at_random_moments_it_leaves_the_same(again: int, evolved: Path, tmp_path: Path) -> None:
    luck, directory = random.Random(again), tmp_path / "run"
    for _ in range(100):
        workers = Workers(begin(directory, spec(), 5, 1), 1, luck)
        if workers.run(luck.randint(1, 8)):
            break
        workers.kill()
    assert left(directory) == left(evolved)


def test_a_failed_seed_is_replaced_by_a_sound_one(tmp_path: Path) -> None:
    """Session 1 of trial 2 fails at once; its trial copies another and both of its sessions go on."""
    broken = Session(spec(), 2, 1)
    seeds = [int(seed) >> 1 for seed in broken.seeds("env", 0).generate_state(2)]
    env = {"name": "tests.own:Poisoned", "max_frame": 320, "kwargs": {"seeds": seeds}}
    meta = {
        "max_trial": 4,
        "scheduler_spec": PBT,
        "log_frequency": 40,
        "objective": {"metric": "return_ma", "aggregate": "worst"},
    }
    one = spec_of(SPACE, env=env, meta=meta)
    found = whole(tmp_path / "run", one, size=5, workers=1)
    lineage = pd.read_csv(tmp_path / "run" / "lineage.csv")
    source = lineage.loc[(lineage["trial"] == 2) & (lineage["round"] == 0), "source"]
    assert source.notna().all(), "the worst seed decides, and random play is what a failed one counts as"
    states = json.loads(found["trial_2/sessions.json"])
    assert [state["state"] for state in states] == ["DONE", "DONE"]
    rows = pd.read_csv(tmp_path / "run" / "trial_2" / "session_1.csv")
    assert rows["frame"].min() > 80 and rows["frame"].max() == 320
    assert rows["loss"].notna().any()


def test_a_source_s_failed_seed_is_nobody_s_source(tmp_path: Path) -> None:
    sessions = [Session(spec(), trial, index) for trial in (1, 2) for index in range(3)]
    program = Program(sessions)
    program.failures = {1: "it failed"}
    copied: list[list[int]] = []
    program.clone = copied.append  # type: ignore[method-assign,assignment]
    program.retune = lambda _: None  # type: ignore[method-assign]

    class Notes:
        def revive(self, member: int) -> None: ...

    pbt_of(spec())._copy(program, Notes(), {2: 1}, {1: spec(), 2: spec()})  # type: ignore[arg-type]
    assert copied == [[0, 1, 2, 0, 2, 2]]


def test_values_that_do_not_fit_one_another_are_not_taken() -> None:
    one, parent = pbt_of(spec()), spec()
    for wrong in ({GAMMA: 7.0}, {"agent.0.algorithm.time_horizon": 8}):
        assert one._child(parent, 80, wrong) is parent
    assert one._child(parent, 80, {GAMMA: 0.5}).meta.stages[0].settings == {GAMMA: 0.5}


def test_a_default_that_is_another_program_trains_by_itself(tmp_path: Path) -> None:
    decay = {"name": "linear_decay", "start_val": 0.01, "end_val": 0.001}
    agent = AGENT | {"net": AGENT["net"] | {"optim_spec": {"name": "Adam", "lr": decay}}}
    one = spec_of({"agent.net.optim_spec.lr__loguniform": [1e-4, 1e-1]}, agent=agent,
                  meta={"max_trial": 3, "scheduler_spec": PBT, "log_frequency": 40})  # fmt: skip
    assert not problems(one)
    whole(tmp_path / "run", one, size=4, workers=2)
    lineage = pd.read_csv(tmp_path / "run" / "lineage.csv")
    assert lineage.loc[lineage["trial"] == 0, "source"].isna().all()
    assert lineage["source"].notna().any() and 0 not in set(lineage["source"])
    assert json.loads(lineage.loc[lineage["trial"] == 0, LR].iloc[0])["name"] == "linear_decay"


# ---- what cannot be ----

WRONG: list[tuple[Keys, Keys, str]] = [
    ({"agent.algorithm.time_horizon__choice": [16, 32]}, {},
     "search.agent.algorithm.time_horizon__choice: pbt changes values in mid-training, but "
     "agent.0.algorithm.time_horizon makes another program"),
    ({"agent.net.clip_grad_val__choice": [None, 0.5]}, {},
     "search.agent.net.clip_grad_val__choice: pbt changes values in mid-training, but agent.0.net.clip_grad_val makes "
     "another program"),
    ({"env.kwargs.sutton_barto_reward__choice": [True, False]}, {},
     "search.env.kwargs.sutton_barto_reward__choice: pbt changes values in mid-training, but "
     "env.0.kwargs.sutton_barto_reward makes another program"),
    (SPACE, {"search_spec": {"name": "optuna"}},
     "meta.search_spec.name: optuna learns from trials that ended, but pbt trains all of them at once; "
     "use random or grid"),
    (SPACE, {"max_member": 9},
     "meta.max_member: 5 settings x 2 sessions are one program in pbt, but it may have 9 sessions; set it higher, or "
     "meta.max_trial lower"),
    (SPACE, {"max_trial": 400},
     "meta.max_member: 401 settings x 2 sessions are one program in pbt, but it may have 256 sessions; set a number "
     "where there is memory enough, or meta.max_trial lower"),
    (SPACE, {"scheduler_spec": {"name": "pbt", "interval": 320}},
     "meta.scheduler_spec.interval: 320 is not less than the 320 frames of the training"),
    (SPACE, {"log_frequency": 160},
     "meta.log_frequency: settings are judged at frame 80, before there is a row of any table; at most 80"),
    (SPACE, {"scheduler_spec": PBT | {"factors": [1.0]}},
     "meta.scheduler_spec.factors: must be above 0 and not 1, which 1 is not"),
    (SPACE, {"scheduler_spec": PBT | {"resample": 1.0, "factors": [1.5]}},
     "meta.scheduler_spec.factors: does nothing when resample is 1"),
    (SPACE, {"scheduler_spec": PBT | {"quantile": 0.6}}, "meta.scheduler_spec.quantile: must be <= 0.5, not 0.6"),
]  # fmt: skip


@pytest.mark.parametrize(("space", "meta", "message"), WRONG, ids=[message[:50] for *_, message in WRONG])
def test_what_no_population_can_do_is_a_spec_error(space: Keys, meta: Keys, message: str) -> None:
    raw = raw_of(space, meta={"max_trial": 4, "scheduler_spec": PBT, "log_frequency": 40} | meta)
    built, errors = attempt("tiny", raw)
    assert [str(error) for error in errors or problems(built)] == [message]  # type: ignore[arg-type]
