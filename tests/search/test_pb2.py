"""Population-based bandits: what is learned from a lineage, and where the next values are looked for. Without Ray."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slmx.search import job
from slmx.search.bandit import Bandit, Floats, TimeVarying
from slmx.search.mutation import drawn
from slmx.search.pb2 import Pb2, Points
from slmx.search.pbt import Pbt
from slmx.search.population import Population, Round
from slmx.spec.model import Spec
from slmx.spec.search_space import Domain, search_space
from slmx.table import Table
from tests.search.specs import Keys
from tests.search.test_pbt import GAMMA, LR, SPACE
from tests.search.test_pbt import spec as spec_of_pbt
from tests.search.test_resume import Workers, begin, left, whole

RNG = np.random.default_rng


def spec(name: str = "pb2", **groups: Any) -> Spec:
    return spec_of_pbt(scheduler={"name": name}, **groups)


def population(one: Spec) -> Any:
    kinds: dict[str, type[Population]] = {"pbt": Pbt, "pb2": Pb2}
    return kinds[one.meta.scheduler_spec.name](one.meta.scheduler_spec, one, search_space(one)[0].domains)  # type: ignore[union-attr]


# ---- the bandit ----


class Line:
    """Numbers from 0 to 1, and one of three kinds."""

    bounds, is_whole = [(0.0, 1.0), (0.0, 2.0)], [False, True]

    def encoded(self, points: Floats) -> Floats:
        return np.stack([points[0], *((np.rint(points[1]) == i) / math.sqrt(2) for i in range(3))], axis=1)


def tried(at: Floats, kind: Floats, time: Floats) -> Floats:
    return np.column_stack([time, np.zeros(len(at)), Line().encoded(np.stack([at, kind]))])


NONE = np.zeros((0, 6))


def test_the_kernel_s_gradient_is_that_of_its_values() -> None:
    rng = RNG(0)
    x = np.column_stack([np.arange(6.0), rng.random((6, 3))])
    kernel = TimeVarying(0.4, 0.2)
    alike, gradient = kernel(x, eval_gradient=True)
    assert alike == pytest.approx(kernel(x)) and alike.diagonal() == pytest.approx(kernel.diag(x))
    assert alike[0, 5] == pytest.approx(math.exp(-((x[0, 1:] - x[5, 1:]) ** 2).sum() / 0.32) * 0.8**2.5)
    for i, step in enumerate(1e-6 * np.eye(2)):
        up, down = (kernel.clone_with_theta(kernel.theta + sign * step)(x) for sign in (1, -1))
        assert gradient[..., i] == pytest.approx((up - down) / 2e-6, abs=1e-6)


def test_it_goes_where_rewards_were_high_and_follows_them() -> None:
    rng = RNG(0)
    for drift, best in ((0.0, 0.3), (0.06, 0.84)):
        time = np.repeat(np.arange(10.0), 6)
        at, kind = rng.random(60), rng.integers(0, 3, 60).astype(float)
        rewards = -np.square(at - 0.3 - drift * time) - 0.3 * (kind != 1) + 0.01 * rng.standard_normal(60)
        found = Bandit(tried(at, kind, time), rewards).best(np.array([9.0, 0.0]), NONE, Line(), RNG(1))
        assert found[0] == pytest.approx(best, abs=0.1) and found[1] == 1
        again = Bandit(tried(at, kind, time), rewards).best(np.array([9.0, 0.0]), NONE, Line(), RNG(1))
        assert (again == found).all()


def test_what_is_pending_is_left_to_those_who_try_it() -> None:
    bandit, pending, found = Bandit(NONE, np.zeros(0)), NONE, []
    for number in range(3):
        point = bandit.best(np.zeros(2), pending, Line(), RNG(number))
        found.append(round(point[1]))
        pending = np.concatenate([pending, tried(point[:1], point[1:], np.zeros(1))])
    assert sorted(found) == [0, 1, 2], "the kinds are as far from one another as can be"
    lone = bandit.best(np.zeros(2), tried(np.array([0.0]), np.array([2.0]), np.zeros(1)), Line(), RNG(0))
    assert lone[0] > 0.95 and lone[1] != 2


def test_equal_rewards_teach_nothing_and_break_nothing() -> None:
    at = np.linspace(0, 1, 5)
    point = Bandit(tried(at, np.zeros(5), at), np.full(5, 3.0)).best(np.zeros(2), NONE, Line(), RNG(0))
    assert 0 <= point[0] <= 1 and np.isfinite(point).all()


# ---- settings as points ----

DOMAINS = [
    Domain("uniform", "uniform", (0.9, 0.99), ""),
    Domain("log", "loguniform", (1e-4, 1e-1), ""),
    Domain("steps", "quniform", (0.0, 1.0, 0.25), ""),
    Domain("whole", "randint", (2, 9), ""),
    Domain("normal", "randn", (0.0, 2.0), ""),
    Domain("names", "choice", ("relu", "tanh", None), ""),
    Domain("numbers", "choice", (1, 0.5, 64), ""),
    Domain("lists", "choice", ([64, 64], [32], {"name": "decay"}), ""),
    Domain("switch", "choice", (True, False), ""),
]


def test_a_setting_is_found_again_from_its_point_and_from_a_table(tmp_path: Path) -> None:
    from slmx.analysis.objective import cell

    points, rng = Points(DOMAINS), RNG(0)
    settings = [{domain.path: drawn(domain, rng) for domain in DOMAINS} for _ in range(40)]
    settings[0] |= {"uniform": 0.9, "log": 1e-1, "whole": 8}
    table = Table(tmp_path / "table.csv", tuple(settings[0]))
    for setting in settings:
        table.add_named({key: cell(value) for key, value in setting.items()})
    table.flush()
    told = pd.read_csv(table.path).to_dict("records")
    places = [points.place(setting) for setting in settings]
    for row, place in zip(told, places, strict=True):
        assert place is not None and place.shape == (points.width,) and ((place >= 0) & (place <= 1)).all()
        assert points.place(row) == pytest.approx(place)  # type: ignore[arg-type]
    for domain in DOMAINS:
        alone = Points([domain])
        for low, high in alone.bounds:
            for at in (low, high, (low + high) / 2):
                value = alone.setting(np.array([at]))
                assert value[domain.path] in domain.args or not domain.is_list
                again = alone.place(value)
                assert again == pytest.approx(alone.encoded(np.array([[at]]))[0], abs=0.13)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "outside", [{"uniform": 0.5}, {"log": {"name": "linear_decay"}}, {"names": "gelu"}, {"whole": 9}]
)
def test_what_the_space_does_not_hold_has_no_point(outside: Keys) -> None:
    setting = {domain.path: drawn(domain, RNG(0)) for domain in DOMAINS} | outside
    assert Points(DOMAINS).place(setting) is None


# ---- a population ----


def test_a_change_is_told_from_where_a_trial_began_its_round(tmp_path: Path) -> None:
    lineages: dict[int, list[tuple[float, Any, float]]] = {
        0: [(5.0, "", 0.91), (6.0, "", 0.91)],
        1: [(9.0, "", 0.92), (11.0, "", 0.92)],
        2: [(1.0, 1, 0.93), (10.0, "", 0.93)],
        3: [(math.nan, 1, 0.94), (math.nan, 1, 0.95)],
        4: [(2.0, "", 0.5), (3.0, "", 0.5)],
    }
    for trial, rows in lineages.items():
        (tmp_path / str(trial)).mkdir()
        table = Table(tmp_path / str(trial) / "lineage.csv", ("round", "frame", "objective", "source", GAMMA, LR))
        for number, (score, source, gamma) in enumerate(rows):
            table.add([number, 80 * (number + 1), score, source, gamma, 1e-3])
        table.flush()
    scores = {0: 6.5, 1: 10.0, 2: 13.0, 3: 12.5, 4: 1.0}
    now = Round(2, scores, {4: 2}, {}, {trial: tmp_path / str(trial) for trial in lineages})
    for mode, sign in (("max", 1), ("min", -1)):
        scheduler = population(spec(objective={"mode": mode}))
        found, changes = scheduler._past(now, Points(scheduler.domains))
        known = [(number, before, round(place[0] * 0.09 + 0.9, 4)) for number, before, place in found]
        # trial 3 was no number at its first round, and what the space does not hold (trial 4) teaches nothing
        assert known == [
            (0, 5, 0.91),
            (0, 9, 0.92),
            (0, 9, 0.93),
            (1, 6, 0.91),
            (1, 11, 0.92),
            (1, 10, 0.93),
            (1, 11, 0.95),
        ]
        assert changes == [sign * change for change in (1.0, 2.0, 1.0, 0.5, -1.0, 3.0, 1.5)]


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice ends at every row."""
    monkeypatch.setattr(job, "SLICE_SECONDS", 0.0)


def test_a_population_learns_its_values_and_is_resumed_the_same(slices: None, tmp_path: Path) -> None:
    kinds = {"agent.algorithm.entropy_coef__choice": [0.0, 0.01]}
    one = spec(space=SPACE | kinds)
    whole(tmp_path / "run", one, size=5, workers=1)
    lineage = pd.read_csv(tmp_path / "run" / "lineage.csv")
    copied = lineage.dropna(subset="source")
    assert len(copied) >= 3 and 0 not in set(copied["trial"])
    assert copied[GAMMA].between(0.9, 0.99).all() and copied[LR].between(1e-4, 1e-1).all()
    assert copied["agent.0.algorithm.entropy_coef"].isin([0.0, 0.01]).all()
    luck = random.Random(0)
    for _ in range(100):
        workers = Workers(begin(tmp_path / "again", one, 5, 1), 1, luck)
        if workers.run(luck.randint(1, 8)):
            break
        workers.kill()
    assert left(tmp_path / "again") == left(tmp_path / "run")


def grown(one: Spec, directory: Path) -> float:
    """What the best of a population has reached whose skill grows by how near its values are to moving best ones."""
    scheduler, rng, last = population(one), RNG(one.meta.seed), 10
    settings = {trial: {d.path: drawn(d, rng) for d in scheduler.domains} for trial in range(1, 9)}
    skill = dict.fromkeys(settings, 0.0)
    tables = {}
    for trial in settings:
        (directory / str(trial)).mkdir(parents=True)
        columns = ("round", "frame", "objective", "source", GAMMA, LR)
        tables[trial] = Table(directory / str(trial) / "lineage.csv", columns)
    for number in range(last):
        for trial, setting in settings.items():
            lr = math.log10(setting[LR]) + 2 + 1.5 * number / last
            skill[trial] += math.exp(-((lr / 0.4) ** 2) - ((setting[GAMMA] - 0.96) / 0.02) ** 2)
        scores = {trial: value + 0.05 * rng.standard_normal() for trial, value in skill.items()}
        sources = scheduler.sources(scores, number)
        directories = {trial: directory / str(trial) for trial in settings}
        now = Round(number, scores, sources, settings, directories)
        settings = settings | scheduler.values(now)
        skill |= {trial: skill[source] for trial, source in sources.items()}
        for trial, setting in settings.items():
            source = sources.get(trial, "")
            tables[trial].add_named({"round": number, "objective": scores[trial], "source": source, **setting})
            tables[trial].flush()
    return max(skill.values())


@pytest.mark.slow
def test_it_finds_moving_best_values_before_mutations_do(tmp_path: Path) -> None:
    reached = {
        name: np.array([grown(spec(name, seed=seed), tmp_path / name / str(seed)) for seed in range(24)])
        for name in ("pb2", "pbt")
    }
    more = reached["pb2"] - reached["pbt"]
    assert more.mean() - 2 * more.std(ddof=1) / math.sqrt(len(more)) > 0
