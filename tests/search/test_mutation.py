"""Mutations stay within the declared range of every kind of domain, and go somewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slmx.search.mutation import drawn, moved, mutate
from slmx.spec.search_space import ARGUMENTS, LISTS, SUFFIXES, Domain, check_arguments

FACTORS = st.lists(st.floats(0.1, 5).filter(lambda f: f != 1), min_size=1, max_size=3)
KINDS = (*LISTS, *ARGUMENTS)


@st.composite
def domains(draw: st.DrawFn, kind: str) -> Domain:
    """Any domain of a kind that a spec may declare."""
    if kind in LISTS:
        args = draw(st.lists(st.one_of(st.integers(), st.floats(-9, 9), st.text(max_size=3)), min_size=1, unique=True))
        return Domain("x", kind, tuple(args), "x")
    whole, log = "randint" in kind, "log" in kind
    q = draw(st.integers(1, 7)) if whole else draw(st.sampled_from([0.001, 0.1, 0.25, 1.0, 3.0]))
    if "randn" in kind:
        low, high = draw(st.floats(-10, 10)), draw(st.floats(0.01, 10))
    else:
        least = 1 if log else -1000
        places = draw(st.lists(st.integers(least, 1000), min_size=2, max_size=2, unique=True).map(sorted))
        low, high = (place * (q if kind.startswith("q") or not whole else 1) for place in places)
    args = (low, high, q) if kind.startswith("q") else (low, high)
    check_arguments(kind, list(args))
    return Domain("x", kind, args, "x")


def holds(domain: Domain, value: Any) -> bool:
    """Whether a value is one that the domain may hold."""
    if domain.is_list:
        return value in domain.args
    if type(value) is not (int if "randint" in domain.kind else float):
        return False
    q = domain.args[2] if domain.kind.startswith("q") else None
    if q is not None and not math.isclose(value / q, round(value / q), rel_tol=1e-9, abs_tol=1e-6):
        return False
    # a normal distribution has no bound; mutations end three deviations from its mean, or at the step nearest to there
    low, high = (end if q is None else round(end / q) * q for end in (domain.low, domain.high))
    return low - 1e-9 * abs(low) <= value <= high + 1e-9 * abs(high)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_ten_thousand_mutations_stay_in_their_range(kind: str, data: st.DataObject) -> None:
    """A hundred domains of each kind, each mutated a hundred times in a row, from any value at first."""
    domain, factors = data.draw(domains(kind)), data.draw(FACTORS)
    value = data.draw(st.one_of(st.integers(-2000, 2000), st.floats(-1e6, 1e6)))
    resample, rng = data.draw(st.sampled_from([0.0, 0.25, 1.0])), np.random.default_rng(data.draw(st.integers(0, 99)))
    for _ in range(100):
        value = mutate({"x": value}, [domain], resample, factors, rng)["x"]
        assert holds(domain, value), f"{domain} holds no {value!r}"


def test_every_kind_that_can_be_declared_is_tested() -> None:
    assert {suffix for suffix in SUFFIXES if suffix not in ("normal", "qnormal")} == set(KINDS)


MOVES: list[tuple[str, tuple[Any, ...], Any, float, Any]] = [
    ("loguniform", (1e-4, 1e-1), 0.01, 1.2, 0.012),
    ("loguniform", (1e-4, 1e-1), 0.09, 1.2, 0.1),
    ("loguniform", (1e-4, 1e-1), 0.0, 1.2, 1e-4),
    ("uniform", (0.9, 1.0), 0.95, 0.8, 0.93),
    ("uniform", (0.9, 1.0), 0.91, 0.8, 0.9),
    ("uniform", (-1.0, 1.0), 0.0, 1.2, 0.4),
    ("quniform", (0.0, 1.0, 0.25), 0.5, 1.2, 0.75),
    ("quniform", (0.0, 1.0, 0.25), 1.0, 1.2, 1.0),
    ("qloguniform", (1.0, 100.0, 1.0), 50.0, 0.8, 40.0),
    ("qloguniform", (1.0, 100.0, 1.0), 2.0, 0.8, 1.0),
    ("randint", (0, 11), 5, 1.2, 7),
    ("randint", (1, 4), 3, 1.2, 3),
    ("randint", (1, 4), 2, 0.8, 1),
    ("qrandint", (2, 10, 2), 6, 1.2, 8),
    ("lograndint", (1, 1000), 100, 1.2, 120),
    ("lograndint", (1, 1000), 1, 1.2, 2),
    ("qlograndint", (4, 64, 4), 32, 0.8, 24),
    ("randn", (3.0, 0.5), 3.0, 1.2, 3.6),
    ("randn", (3.0, 0.5), 4.4, 1.2, 4.5),
    ("qrandn", (3.0, 1.0, 0.5), 3.0, 1.2, 4.0),
    ("choice", ("a", "b", "c"), "a", 1.2, "b"),
    ("grid_search", ([8], [16]), [16], 1.2, [8]),
    ("choice", (7,), 7, 1.2, 7),
]


@pytest.mark.parametrize(("kind", "args", "value", "factor", "expected"), MOVES, ids=str)
def test_a_move_is_a_step_on_the_scale_of_the_domain(
    kind: str, args: tuple[Any, ...], value: Any, factor: float, expected: Any
) -> None:
    found = moved(Domain("x", kind, args, "x"), value, [factor], np.random.default_rng(0))
    assert found == (expected if isinstance(expected, str | list) else pytest.approx(expected))


def test_a_listed_value_goes_both_ways_and_one_that_is_not_listed_anywhere() -> None:
    domain, rng = Domain("x", "choice", (1, 2, 3, 4, 5), "x"), np.random.default_rng(0)
    assert {moved(domain, 3, [1.2], rng) for _ in range(40)} == {2, 4}
    assert {moved(domain, 9, [1.2], rng) for _ in range(80)} == {1, 2, 3, 4, 5}


def test_resampling_draws_from_the_whole_domain_and_as_often_as_it_is_told() -> None:
    domain, rng = Domain("x", "uniform", (0.0, 1.0), "x"), np.random.default_rng(0)
    assert np.std([drawn(domain, rng) for _ in range(500)]) == pytest.approx(12**-0.5, abs=0.03)
    setting = {"x": 0.5}
    near = [abs(mutate(setting, [domain], 0.3, [0.9, 1.1], rng)["x"] - 0.5) for _ in range(1000)]
    assert np.mean([distance == pytest.approx(0.1) for distance in near]) == pytest.approx(0.7, abs=0.05)
    grid = Domain("x", "grid_search", (1, 2, 3), "x")
    assert {drawn(grid, rng) for _ in range(30)} == {1, 2, 3}
