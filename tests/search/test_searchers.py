"""Searchers that learn: where they draw, what they make of results, and that all of it repeats."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slmx.search.base import Score, Searcher, Setting
from slmx.search.share import share_of, value_at
from slmx.search.tune import HyperOptSearcher
from slmx.spec.check import problems
from slmx.spec.registry import REGISTRIES
from slmx.spec.search_space import Domain, SearchSpace
from tests.search.specs import spec_of

ROOT = Path(__file__).parents[2]
Keys = dict[str, Any]

STRENGTH = {"metric": "strength", "mode": "max"}
LEARNERS: dict[str, Keys] = {
    "tpe": {"name": "optuna"},
    "multivariate": {"name": "optuna", "multivariate": True},
    "cmaes": {"name": "optuna", "sampler": "cmaes"},
    "gp": {"name": "optuna", "sampler": "gp", "startup": 8},
    "nsga2": {"name": "optuna", "sampler": "nsga2", "objectives": [STRENGTH], "population": 6},
    "hyperopt": {"name": "hyperopt"},
    **{name: {"name": "nevergrad", "optimizer": name} for name in ("TBPSA", "CMA", "OnePlusOne", "TwoPointsDE")},
    "bohb": {"name": "bohb"},
}
RANDOM = {"name": "random"}


def fitted(names: dict[str, Keys], *slow: str) -> list[Any]:
    """The learners as parameters; those whose library is not installed are passed over."""
    lacking = importlib.util.find_spec("hpbandster") is None
    skip = pytest.mark.skipif(lacking, reason="hpbandster is not installed")
    marks = {name: [pytest.mark.slow] * (name in slow) + [skip] * (name == "bohb") for name in names}
    return [pytest.param(name, marks=marks[name]) for name in names]


each_learner = pytest.mark.parametrize("learner", fitted(LEARNERS))

RANGES = (
    Domain("gamma", "uniform", (0.0, 1.0), "gamma"), Domain("lr", "loguniform", (1e-4, 1.0), "lr"),
    Domain("size", "randint", (0, 20), "size"), Domain("clip", "quniform", (0.0, 2.0, 0.1), "clip"),
)  # fmt: skip
NET = Domain("net", "choice", ("flat", [8], [8, 8]), "net")
LAM = Domain("lam", "grid_search", (0.9, 0.95), "lam")


def make(learner: str | Keys, domains: tuple[Domain, ...], total: int = 40, seed: int = 0, mode: str = "max") -> Any:
    keys = LEARNERS[learner] if isinstance(learner, str) else learner
    kind = REGISTRIES["search_spec"].find(keys["name"])
    if keys.get("sampler") == "cmaes":
        domains = tuple(domain for domain in domains if not domain.is_list)
    hp = kind.Hyper.model_validate(keys)
    return kind(hp, SearchSpace(domains), total // SearchSpace(domains).grid, seed, mode)


def smooth(setting: Setting) -> float:
    """0 at its best, at gamma 0.7, lr 0.01, size 5 and clip 1.2, where they are searched."""
    setting = {"size": 5, "clip": 1.2} | setting
    distance = 4 * (setting["gamma"] - 0.7) ** 2 + (np.log10(setting["lr"]) + 2) ** 2 / 2
    return -float(distance + ((setting["size"] - 5) / 10) ** 2 + (setting["clip"] - 1.2) ** 2)


def as_told(found: Searcher, score: float) -> Score:
    """What a searcher is told: those that weigh several objectives are told the same one twice."""
    return (score, score) if getattr(found.hp, "objectives", ()) else score


def converse(
    found: Searcher, pending: int = 4, judge: Callable[[Setting], float] = smooth, rough: bool = False
) -> list[Setting]:
    """All that a searcher asks for, `pending` settings at a time; in a rough one some fail and some are culled."""
    drawn: list[Setting] = []
    while len(drawn) < found.total:
        batch = [found.ask() for _ in range(min(pending, found.total - len(drawn)))]
        for number, setting in enumerate(batch, len(drawn) + 1):
            score = judge(setting)
            if rough and number % 7 == 0:
                found.tell(number, setting, None)
            elif rough and number % 3 == 0:
                found.tell(number, setting, None, [score - 2, score - 1], culled=True)
            else:
                found.tell(number, setting, as_told(found, score), [score - 2, score - 1, score - 0.5] if rough else ())
        drawn += batch
    return drawn


@each_learner
def test_a_seed_and_what_is_told_decide_all_that_is_asked_for(learner: str) -> None:
    def run(seed: int) -> list[Setting]:
        found = make(learner, (*RANGES[:2], NET, LAM), total=11 if learner == "gp" else 24, seed=seed)
        own = {"gamma": 0.5, "lr": 0.1, "net": [8], "lam": 0.9}
        found.tell(0, own, as_told(found, -1.0))
        np.random.seed(seed + 100)  # noqa: NPY002  # others draw from it too
        return converse(found, rough=True)

    first, again, other = run(0), run(0), run(1)
    assert first == again != other


def test_another_process_asks_for_the_same(tmp_path: Path) -> None:
    """A search is resumed in another process, where sets of strings have another order."""
    code = (
        "import json, sys\n"
        "from tests.search.test_searchers import *\n"
        "names = ['tpe', 'nsga2', 'hyperopt', 'TBPSA'] + ['bohb'] * bool(importlib.util.find_spec('hpbandster'))\n"
        "print(json.dumps([converse(make(name, (*RANGES, NET), total=20), rough=True) for name in names]))\n"
    )
    asked = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert asked[0] == asked[1] and len(json.loads(asked[0])[0]) == 20


def test_a_searcher_leaves_the_random_numbers_of_others_alone() -> None:
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    expected = np.random.random(), random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    converse(make("TBPSA", RANGES, total=8))
    assert (np.random.random(), random.random()) == expected  # noqa: NPY002


@pytest.mark.parametrize("learner", fitted(LEARNERS, *set(LEARNERS) - {"tpe", "cmaes", "nsga2"}))
def test_it_draws_better_settings_than_random_ones(learner: str) -> None:
    """The mean of the later half, over repeats; a Gaussian process first looks into every corner, so of its best."""
    total, repeats, of_a_run = (20, 2, max) if learner == "gp" else (64, 4, np.mean)
    space = RANGES[:2] if learner == "gp" else RANGES

    def reached(keys: str | Keys, mode: str = "max") -> float:
        sign = 1 if mode == "max" else -1
        judge = lambda setting: sign * smooth(setting)
        runs = [converse(make(keys, space, total, seed, mode), 8, judge) for seed in range(repeats)]
        return float(np.mean([of_a_run([smooth(setting) for setting in run[total // 2 :]]) for run in runs]))

    least = 0.9 if learner == "TwoPointsDE" else 0.7  # differential evolution wants many settings
    assert reached(learner) > least * reached(RANDOM), "nearer to 0"
    if learner not in ("nsga2", "gp"):  # whose objectives have their own modes; which takes its time
        assert reached(learner, "min") > least * reached(RANDOM), "where less is better too"


KINDS = {
    "uniform": st.tuples(st.floats(-5, 0), st.floats(0.1, 5)),
    "loguniform": st.tuples(st.floats(1e-6, 1e-2), st.floats(0.1, 5)),
    "randint": st.tuples(st.integers(-5, 5), st.integers(6, 40)),
    "lograndint": st.tuples(st.integers(1, 5), st.integers(6, 400)),
    "quniform": st.tuples(st.integers(-4, 0), st.integers(1, 6), st.sampled_from([0.25, 0.5, 1.0])),
    "qrandint": st.tuples(st.integers(-2, 1), st.integers(2, 6), st.sampled_from([2, 3])),
    "qloguniform": st.tuples(st.integers(1, 3), st.integers(4, 60), st.sampled_from([0.5, 1.0])),
    "qlograndint": st.tuples(st.integers(1, 3), st.integers(4, 60), st.sampled_from([1, 2])),
    "randn": st.tuples(st.floats(-2, 2), st.floats(0.1, 3)),
    "qrandn": st.tuples(st.floats(-2, 2), st.floats(0.5, 3), st.sampled_from([0.25, 0.5])),
    "choice": st.lists(st.integers(0, 99), min_size=1, max_size=5, unique=True),
    "grid_search": st.lists(st.text("ab", max_size=3), min_size=1, max_size=2, unique=True),
}
"""Arguments of each kind; those of kinds that round are multiples of q once they are multiplied by it."""


@st.composite
def domains(draw: st.DrawFn, path: str = "x", kinds: tuple[str, ...] = tuple(KINDS)) -> Domain:
    """Any domain that a spec may have."""
    kind = draw(st.sampled_from(kinds))
    args = draw(KINDS[kind])
    if kind.startswith("q") and kind != "qrandn":
        args = (args[0] * args[2], args[1] * args[2], args[2])
    return Domain(path, kind, tuple(args), path)


def holds(domain: Domain, value: Any) -> bool:
    """Whether a value is one that the domain may draw, of the right type."""
    if domain.is_list:
        return value in domain.args
    if type(value) is not (int if "randint" in domain.kind else float):
        return False
    if domain.kind.startswith("q") and abs(value / domain.args[2] - round(value / domain.args[2])) > 1e-6:
        return False
    return "randn" in domain.kind or domain.low - 1e-12 <= value <= domain.high + 1e-12


@pytest.mark.parametrize("learner", fitted({name: keys for name, keys in LEARNERS.items() if name != "gp"}))
@settings(max_examples=10, deadline=None, derandomize=True)
@given(data=st.data())
def test_values_lie_in_their_domains(learner: str, data: st.DataObject) -> None:
    ranges = tuple(kind for kind in KINDS if kind not in ("choice", "grid_search"))  # nothing learns from grids alone
    space = (data.draw(domains("first", ranges)), *(data.draw(domains(name)) for name in ("second", "third")))
    found = make({**LEARNERS[learner], **({"startup": 2} if learner == "tpe" else {})}, space, total=12)
    judge = lambda setting: float(sum(hash(str(value)) % 7 for value in setting.values()))
    for setting in converse(found, 3, judge):
        assert all(holds(domain, setting[domain.path]) for domain in found.space.domains), setting


def test_values_of_a_gaussian_process_lie_in_their_domains_too() -> None:
    """On its own, for each setting takes a quarter of a second."""
    args: dict[str, tuple[Any, ...]] = {
        "uniform": (-1.0, 2.0), "loguniform": (1e-4, 1.0), "randint": (-2, 6), "lograndint": (1, 50),
        "quniform": (0.0, 1.0, 0.25), "qrandint": (2, 10, 2), "qloguniform": (1.0, 100.0, 0.5), "randn": (3.0, 0.5),
        "choice": ("a", [1, 2], 3), "grid_search": (1, 2),
    }  # fmt: skip
    space = tuple(Domain(kind, kind, values, kind) for kind, values in args.items())
    found = make(LEARNERS["gp"] | {"startup": 2}, space, total=6)
    for setting in converse(found, 2, judge=lambda setting: setting["uniform"]):
        assert all(holds(domain, setting[domain.path]) for domain in space), setting


@given(
    domain=domains(kinds=tuple(kind for kind in KINDS if kind not in ("choice", "grid_search"))), share=st.floats(0, 1)
)
def test_a_share_stands_for_a_value_and_back(domain: Domain, share: float) -> None:
    value = value_at(domain, share)
    assert holds(domain, value)
    back = share_of(domain, value)
    if back is None:  # beyond the ends of a normal distribution, where its values are rounded
        assert domain.kind == "qrandn"
    else:
        assert value_at(domain, back) == pytest.approx(value)


def test_shares_are_what_the_domain_s_probabilities_are() -> None:
    shares = (np.arange(10_000) + 0.5) / 10_000
    whole = np.array([value_at(Domain("x", "randint", (2, 6), "x"), share) for share in shares])
    assert np.bincount(whole).tolist() == [0, 0, 2500, 2500, 2500, 2500]
    logarithmic = np.array([value_at(Domain("x", "loguniform", (1e-4, 1.0), "x"), share) for share in shares])
    assert np.median(logarithmic) == pytest.approx(1e-2, rel=1e-2)
    normal = np.array([value_at(Domain("x", "randn", (3.0, 0.5), "x"), share) for share in shares])
    assert normal.mean() == pytest.approx(3) and normal.std() == pytest.approx(0.5, rel=1e-2)
    assert share_of(Domain("x", "uniform", (0.0, 2.0), "x"), 0.5) == 0.25
    assert share_of(Domain("x", "quniform", (0.0, 2.0, 0.5), "x"), 0.7) is None, "it lies between steps"
    for elsewhere in (3.0, -1, True, "1", None, float("nan"), {"name": "linear_decay"}):
        assert share_of(Domain("x", "uniform", (0.0, 2.0), "x"), elsewhere) is None


@pytest.mark.parametrize("learner", fitted({name: keys for name, keys in LEARNERS.items() if name != "cmaes"}))
def test_every_combination_of_the_grid_is_tried_equally_often(learner: str) -> None:
    other = Domain("eps", "grid_search", ("a", "b", "c"), "eps")
    drawn = converse(make(learner, (RANGES[0], LAM, other), total=24), judge=lambda s: s["gamma"])
    counts = [sum(s["lam"] == lam and s["eps"] == eps for s in drawn) for lam in LAM.args for eps in other.args]
    assert counts == [4] * 6


OWN = {"gamma": 0.7, "lr": 0.01, "net": [8]}


@pytest.mark.parametrize("learner", fitted({name: keys for name, keys in LEARNERS.items() if name != "cmaes"}, "gp"))
def test_the_result_of_the_spec_s_own_setting_is_used(learner: str) -> None:
    def run(own: Setting | None, score: float | None = 100.0) -> list[Setting]:
        found = make(learner, (*RANGES[:2], NET), total=11 if learner == "gp" else 32)
        if own is not None:
            found.tell(0, own, None if score is None else as_told(found, score))
        return converse(found)

    unaware = run(None)
    assert run(OWN) != unaware
    assert run(OWN, None) != run(OWN), "a failure is no good example"
    part = run(OWN | {"lr": {"name": "linear_decay"}})  # a schedule has no place in a range
    assert (part != unaware) == (learner in ("tpe", "hyperopt")), "these learn each key by itself"


def test_cmaes_has_no_use_for_a_setting_that_it_did_not_draw() -> None:
    found = make("cmaes", RANGES, total=16)
    own = OWN | {"size": 5, "clip": 1.2}
    found.tell(0, own | {"lr": {"name": "linear_decay"}}, 1.0)
    found.tell(0, own, 1.0)
    assert len(converse(found)) == 16


@pytest.mark.parametrize("bad", ["culled", "failed"])
@pytest.mark.parametrize("learner", fitted(LEARNERS, *set(LEARNERS) - {"tpe", "cmaes", "nsga2"}))
def test_it_keeps_away_from_what_is_culled_and_from_what_fails(learner: str, bad: str) -> None:
    """Half of a range is culled, or fails; the spec's own setting lies in the other half."""
    total, repeats = (20, 1) if learner == "gp" else (48, 4)

    def share_of_good(seed: int) -> float:
        found = make(learner, RANGES[:2], total, seed)
        found.tell(0, {"gamma": 0.4, "lr": 0.1}, as_told(found, -0.15))
        drawn: list[Setting] = []
        while len(drawn) < total:
            batch = [found.ask() for _ in range(4)]
            for number, setting in enumerate(batch, len(drawn) + 1):
                score = -abs(setting["gamma"] - 0.25)
                if setting["gamma"] <= 0.5:
                    found.tell(number, setting, as_told(found, score), [score - 2, score - 1])
                elif bad == "culled":
                    found.tell(number, setting, None, [score - 2], culled=True)
                else:
                    found.tell(number, setting, None)
            drawn += batch
        return float(np.mean([setting["gamma"] <= 0.5 for setting in drawn[total // 2 :]]))

    assert np.mean([share_of_good(seed) for seed in range(repeats)]) > 0.6


def test_a_rung_without_a_number_makes_no_later_one_earlier() -> None:
    found = make("tpe", RANGES)
    found.tell(1, found.ask(), None, [None, 2.0, None], culled=True)
    assert found.study.trials[0].intermediate_values == {1: 2.0}
    told = REGISTRIES["search_spec"].find("bohb")._told
    assert told(None, None, [None, 2.0, None], True) == {2: 2.0}, "its budgets count from 1"
    assert make("hyperopt", RANGES)._judged(None, [1.0, 2.0, None], True) == (2.0,), "the last number that there was"


@pytest.mark.parametrize(
    ("keys", "pending"),
    [
        ({"name": "optuna", "startup": 3}, 1), ({"name": "optuna", "candidates": 5}, 1),
        ({"name": "optuna", "multivariate": True}, 1), ({"name": "optuna", "constant_liar": False}, 5),
        ({"name": "optuna", "sampler": "cmaes"}, 1), ({"name": "optuna", "sampler": "cmaes", "population": 20}, 1),
        (LEARNERS["nsga2"] | {"population": 10}, 1),
        (LEARNERS["nsga2"] | {"objectives": [STRENGTH | {"mode": "min"}]}, 1), (LEARNERS["gp"] | {"startup": 7}, 1),
        ({"name": "hyperopt", "startup": 3}, 1), ({"name": "hyperopt", "good_share": 0.6}, 1),
        ({"name": "nevergrad", "optimizer": "CMA"}, 1),
        *(pytest.param(LEARNERS["bohb"] | changed, 1, marks=pytest.mark.skipif(
            importlib.util.find_spec("hpbandster") is None, reason="hpbandster is not installed"))
          for changed in ({"candidates": 8}, {"good_share": 0.5}, {"random_share": 0.9})),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)  # fmt: skip
def test_every_key_of_a_searcher_changes_what_it_asks_for(keys: Keys, pending: int) -> None:
    sampler = keys.get("sampler")
    plain = LEARNERS[sampler] if sampler and len(keys) > 2 else {"name": keys["name"]}
    asked = [converse(make(each, RANGES, total=10 if sampler == "gp" else 20), pending) for each in (plain, keys)]
    assert asked[0] != asked[1]


def test_nsga2_looks_for_the_front_of_several_objectives() -> None:
    """Two objectives, at their best at either end of gamma: both ends and what lies between are asked for."""
    objectives = [{"metric": "speed", "mode": "min"}]
    keys = {"name": "optuna", "sampler": "nsga2", "population": 12, "objectives": objectives}
    found = make(keys, RANGES[:2], total=120)
    late: list[Setting] = []
    for number in range(1, 121):
        setting = found.ask()
        waste = (np.log10(setting["lr"]) + 2) ** 2
        found.tell(number, setting, (setting["gamma"] - waste, setting["gamma"] ** 2 + waste))
        late += [setting] if number > 60 else []
    gammas = np.array([setting["gamma"] for setting in late])
    assert (gammas < 0.25).any() and (gammas > 0.75).any() and ((gammas > 0.4) & (gammas < 0.6)).any()
    assert np.mean([abs(np.log10(setting["lr"]) + 2) for setting in late]) < 0.6, "of random ones it is 1"


WRONG: list[tuple[Keys, str]] = [
    ({"name": "optuna", "sampler": "cmaes"},
     "meta.search_spec.sampler: cmaes moves through ranges, and has no place for lists "
     "(search.agent.net.hid_layers__choice); use tpe or gp"),
    ({"name": "optuna", "sampler": "cmaes", "startup": 3},
     'meta.search_spec.startup: does nothing when sampler is "cmaes"'),
    ({"name": "optuna", "objectives": [STRENGTH]},
     'meta.search_spec.objectives: does nothing when sampler is "tpe"'),
    ({"name": "optuna", "population": 5}, 'meta.search_spec.population: does nothing when sampler is "tpe"'),
    ({"name": "optuna", "sampler": "nsga2"},
     "meta.search_spec.objectives: nsga2 weighs several objectives: name at least one beside meta.objective"),
    ({"name": "optuna", "sampler": "nsga2", "objectives": [STRENGTH, STRENGTH]},
     "meta.search_spec.objectives: a metric stands twice: strength, strength"),
    ({"name": "optuna", "sampler": "nsga2", "objectives": [{"metric": "final_return"}]},
     "meta.search_spec.objectives.0.metric: final_return is meta.objective already"),
    ({"name": "optuna", "sampler": "nsga2", "objectives": [{"metric": "final_return_low", "mode": "min"}]},
     "meta.search_spec.objectives.0.mode: failed seeds make final_return_low less, so with less being better they "
     'would win; use "max", or a metric that each seed has by itself'),
    ({"name": "optuna", "sampler": "nsga2", "objectives": [{"metric": "sped"}]},
     'meta.search_spec.objectives.0.metric: unknown metric "sped"; did you mean "speed"?'),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "message"), WRONG)
def test_what_a_searcher_cannot_do_is_said_before_it_starts(keys: Keys, message: str) -> None:
    from slmx.errors import SpecErrors

    space = {"agent.algorithm.gamma__uniform": [0.9, 0.99], "agent.net": {"hid_layers__choice": [[8], [16]]}}
    try:
        wrong = [str(error) for error in problems(spec_of(space, meta={"search_spec": keys}))]
    except SpecErrors as error:
        wrong = [str(each) for each in error.errors]
    assert wrong == [message]


def test_a_searcher_whose_library_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    space = {"agent.algorithm.gamma__uniform": [0.9, 0.99]}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, package, extra in (("hyperopt", "hyperopt", "search"), ("bohb", "hpbandster, ConfigSpace", "bohb")):
        wrong = problems(spec_of(space, meta={"search_spec": {"name": name}}))
        expected = f"meta.search_spec.name: {package} is not installed; pip install 'slmx[{extra}]'"
        assert [str(error) for error in wrong] == [expected]


def test_a_grid_alone_leaves_nothing_to_learn() -> None:
    wrong = {"name": "a grid leaves nothing to learn; use grid"}
    assert HyperOptSearcher.misfits(None, SearchSpace((LAM,))) == wrong
    assert not HyperOptSearcher.misfits(None, SearchSpace((LAM, NET)))
