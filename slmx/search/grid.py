"""Grid search: every combination of all listed values, once."""

from __future__ import annotations

import itertools
import math
from typing import Any

from slmx.member.hyper import NamedHyper
from slmx.search.base import Searcher, Setting
from slmx.spec.search_space import SearchSpace


class GridSearcher(Searcher):
    """Tries every combination of the listed values once, whatever meta.max_trial."""

    class Hyper(NamedHyper):
        """Grid search has no keys."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._combinations = itertools.product(*(domain.args for domain in self.space.domains))

    @classmethod
    def misfits(cls, hp: Any, space: SearchSpace) -> dict[str, str]:
        ranges = [domain.written for domain in space.domains if not domain.is_list]
        what = "is a range" if len(ranges) == 1 else "are ranges"
        return {"name": f"a grid has lists of values, and {', '.join(ranges)} {what}; use random"} if ranges else {}

    @classmethod
    def count(cls, space: SearchSpace, max_trial: int) -> int:
        return math.prod(len(domain.args) for domain in space.domains)

    def ask(self) -> Setting:
        self.asked += 1
        return dict(zip((domain.path for domain in self.space.domains), next(self._combinations), strict=True))
