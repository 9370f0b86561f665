"""How the values of a searched key lie on an axis: as numbers, as their logarithms, or as categories."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

LISTS = ("choice", "grid_search")  # kinds of domains whose values are listed
WIDE = 20  # the greatest value over the least, from which on an axis is logarithmic where nobody knows the domain


@dataclass(frozen=True)
class Scale:
    """The places of a key's values. `categories`: the texts of listed values, in order; of a range there are none."""

    is_log: bool = False
    categories: tuple[str, ...] = ()

    def places(self, values: Iterable[Any]) -> list[float]:
        """The place of each value: the number, its decimal logarithm or the index of its category; NaN of none."""
        if self.categories:
            index = {text: float(i) for i, text in enumerate(self.categories)}
            return [index.get(text_of(value), math.nan) for value in values]
        numbers = [number_of(value) for value in values]
        return [math.log10(x) if x > 0 else math.nan for x in numbers] if self.is_log else numbers


def scale_of(values: Iterable[Any], kind: str | None = None) -> Scale:
    """How values lie, by the kind of their domain, or where that is not known by themselves.

    The spec's own value may be a schedule, which has no place among numbers.
    """
    known = [value for value in values if not is_missing(value)]
    numbers = [x for x in map(number_of, known) if not math.isnan(x)]
    if kind in LISTS or not numbers or (kind is None and len(numbers) < len(known) - 1):
        ordered = sorted(known, key=number_of) if len(numbers) == len(known) else known
        return Scale(categories=tuple(dict.fromkeys(map(text_of, ordered))))
    if kind is None:
        return Scale(is_log=min(numbers) > 0 and max(numbers) > WIDE * min(numbers))
    return Scale(is_log="log" in kind and min(numbers) > 0)


def number_of(value: Any) -> float:
    """A value as a number; NaN where it is none."""
    is_number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return float(value) if is_number else math.nan


def is_missing(value: Any) -> bool:
    """Whether a table has nothing here."""
    return value is None or (isinstance(value, Real) and math.isnan(value))


def text_of(value: Any) -> str:
    """A value as an axis shows it."""
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
