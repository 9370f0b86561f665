"""What a searcher is: whoever chooses settings, and may learn from their scores."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

from slmx.member.hyper import NamedHyper
from slmx.member.streams import seed_sequence
from slmx.spec.search_space import SearchSpace

Setting = dict[str, Any]
"""A value for each searched path: `{"agent.0.algorithm.gamma": 0.98}`."""

Score = float | Sequence[float] | None
"""What a setting reached: the objective itself, whichever way is up, or one number for each of several."""

Rungs = Sequence[float | None]
"""What a setting had reached at each rung that it came to; None where that was no number."""


class Searcher:
    """Hands out settings, numbered from 1 in the order of asking; number 0 is the spec as it stands.

    `total`: how many settings it hands out. `learns`: whether what it hands out depends on what it is told; all others
    are asked for everything at once, and repeat exactly. One that learns must hand out the same settings whenever it is
    made with the same seed and asked and told the same in the same order: so a search is resumed.
    """

    learns: ClassVar[bool] = False

    Hyper: ClassVar[type[NamedHyper]] = NamedHyper

    def __init__(self, hp: Any, space: SearchSpace, max_trial: int, seed: int, mode: str):
        self.hp, self.space, self.seed, self.mode = hp, space, seed, mode
        self.total, self.asked = self.count(space, max_trial), 0
        self.modes = [mode]  # of each objective
        self._worst: tuple[float, ...] | None = None

    @classmethod
    def misfits(cls, hp: Any, space: SearchSpace) -> dict[str, str]:
        """Keys of the searcher with which it cannot search this space here, and why."""
        return {}

    @classmethod
    def count(cls, space: SearchSpace, max_trial: int) -> int:
        """How many settings it hands out."""
        return space.trials(max_trial)

    def ask(self) -> Setting:
        """The next setting."""
        raise NotImplementedError

    def tell(self, number: int, setting: Setting, score: Score, rungs: Rungs = (), culled: bool = False) -> None:
        """How well a setting did; None if it failed, or if it was culled.

        `rungs`: its objective at each rung that it came to, in their order; of one that was culled the last is where it
        stayed behind.
        """

    def _combination(self) -> dict[str, int]:
        """Which of the grids' values the next setting has, by path: every combination in turn, again and again."""
        grids = [domain for domain in self.space.domains if domain.kind == "grid_search"]
        combinations = itertools.product(*(range(len(domain.args)) for domain in grids))
        places = next(itertools.islice(combinations, (self.asked - 1) % self.space.grid, None))
        return dict(zip((domain.path for domain in grids), places, strict=True))

    def _judged(self, score: Score, rungs: Rungs, culled: bool) -> tuple[float, ...] | None:
        """A number for each objective, for whoever learns from numbers alone; None before any setting came to its end.

        What failed counts as the worst that came to its end: left out, it would be drawn again and again. What was
        culled counts as its last rung that has a number, or as that worst where it is less.
        """
        if score is not None:
            numbers = tuple(score) if isinstance(score, Sequence) else (score,)
            self._worst = self._worse(numbers, self._worst or numbers)
            return numbers
        last = next((value for value in reversed(rungs) if value is not None), None)
        if culled and last is not None and len(self.modes) == 1:
            return self._worse((last,), self._worst or (last,))
        return self._worst

    def _worse(self, one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
        """The worse of two in each objective."""
        return tuple((min if m == "max" else max)(a, b) for m, a, b in zip(self.modes, one, other, strict=True))

    @property
    def _library_seed(self) -> int:
        """A seed for somebody else's generator: 32 bits."""
        return int(seed_sequence(self.seed, 0, 0, "searcher").generate_state(1)[0])
