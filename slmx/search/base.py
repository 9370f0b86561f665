"""What a searcher is: whoever chooses settings, and may learn from their scores."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

from slmx.member.hyper import NamedHyper
from slmx.spec.search_space import SearchSpace

Setting = dict[str, Any]
"""A value for each searched path: `{"agent.0.algorithm.gamma": 0.98}`."""


class Searcher:
    """Hands out settings, numbered from 1 in the order of asking; number 0 is the spec as it stands.

    `total`: how many settings it hands out. `learns`: whether what it hands out depends on what it is told; all others
    are asked for everything at once, and repeat exactly.
    """

    learns: ClassVar[bool] = False

    Hyper: ClassVar[type[NamedHyper]] = NamedHyper

    def __init__(self, hp: Any, space: SearchSpace, max_trial: int, seed: int, mode: str):
        self.hp, self.space, self.seed, self.mode = hp, space, seed, mode
        self.total, self.asked = space.trials(max_trial), 0

    @classmethod
    def misfits(cls, space: SearchSpace) -> list[str]:
        """Why this searcher cannot search this space."""
        return []

    def ask(self) -> Setting:
        """The next setting."""
        raise NotImplementedError

    def tell(self, number: int, setting: Setting, score: float | None) -> None:
        """How well a setting did; None if it failed. Whatever the mode, the score is the objective itself."""

    def _combination(self) -> dict[str, int]:
        """Which of the grids' values the next setting has, by path: every combination in turn, again and again."""
        grids = [domain for domain in self.space.domains if domain.kind == "grid_search"]
        combinations = itertools.product(*(range(len(domain.args)) for domain in grids))
        places = next(itertools.islice(combinations, (self.asked - 1) % self.space.grid, None))
        return dict(zip((domain.path for domain in grids), places, strict=True))
