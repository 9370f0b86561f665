"""Population-based bandits (Parker-Holder et al., 2020, arXiv:2002.02518)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slmx.run_directory import LINEAGE
from slmx.search.base import Setting
from slmx.search.population import Population, Round
from slmx.search.share import share_of, value_at
from slmx.spec.search_space import Domain
from slmx.table import written

Floats = NDArray[np.float64]
Tried = tuple[int, float, Floats]
"""The number of a round, the objective reached by then, and the encoded values with which a trial went on."""


class Pb2(Population):
    """Copies go on with the values of which a bandit expects most, or knows least.

    It learns by how much the objective changed from one round to the next, given the values with which a trial went on,
    what it had reached before, and when that was. What others go on with counts as tried, so that the copies of a round
    do not crowd; before any change was seen they are spread over the space.
    """

    class Hyper(Population.Hyper):
        """Population-based bandits."""

    def values(self, now: Round) -> dict[int, Setting]:
        from threadpoolctl import threadpool_limits

        from slmx.search.bandit import Bandit  # brings scikit-learn, which takes a while

        points = Points(self.domains)
        tried, changes = self._past(now, points)
        scores = [one[1] for one in tried] + [score for score in now.scores.values() if math.isfinite(score)]
        low, span = min(scores), (max(scores) - min(scores)) or 1.0

        def rows(those: Sequence[Tried]) -> Floats:
            found = [[number, (score - low) / span, *place] for number, score, place in those]
            return np.array(found).reshape(len(found), 2 + points.width)

        pending: list[Tried] = []
        for trial, score in now.scores.items():
            place = points.place(now.settings[trial])
            if trial not in now.sources and place is not None and math.isfinite(score):
                pending.append((now.number, score, place))
        found = {}
        with threadpool_limits(1):  # matrices as small as these take several threads many times as long as one
            bandit = Bandit(rows(tried), np.array(changes))
            for trial, source in now.sources.items():
                given = np.array([now.number, (now.scores[source] - low) / span])
                point = bandit.best(given, rows(pending), points, self._rng(trial, now.number, "values"))
                found[trial] = points.setting(point)
                pending.append((now.number, now.scores[source], points.encoded(point[:, None])[0]))
        return found

    def _past(self, now: Round, points: Points) -> tuple[list[Tried], list[float]]:
        """With what trials went on at each round, and by how much they were better at the next."""
        from slmx.analysis.files import read_table

        tables: dict[int, list[Any]] = {
            trial: read_table(directory / LINEAGE).to_dict("records")
            for trial, directory in now.directories.items()
            if now.number
        }
        tried, changes = [], []
        for number in range(now.number):
            for trial, rows in tables.items():
                row, source = rows[number], rows[number]["source"]
                before = row["objective"] if math.isnan(source) else tables[int(source)][number]["objective"]
                after = rows[number + 1]["objective"] if number + 1 < now.number else now.scores[trial]
                place = points.place(row)
                if place is not None and math.isfinite(after - before):
                    tried.append((number, before, place))
                    changes.append(self.sign * (after - before))
        return tried, changes


class Points:
    """Settings as points: of a range the share of its probability below a value, of a list a value's place in it.

    Encoded, a list is as many numbers as it has values, which are all as far from one another as the ends of a range.
    """

    def __init__(self, domains: Sequence[Domain]):
        self.domains = list(domains)
        self.bounds = [(0.0, len(d.args) - 1.0) if d.is_list else (0.0, 1.0) for d in self.domains]
        self.is_whole = [d.is_list for d in self.domains]
        self.width = sum(len(d.args) if d.is_list else 1 for d in self.domains)

    def setting(self, point: Floats) -> Setting:
        """The values at a point `[D]`."""
        return {
            domain.path: domain.args[round(at)] if domain.is_list else value_at(domain, at)
            for domain, at in zip(self.domains, point.tolist(), strict=True)
        }

    def place(self, setting: Mapping[str, Any]) -> Floats | None:
        """The encoded place `[E]` of a setting, or of a table's row of it; None where it lies outside."""
        point = [_coordinate(domain, setting[domain.path]) for domain in self.domains]
        return None if None in point else self.encoded(np.array(point, float)[:, None])[0]

    def encoded(self, points: Floats) -> Floats:
        """Points `[D, N]` as rows of numbers, `[N, E]`."""
        columns: list[Floats] = []
        for domain, at in zip(self.domains, points, strict=True):
            if domain.is_list:
                columns += [(np.rint(at) == i) / math.sqrt(2) for i in range(len(domain.args))]
            else:
                columns.append(at)
        return np.stack(columns, axis=1)


def _coordinate(domain: Domain, value: Any) -> float | None:
    """Where a value lies, None where it does not; a table has ten digits of it, so a bound may be a little outside."""
    if domain.is_list:
        return next((i for i, one in enumerate(domain.args) if _is_told(one, value)), None)
    if isinstance(value, int | float) and math.isclose(near := min(max(value, domain.low), domain.high), value):
        value = near
    return share_of(domain, value)


def _is_told(value: Any, told: Any) -> bool:
    """Whether what a table tells is a value: it has ten digits of a number, and nothing for null."""
    from slmx.analysis.objective import cell

    if isinstance(value, int | float) and isinstance(told, int | float):
        return math.isclose(value, told)
    return (value is None and told != told) or str(written(cell(value))) == str(cell(told))
