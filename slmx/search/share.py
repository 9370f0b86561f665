"""Domains as shares of a probability: for searchers that know intervals and lists, and nothing of logarithms or steps.

Whatever the kind of a domain, a share in [0, 1] is how much of its probability lies below a value. So a searcher that
draws shares uniformly draws values as the domain says, and steps of equal probability are equal to it.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

from slmx.spec.search_space import Domain

TAIL = 1e-4  # of a normal distribution, cut on each side: its ends lie at infinity


def value_at(domain: Domain, share: float) -> int | float:
    """The value of a range below which so much of its probability lies."""
    if "randn" in domain.kind:
        x = NormalDist(*domain.args[:2]).inv_cdf(min(max(share, TAIL), 1 - TAIL))
        return _rounded(domain, x)
    low, high = _ends(domain)
    x = low * (high / low) ** share if "log" in domain.kind else low + (high - low) * share
    inside = min(max(_rounded(domain, x), domain.low), domain.high)
    return int(inside) if "randint" in domain.kind else float(inside)


def share_of(domain: Domain, value: Any) -> float | None:
    """How much of a range's probability lies below a value; None where the range does not hold it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if "randn" in domain.kind:
        share = NormalDist(*domain.args[:2]).cdf(value)
    elif not domain.low <= value <= domain.high:
        return None
    else:
        low, high = _ends(domain)
        x = value + 0.5 if high > domain.high else value  # the middle of those that are rounded down to it
        share = math.log(x / low) / math.log(high / low) if "log" in domain.kind else (x - low) / (high - low)
    is_held = math.isclose(value_at(domain, share), value, rel_tol=1e-9, abs_tol=1e-12)  # else it lies between steps
    return share if is_held else None


def _ends(domain: Domain) -> tuple[float, float]:
    """Where a range begins and ends before its values are rounded: whole numbers are rounded down."""
    rounded_down = "randint" in domain.kind and not domain.kind.startswith("q")
    return float(domain.low), float(domain.high) + rounded_down


def _rounded(domain: Domain, x: float) -> float:
    """The value that a number stands for."""
    if domain.kind.startswith("q"):
        return round(x / domain.args[2]) * domain.args[2]
    return math.floor(x) if "randint" in domain.kind else x
