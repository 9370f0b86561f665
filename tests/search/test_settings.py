"""Settings: what searchers draw from a search space, and what they make of the scores they are told."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from slmx.search.base import Searcher
from slmx.search.grid import GridSearcher
from slmx.search.optuna import OptunaSearcher, place_of, value_of
from slmx.search.random import RandomSearcher
from slmx.spec.check import problems
from slmx.spec.search_space import Domain, SearchSpace
from tests.search.specs import spec_of

GAMMA, LR = Domain("gamma", "uniform", (0.5, 1.0), "gamma"), Domain("lr", "loguniform", (1e-4, 1e-1), "lr")
LAM, NET = Domain("lam", "grid_search", (0.9, 0.95), "lam"), Domain("net", "grid_search", ([8], [8, 8], [4]), "net")
KINDS: dict[str, tuple[Any, ...]] = {
    "choice": ("a", [1, 2], 3), "uniform": (-1.0, 2.0), "quniform": (0.0, 1.0, 0.25), "loguniform": (1e-4, 1.0),
    "qloguniform": (1.0, 100.0, 1.0), "randint": (2, 6), "qrandint": (2, 10, 2), "lograndint": (1, 50),
    "qlograndint": (4, 64, 4), "randn": (3.0, 0.5), "qrandn": (3.0, 1.0, 0.5),
}  # fmt: skip


def searcher(kind: type[Searcher], *domains: Domain, max_trial: int = 4, seed: int = 0, **keys: Any) -> Searcher:
    hp = kind.Hyper.model_validate({"name": "x", **keys})
    return kind(hp, SearchSpace(domains), max_trial, seed, "max")


def settings(found: Searcher) -> list[dict[str, Any]]:
    return [found.ask() for _ in range(found.total)]


@pytest.mark.parametrize("kind", [RandomSearcher, OptunaSearcher])
def test_every_combination_of_the_grid_is_tried_with_all_else_drawn_anew(kind: type[Searcher]) -> None:
    drawn = settings(searcher(kind, LAM, GAMMA, NET))
    assert len(drawn) == 4 * 6
    counts = [sum(s["lam"] == lam and s["net"] == net for s in drawn) for lam in LAM.args for net in NET.args]
    assert counts == [4] * 6
    assert len({s["gamma"] for s in drawn}) == 24


@pytest.mark.parametrize("kind", [RandomSearcher, OptunaSearcher])
def test_a_seed_repeats_its_settings(kind: type[Searcher]) -> None:
    same, again, other = (settings(searcher(kind, GAMMA, LR, seed=seed)) for seed in (3, 3, 4))
    assert same == again != other


def test_the_number_of_trials_does_not_change_their_settings() -> None:
    short, long = (settings(searcher(RandomSearcher, GAMMA, LR, max_trial=n)) for n in (3, 9))
    assert long[:3] == short


@pytest.mark.parametrize("kind", [RandomSearcher, OptunaSearcher])
@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_domain_is_drawn_within_its_bounds(kind: type[Searcher], name: str) -> None:
    args = KINDS[name]
    domain = Domain("x", name, args, "x")
    drawn = [s["x"] for s in settings(searcher(kind, domain, max_trial=60))]
    if name == "choice":
        assert all(value in args for value in drawn) and all(value in drawn for value in args)
        return
    assert all(type(value) is (int if "randint" in name else float) for value in drawn)
    if name.startswith("q"):
        assert all(value / args[2] == pytest.approx(round(value / args[2])) for value in drawn)
    if "randn" in name:
        assert np.mean(drawn) == pytest.approx(3, abs=0.5) and min(drawn) < 3 < max(drawn)
        return
    assert min(drawn) >= args[0] and max(drawn) <= domain.high
    if name == "randint":
        assert set(drawn) == {2, 3, 4, 5}, "the upper bound is not drawn, as in ray.tune"
    if "log" in name:
        middle = (args[0] * args[1]) ** 0.5
        assert 0.3 < np.mean([value < middle for value in drawn]) < 0.7, "as many below the geometric mean as above"


def test_random_draws_are_those_of_ray_tune() -> None:
    from ray import tune

    from slmx.member.streams import seed_sequence

    rng = np.random.default_rng(seed_sequence(0, 1, 0, "search"))
    expected = [tune.uniform(0.5, 1.0).sample(random_state=rng), tune.loguniform(1e-4, 1e-1).sample(random_state=rng)]
    assert list(searcher(RandomSearcher, GAMMA, LR).ask().values()) == expected


def test_a_grid_is_every_combination_once() -> None:
    choice = Domain("eps", "choice", (1, 2), "eps")
    drawn = settings(searcher(GridSearcher, LAM, NET, choice, max_trial=7))
    assert drawn == [
        dict(zip(("lam", "net", "eps"), values, strict=True))
        for values in itertools.product(LAM.args, NET.args, (1, 2))
    ]


def test_a_grid_over_a_range_is_a_spec_error() -> None:
    spec = spec_of({"agent.algorithm.gamma__uniform": [0.9, 0.99]}, meta={"search_spec": {"name": "grid"}})
    assert [str(error) for error in problems(spec)] == [
        "meta.search_spec.name: a grid has lists of values, and search.agent.algorithm.gamma__uniform is a range; "
        "use random"
    ]


@pytest.mark.parametrize("name", KINDS)
def test_optuna_numbers_stand_for_values_and_back(name: str) -> None:
    domain = Domain("x", name, KINDS[name], "x")
    values = (
        KINDS[name] if name == "choice" else (domain.args[0], *settings(searcher(OptunaSearcher, domain))[0].values())
    )
    for value in values:
        place = place_of(domain, value)
        assert place is not None and value_of(domain, place) == pytest.approx(value)
    assert place_of(domain, {"name": "linear_decay"}) is None
    assert place_of(domain, 1e9) is None


def toy(setting: dict[str, Any]) -> float:
    return -((setting["gamma"] - 0.8) ** 2) - (np.log10(setting["lr"]) + 2) ** 2


def asked(
    n: int = 30, fail: int | None = None, pending: int = 1, mode: str = "max", **keys: Any
) -> list[dict[str, Any]]:
    """What Optuna asks for when it is told a toy objective, in batches of `pending`."""
    hp = OptunaSearcher.Hyper.model_validate({"name": "optuna", **keys})
    found = OptunaSearcher(hp, SearchSpace((GAMMA, LR)), n, 0, mode)
    drawn: list[dict[str, Any]] = []
    while len(drawn) < n:
        batch = [found.ask() for _ in range(pending)]
        for i, setting in enumerate(batch, len(drawn) + 1):
            found.tell(i, setting, None if i == fail else toy(setting) * (1 if mode == "max" else -1))
        drawn += batch
    return drawn


def test_optuna_learns_where_the_good_settings_are() -> None:
    drawn = asked(60)
    assert np.mean([toy(s) for s in drawn[30:]]) > 3 * np.mean([toy(s) for s in drawn[:10]])
    assert asked(60, mode="min") == drawn, "of less being better it learns the same"


@pytest.mark.parametrize("keys", [{"startup": 3}, {"candidates": 5}, {"multivariate": True}])
def test_every_key_of_optuna_changes_what_it_asks_for(keys: dict[str, Any]) -> None:
    assert asked(**keys) != asked()


def test_constant_liar_changes_what_is_asked_for_beside_running_settings() -> None:
    assert asked(pending=5, constant_liar=False) != asked(pending=5)


def test_a_failed_setting_teaches_nothing_good() -> None:
    first = asked()[:10]
    best = int(np.argmax([toy(setting) for setting in first])) + 1
    assert asked(fail=best)[:10] == first and asked(fail=best) != asked()


def test_optuna_learns_from_the_spec_s_own_setting_as_far_as_it_has_a_place() -> None:
    found = searcher(OptunaSearcher, GAMMA, LR)
    assert isinstance(found, OptunaSearcher)
    found.tell(0, {"gamma": 0.9, "lr": {"name": "linear_decay"}}, 5.0)
    (trial,) = found.study.trials
    assert trial.params == {"gamma": 0.9} and trial.value == 5.0
    found.tell(0, {}, None)
    assert len(found.study.trials) == 1, "a failure is no number"
