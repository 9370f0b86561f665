"""Mutations of a setting: small steps or new draws, within the declared range of every kind of domain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from slmx.search.base import Setting
from slmx.search.random import draw
from slmx.spec.search_space import Domain


def mutate(
    setting: Setting, domains: Iterable[Domain], resample: float, factors: Sequence[float], rng: np.random.Generator
) -> Setting:
    """A setting near another: each value is drawn anew with probability `resample`, else moved by one of `factors`."""
    return {
        domain.path: drawn(domain, rng)
        if rng.random() < resample
        else moved(domain, setting[domain.path], factors, rng)
        for domain in domains
    }


def drawn(domain: Domain, rng: np.random.Generator) -> Any:
    """A new value of a domain."""
    if domain.is_list:
        return domain.args[int(rng.integers(len(domain.args)))]
    return _within(domain, draw(domain, rng))


def moved(domain: Domain, value: Any, factors: Sequence[float], rng: np.random.Generator) -> Any:
    """A value near another one.

    Of listed values it is a neighbour. Over a logarithmic range the value is multiplied by a factor; over any other it
    moves by what the factor is off 1, as a share of the range (so a discount in [0.9, 0.999] stays inside it). Whole
    and rounded values move by a step at least.
    """
    if domain.is_list:
        return _neighbour(domain, value, rng)
    factor = float(factors[int(rng.integers(len(factors)))])
    new = value * factor if "log" in domain.kind else value + (factor - 1) * (domain.high - domain.low)
    if (q := _step(domain)) is not None and round(new / q) == round(value / q):
        new = value + math.copysign(q, factor - 1)
    return _within(domain, new)


def _neighbour(domain: Domain, value: Any, rng: np.random.Generator) -> Any:
    """The listed value before or after one; another one's place is taken by any of them."""
    values, way = domain.args, 1 if rng.random() < 0.5 else -1
    if value not in values:
        return drawn(domain, rng)
    place, last = values.index(value), len(values) - 1
    if not 0 <= place + way <= last:
        way = -way
    return values[min(max(place + way, 0), last)]


def _within(domain: Domain, value: float) -> int | float:
    """The nearest number that the domain may hold."""
    q = _step(domain)
    if q is None:
        return float(min(max(value, domain.low), domain.high))
    least, most = round(domain.low / q), round(domain.high / q)
    number = min(max(round(value / q), least), most) * q
    return int(number) if "randint" in domain.kind else float(number)


def _step(domain: Domain) -> float | None:
    """What a domain's values are multiples of, if they are."""
    if domain.kind.startswith("q"):
        return domain.args[2]
    return 1 if "randint" in domain.kind else None
